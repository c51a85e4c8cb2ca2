#!/usr/bin/env bash
# leave-out.sh WHAT HOW: say that WHAT is not tested here, and HOW to have it tested; scripts/timed.sh says it again at the end.
echo "NOT TESTED: $1 ($2)"
[ -z "${LEFT_OUT:-}" ] || echo "$1 ($2)" >>"$LEFT_OUT"
