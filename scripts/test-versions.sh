#!/usr/bin/env bash
# The unit tests on the other supported Pythons, because asyncio differs between versions; those of workflows also on Debian
# 12's Python 3.11.2, because it differs between patch versions, too. The extension is abi3, so one build serves all of them. The
# tests of the checkout (its pages, scripts, benchmark and chaos suites) run on one Python only: nobody gets these in a package.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED # as in scripts/pytest.sh
show_version='import sys, venv, ensurepip; print("%d.%d.%d" % sys.version_info[:3])'
tested=" $(.venv/bin/python -c "$show_version") " # by `make test-python`

# The first Python here of a version like 3.12 or 3.11.2 that can make a venv.
find_python() {
    local candidate minor
    minor=$(cut -d . -f 1,2 <<<"$1")
    for candidate in "python$minor" "/usr/bin/python$minor" "$HOME"/.pyenv/versions/"$minor".*/bin/python; do
        case $("$candidate" -c "$show_version" 2>/dev/null). in "$1".*)
            echo "$candidate"
            return
            ;;
        esac
    done
}

run_tests() {
    local venv=.venv/python$1 python=$2 tests=$3
    if [ ! -x "$venv/bin/python" ] || [ core/pyproject.toml -nt "$venv/.installed" ]; then
        "$python" -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
        "$venv/bin/pip" install --quiet --disable-pip-version-check msgspec click rich uvloop --group core/pyproject.toml:test
        touch "$venv/.installed"
    fi
    echo "test-versions: $tests on Python $1"
    PYTHONPATH=core/python "$venv/bin/python" -m pytest -q --numprocesses 2 --ignore core/tests/unit/checkout "$tests"
}

for version in 3.11 3.12 3.13 3.11.2; do
    case $tested in *" $version".* | *" $version "*) continue ;; esac
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        scripts/leave-out.sh "the loop on Python $version" "put python$(cut -d . -f 1,2 <<<"$version") of that version, with its venv module, on the PATH"
        continue
    fi
    exact=$("$python" -c "$show_version")
    tested+="$exact "
    case $version in
        *.*.*) run_tests "$exact" "$python" core/tests/unit/workflow ;;
        *) run_tests "$exact" "$python" core/tests/unit ;;
    esac
done
