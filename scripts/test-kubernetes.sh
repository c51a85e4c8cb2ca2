#!/usr/bin/env bash
# The tests of the resources, the operator, the chart and the cluster tool, against real API servers without nodes. Where none can
# be built, only the tests without one run. With `build` only the API server is built.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh go openssl
api_server=yes
for tool in go openssl; do scripts/need.sh --is-there $tool || api_server=; done
[ -z "$api_server" ] || e2e/cluster build
[ "${1:-}" != build ] || exit 0

scripts/need.sh prometheus
pytest=scripts/pytest.sh
# The tests of a file share an operator, so that they stay in one process. Each process has an API server of its own, which takes
# memory and time: two processes, or none for PROCESSES=0. Those with an API server begin, as they take longest.
[ "${PROCESSES:-0}" = 0 ] && processes=0 || processes=2
operator="$pytest --numprocesses $processes --dist loadfile --no-loadscope-reorder -c operator/pyproject.toml operator/tests"
units="$pytest -c worker-image/pytest.ini worker-image/tests/unit; $pytest -c e2e/pytest.ini e2e/cluster_tool/tests/unit"
# The chart's tests take the helm that is built beside the API server.
charts="$pytest -c charts/tests/pytest.ini charts/tests; $pytest -c e2e/pytest.ini e2e/cluster_tool/tests/control_plane"
# Without an API server, the operator's tests skip those that need one.
scripts/side-by-side.sh "$operator" "set -e; $units; ${api_server:+$charts}"
