#!/usr/bin/env bash
# with-debian-postgres.sh BINARIES COMMAND...: run a command with WORKFLOWS_TEST_DATABASE_URL on a throw-away server made with
# those binaries, run as user postgres when we are root.
set -euo pipefail
binaries=$1
shift
directory=$(mktemp -d)
as_server=()
if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$directory"
    as_server=(setpriv --reuid postgres --regid postgres --clear-groups --)
fi
stop() {
    (cd / && "${as_server[@]}" "$binaries/pg_ctl" -D "$directory/data" -m immediate stop >/dev/null 2>&1) || true
    rm -rf "$directory"
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(
    cd /
    "${as_server[@]}" "$binaries/initdb" -D "$directory/data" -U currant --auth=trust --encoding=UTF8 --no-locale --no-sync >/dev/null
    "${as_server[@]}" "$binaries/pg_ctl" -D "$directory/data" -w -l "$directory/log" start >/dev/null \
        -o "-p $port -k '' -c listen_addresses=127.0.0.1 -c max_connections=300 -c shared_buffers=256MB -c fsync=off -c full_page_writes=off"
)
WORKFLOWS_TEST_DATABASE_URL="postgresql://currant@127.0.0.1:$port/postgres" "$@"
