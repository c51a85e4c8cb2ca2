#!/usr/bin/env bash
# Make .venv with the first Python >= 3.11 found (or PYTHON=...).
set -euo pipefail
cd "$(dirname "$0")/.."

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if [ -x .venv/bin/python ] && usable .venv/bin/python; then
    python=.venv/bin/python
else
    python=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if usable "$candidate"; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then
        echo "error: no Python >= 3.11 found (looked for ${PYTHON:-python3.13, python3.12, python3.11, python3}); install one, or say PYTHON=/path/to/python" >&2
        exit 1
    fi
    echo "making .venv with $("$python" --version)"
    rm -rf .venv
    if ! "$python" -m venv .venv; then
        echo "error: $python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi
# Dependency groups need pip 25.1.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
touch .venv/.created
