#!/usr/bin/env bash
# leave-out.sh WHAT HOW: say that WHAT is not tested here, and HOW to have it tested, and note it in the file $LEFT_OUT.
# leave-out.sh --summary COMMAND: print all that was noted in one line, for the end of a command's output; nothing if there is none.
if [ "$1" = --summary ]; then
    awk -v command="$2" '!seen[$0]++ { line = line separator $0; separator = "; " }
        END { if (line != "") print command ": NOT TESTED: " line }' "$LEFT_OUT"
else
    echo "NOT TESTED: $1 ($2)"
    [ -z "${LEFT_OUT:-}" ] || echo "$1 ($2)" >>"$LEFT_OUT"
fi
