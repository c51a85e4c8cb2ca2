#!/usr/bin/env bash
# Write charts/tests/golden/ anew from what the chart renders now. Look at the difference before you commit it.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -f charts/tests/golden/*.yaml
UPDATE_GOLDEN=1 .venv/bin/pytest -q charts/tests/test_golden.py -k golden_file
git --no-pager diff --stat -- charts/tests/golden
