#!/usr/bin/env bash
# timed.sh NAME COMMAND...: run a command, say how long it took and, in the last line, what was left out; give its exit code.
name=$1
shift
start=$SECONDS
inner=${LEFT_OUT:-} # set by an enclosing command, which prints the summary at its own end
export LEFT_OUT=${inner:-$(mktemp)}
"$@"
code=$?
took=$((SECONDS - start))
if [ $code -eq 0 ]; then verdict=ok; else verdict="FAILED (exit $code)"; fi
printf 'make %s: %s, %d min %02d s\n' "$name" "$verdict" $((took / 60)) $((took % 60))
if [ -z "$inner" ]; then
    "$(dirname "$0")/leave-out.sh" --summary "make $name"
    rm -f "$LEFT_OUT"
fi
exit $code
