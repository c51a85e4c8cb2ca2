#!/usr/bin/env bash
# The integration tests on Debian's Postgres 15 (the embedded one is 18), where it can be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh postgres15
scripts/need.sh --is-there postgres15 || exit 0
scripts/with-debian-postgres.sh /usr/lib/postgresql/15/bin scripts/pytest.sh --numprocesses "${PROCESSES:-0}" core/tests/integration
