#!/usr/bin/env bash
# timed.sh NAME COMMAND...: run a command, say how long it took, give its exit code.
name=$1
shift
start=$SECONDS
"$@"
code=$?
took=$((SECONDS - start))
if [ $code -eq 0 ]; then verdict=ok; else verdict="FAILED (exit $code)"; fi
printf 'make %s: %s, %d min %02d s\n' "$name" "$verdict" $((took / 60)) $((took % 60))
exit $code
