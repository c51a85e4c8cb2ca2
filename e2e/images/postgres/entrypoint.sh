#!/bin/bash
# Entry point of the test image. It does what the chart and the tests need of the official image's entry point.
# With an empty PGDATA it makes a database, then becomes the server; arguments are the server's (`postgres -c fsync=off`).
set -euo pipefail

fail() { echo "error: $*" >&2; exit 1; }

[ $# -gt 0 ] || set -- postgres
case $1 in
    -*) set -- postgres "$@" ;;
    postgres) ;;
    *) exec "$@" ;; # another command, such as psql or pg_isready
esac
[ "$(id -u)" -ne 0 ] || fail "Postgres does not run as root: set runAsUser (999 is in this image)"

# The value of NAME, or of the file NAME_FILE, as in the official image: a secret may be a mounted file.
setting() {
    local name=$1 file=$1_FILE
    if [ -n "${!file:-}" ]; then cat "${!file}"; else echo "${!name:-}"; fi
}

# /docker-entrypoint-initdb.d/*.sh, sourced by a subshell, and *.sql, on a server that listens on its socket only.
run_init_scripts() {
    local POSTGRES_USER=$1 POSTGRES_DB=$2 directory=$3 file
    compgen -G "/docker-entrypoint-initdb.d/*" >/dev/null || return 0
    export POSTGRES_USER POSTGRES_DB
    pg_ctl -D "$directory" -w -o "-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" start >&2
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh) (. "$file") >&2 ;;
            *.sql) psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file" >&2 ;;
            *) echo "$file is left out: neither .sh nor .sql" >&2 ;;
        esac
    done
    pg_ctl -D "$directory" -m fast -w stop >&2
}

make_database() {
    local user password database
    user=$(setting POSTGRES_USER)
    user=${user:-postgres}
    database=$(setting POSTGRES_DB)
    database=${database:-$user}
    password=$(setting POSTGRES_PASSWORD)
    [ -n "$password" ] || fail "POSTGRES_PASSWORD is not set: give the superuser a password"
    # The data directory is made under another name and renamed: after a crash in the middle, nothing looks finished.
    rm -rf "$PGDATA.new"
    initdb -D "$PGDATA.new" -U "$user" --pwfile=<(echo "$password") --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --no-locale --no-instructions >&2
    echo "host all all all scram-sha-256" >>"$PGDATA.new/pg_hba.conf"
    if [ "$database" != postgres ]; then
        echo "create database \"${database//\"/\"\"}\"" | postgres --single -D "$PGDATA.new" -j postgres >/dev/null
    fi
    run_init_scripts "$user" "$database" "$PGDATA.new"
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA"; fi # only an empty one may be replaced
    mv -T "$PGDATA.new" "$PGDATA"
}

mkdir -p "$(dirname "$PGDATA")"
if [ ! -s "$PGDATA/PG_VERSION" ]; then make_database; fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
