#!/usr/bin/env bash
# The tests of the resources, the operator, the chart and the cluster tool, against a real API server without nodes. Where none can
# be built, only the tests without one run. With `build` only the API server is built.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh go openssl
api_server=yes
for tool in go openssl; do scripts/need.sh --is-there $tool || api_server=; done
[ -z "$api_server" ] || e2e/cluster build
[ "${1:-}" != build ] || exit 0

scripts/need.sh prometheus
scripts/pytest.sh -c operator/pyproject.toml operator/tests # skips the tests that need an API server where there is none
scripts/pytest.sh -c worker-image/pytest.ini worker-image/tests/unit
if [ -n "$api_server" ]; then
    scripts/pytest.sh -c charts/tests/pytest.ini charts/tests # with the helm that is built beside the API server
    scripts/pytest.sh -c e2e/pytest.ini e2e/cluster_tool/tests/unit e2e/cluster_tool/tests/control_plane
else
    scripts/pytest.sh -c e2e/pytest.ini e2e/cluster_tool/tests/unit
fi
