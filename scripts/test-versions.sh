#!/usr/bin/env bash
# The unit tests on the other supported Pythons, because asyncio differs between minor versions. The extension is abi3, so one
# build serves all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

find_python() {
    local candidate
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

for version in 3.11 3.12 3.13; do
    [ "$version" = "$own" ] && continue
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        scripts/leave-out.sh "the loop on Python $version" "put python$version on the PATH"
        continue
    fi
    venv=.venv/python$version
    if [ ! -x "$venv/bin/python" ] || [ core/pyproject.toml -nt "$venv/.installed" ]; then
        "$python" -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
        "$venv/bin/pip" install --quiet --disable-pip-version-check msgspec click rich uvloop --group core/pyproject.toml:test
        touch "$venv/.installed"
    fi
    echo "test-versions: the loop on Python $version"
    PYTHONPATH=core/python "$venv/bin/python" -m pytest -q --numprocesses 2 core/tests/unit
done
