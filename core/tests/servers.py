"""Servers of a test's own, to be restarted, cut off or pooled: Postgres, a gate in front of one, PgBouncer."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from currant import embedded
from support import TESTS, eventually

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def unprivileged() -> dict[str, object]:
    """What makes `subprocess` run a server as somebody who is not root."""
    return embedded._as_account(embedded._server_account())


STAND_BY = "stand_by"
INVARIANTS = TESTS / "invariants.sql"


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def execute(url: str, statement: str, *names: str) -> None:
    """Run one statement, with `{}` for each name, outside a transaction; without names it may be several."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)) if names else statement)  # type: ignore[arg-type]


def fetch(url: str, query: str) -> list[dict[str, Any]]:
    """The rows of a query, on a connection of its own."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]  # the test's own text


def at_port(url: str, port: int) -> str:
    """The URL with another port of this machine."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@{HOST}:{port}" if user else f"{HOST}:{port}").geturl()


@contextmanager
def passable_directory() -> Iterator[Path]:
    """A temporary directory that the server's account may pass through."""
    with tempfile.TemporaryDirectory(prefix="currant-own-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


class OwnPostgres:
    """A Postgres that may be restarted under a test's feet. A crash loses no commit of it (`synchronous_commit` is on).

    With `primary` it begins as the streaming stand-by of that one, which then commits nothing that the stand-by has not.
    """

    def __init__(self, directory: Path, binaries: Path, primary: OwnPostgres | None = None) -> None:
        self.port = free_port()
        self.url = f"postgresql://currant@{HOST}:{self.port}/postgres"
        self._binaries = binaries
        self._data = directory / "data"
        account = pwd.getpwnam(embedded.ACCOUNT) if os.geteuid() == 0 and embedded._server_account() else None
        self._data.mkdir(mode=0o700)
        if account is not None:
            embedded._make_passable(binaries)
            os.chown(self._data, account.pw_uid, account.pw_gid)
        if primary is None:
            self._run("initdb", "-U", "currant", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D")
        else:
            source = f"host={HOST} port={primary.port} user=currant application_name={STAND_BY}"
            self._run("pg_basebackup", "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-D")
        self._options = f"-p {self.port} -c listen_addresses={HOST} -c unix_socket_directories='' -c max_connections=200 -c fsync=off"
        self.start()
        if primary is not None:
            execute(primary.url, f"alter system set synchronous_standby_names = '{STAND_BY}'")
            execute(primary.url, "select pg_reload_conf()")
            eventually(lambda: fetch(primary.url, "select 1 from pg_stat_replication where sync_state = 'sync'"))

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._binaries / program, *arguments, self._data]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=90, **unprivileged())  # type: ignore[call-overload]

    def _control(self, verb: str, *arguments: str) -> None:
        self._run("pg_ctl", "-w", verb, *arguments, "-D")

    def crash_and_restart(self) -> None:
        """As after a power cut: every session is dropped, the next start recovers."""
        self._control("restart", "-m", "immediate", "-l", str(self._data / "log"))

    def crash(self) -> None:
        """Stop without a goodbye."""
        self._control("stop", "-m", "immediate")

    def kill(self) -> None:
        """SIGKILL to every process of it: nobody is told, the kernel closes the connections."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in [pid, *map(int, children)]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    def promote(self) -> None:
        """A stand-by becomes a primary; returns when it takes writes."""
        self._control("promote")

    def start(self) -> None:
        """Start it, or start it again; returns when it takes connections."""
        self._control("start", "-l", str(self._data / "log"), "-o", self._options)

    def stop(self) -> None:
        """For good."""
        with suppress(subprocess.CalledProcessError):
            self._control("stop", "-m", "immediate")


def binaries_like(url: str) -> Path:
    """The programs of the Postgres version that a server runs: Debian's, else those of the embedded wheel."""
    with psycopg.connect(url) as connection:
        major = connection.info.server_version // 10_000
    debian = Path(f"/usr/lib/postgresql/{major}/bin")
    return debian if (debian / "initdb").exists() else embedded._binaries()


class Gate:
    """A TCP relay in front of a server. It can be shut (connections break, new ones are refused), or lose a reply.

    `lose_reply_to` are bytes of a request: it reaches the server, and nothing comes back on its connection any more.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or HOST, parts.port or 5432)
        self.port = free_port()
        self.url = at_port(url, self.port)
        self.lose_reply_to: bytes | None = None
        self._silent: set[socket.socket] = set()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Let connections through."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Break every connection and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection there is."""
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def black_hole(self) -> None:
        """From now on the connections there are carry nothing, as when the server's node is lost. New ones work."""
        for pair in list(self._pairs):
            self._silent.update(pair)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            self._pairs.add(pair)
            threading.Thread(target=self._relay, args=(client, server, pair, False), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, pair, True), daemon=True).start()

    def _relay(
        self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket], reply: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not reply and self.lose_reply_to is not None and self.lose_reply_to in data:
                    self.lose_reply_to = None  # the next try gets one
                    self._silent.add(target)
                if source not in self._silent:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        if pair in self._pairs:
            self._pairs.discard(pair)
        else:  # the other direction has ended too
            for end in pair:
                end.close()


class PgBouncer:
    """PgBouncer in transaction mode in front of a server, with few server connections, so that sessions do change."""

    def __init__(self, program: str, directory: Path, url: str, pool_size: int = 3) -> None:
        parts = urlsplit(url)
        self._server = parts
        self.port = free_port()
        password = f" password={parts.password}" if parts.password else ""
        upstream = f"host={parts.hostname} port={parts.port} user={parts.username}{password}"
        ini = directory / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\n* = {upstream}\n[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {pool_size}\n"
            f"max_client_conn = 500\nserver_lifetime = 2\n"
        )
        ini.chmod(0o644)
        self.log_path = directory / "pgbouncer.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(ini)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **unprivileged()
            )  # type: ignore[call-overload]
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log_path.read_text()
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    def url(self, url: str, **parameters: str) -> str:
        """The way to the database of `url` through the pooler."""
        query = "&".join(f"{name}={value}" for name, value in {"pgbouncer": "true", **parameters}.items())
        return urlsplit(at_port(url, self.port))._replace(query=query).geturl()

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
