#!/usr/bin/env bash
# pytest. In CI, where other processes may block the machine for seconds, a failed test runs a second time: if it passes then, it is
# FLAKY, and the last line of the whole run names it, to be fixed; if it fails twice, the run fails.
set -uo pipefail
here=$(dirname "$0")
# With the first each process of the tests would compile every module again. With the second commands would not buffer their output, as they
# do for users.
unset PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED
"$here/../.venv/bin/pytest" "$@"
code=$?
[ "$code" -eq 1 ] && [ "${CI:-}" = true ] || exit "$code"
printf '\n=== SOME TESTS FAILED. Those that pass now are FLAKY and need fixing:\n'
passed=$(mktemp)
trap 'rm -f "$passed"' EXIT
"$here/../.venv/bin/pytest" --last-failed --last-failed-no-failures none -v -rpfE "$@" | tee "$passed"
code=$?
sed -n 's/^PASSED //p' "$passed" | while read -r test; do "$here/leave-out.sh" --flaky "$test"; done
exit "$code"
