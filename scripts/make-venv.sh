#!/usr/bin/env bash
# Make .venv with the first Python that is new enough (or PYTHON=...); a .venv that is new enough stays.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/need.sh --python)
if [ "$python" != .venv/bin/python ]; then
    echo "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
# Dependency groups need pip 25.1.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
touch .venv/.created
