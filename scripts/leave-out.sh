#!/usr/bin/env bash
# leave-out.sh WHAT HOW: say that WHAT is not tested here, and HOW to have it tested, and note it in the file $LEFT_OUT.
# leave-out.sh --flaky TEST: note a test that has failed, and passed at a second try.
# leave-out.sh --summary COMMAND: print all that was noted, in a line for each kind, for the end of a command's output.
case $1 in
    --flaky)
        [ -z "${LEFT_OUT:-}" ] || echo "FLAKY $2" >>"$LEFT_OUT"
        ;;
    --summary)
        awk -v command="$2" '
            seen[$0]++ { next }
            /^FLAKY / { sub(/^FLAKY /, ""); flaky = flaky (flaky == "" ? "" : "; ") $0; next }
            { untested = untested (untested == "" ? "" : "; ") $0 }
            END {
                if (flaky != "") print command ": FLAKY, to be fixed: " flaky
                if (untested != "") print command ": NOT TESTED: " untested
            }' "$LEFT_OUT"
        ;;
    *)
        echo "NOT TESTED: $1 ($2)"
        [ -z "${LEFT_OUT:-}" ] || echo "$1 ($2)" >>"$LEFT_OUT"
        ;;
esac
