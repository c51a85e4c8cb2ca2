#!/usr/bin/env bash
# pytest. In CI, where a neighbour may hold the machine for seconds, a test that failed gets one second chance, aloud: what passes
# then is listed as FLAKY, to be mended; what fails twice fails the run.
set -uo pipefail
here=$(dirname "$0")
"$here/../.venv/bin/pytest" "$@"
code=$?
[ "$code" -eq 1 ] && [ "${CI:-}" = true ] || exit "$code"
printf '\n=== SOME TESTS FAILED. Those that pass now are FLAKY and want mending:\n'
"$here/../.venv/bin/pytest" --last-failed --last-failed-no-failures none -v "$@"
