#!/usr/bin/env bash
# lint.sh [python|rust]: every check that needs no database, or those of one language. All of them run, so that one call shows
# everything that needs fixing. What has not changed since the last call takes no time: ruff, mypy and cargo remember it.
cd "$(dirname "$0")/.." || exit 1
failed=()

check() {
    local name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "lint: $name ok"
    else
        printf '%s\nlint: %s FAILED\n' "$output" "$name"
        failed+=("$name")
    fi
}

# A check by a part of Rust's tool chain that may be missing; need.sh then says so.
rust_check() {
    if scripts/need.sh --is-there "$1"; then check "${@:2}"; else echo "lint: $2 left out"; fi
}

stubtest() { (cd core/python && MYPYPATH=. ../../.venv/bin/stubtest currant._core --mypy-config-file ../../mypy.ini); }

operator_imports() { (cd operator && ../.venv/bin/lint-imports); }

lint_python() {
    check "ruff check" .venv/bin/ruff check
    check "ruff format" .venv/bin/ruff format --check
    check "mypy" .venv/bin/mypy
    check "import-linter" .venv/bin/lint-imports
    check "import-linter, operator" operator_imports
    check "stubtest" stubtest
}

lint_rust() {
    rust_check rustfmt "rustfmt" cargo fmt --manifest-path core/Cargo.toml --check
    rust_check clippy "clippy" cargo clippy --manifest-path core/Cargo.toml --locked --all-targets --quiet -- -D warnings
    rust_check clippy "clippy, feature python" cargo clippy --manifest-path core/Cargo.toml --locked --features python --quiet -- -D warnings
}

case ${1:-} in
    python | rust) "lint_$1" ;;
    *) lint_python; lint_rust ;;
esac

if [ ${#failed[@]} -gt 0 ]; then
    echo "lint: ${#failed[@]} of the checks failed:$(printf ' %s;' "${failed[@]}")"
    exit 1
fi
