#!/usr/bin/env bash
# The unit tests of all Python: they need no database and no API server.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/pytest.sh -q --numprocesses "${PROCESSES:-0}" core/tests/unit
scripts/pytest.sh -q --numprocesses "${PROCESSES:-0}" -c operator/pyproject.toml operator/tests/unit
scripts/pytest.sh -q -c worker-image/pytest.ini worker-image/tests/unit
scripts/pytest.sh -q -c e2e/pytest.ini e2e/cluster_tool/tests/unit
scripts/pytest.sh -q -c scripts/generate/pytest.ini scripts/generate/tests
