"""PgBouncer in transaction mode."""

from __future__ import annotations

import subprocess
from pathlib import Path

from chaos.postgres import USER, free_port
from chaos.relay import HOST
from currant import embedded
from e2e.programs import find

PROGRAM = find("pgbouncer")


class Pooler:
    """One PgBouncer in front of the server at `upstream`, with few server connections, so that sessions do change."""

    def __init__(self, directory: Path, upstream: int) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._ini = directory / "pgbouncer.ini"
        self._ini.write_text(
            f"[databases]\n* = host={HOST} port={upstream} user={USER}\n[pgbouncer]\nlisten_addr = {HOST}\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            "default_pool_size = 4\nmax_client_conn = 200\nserver_lifetime = 5\nserver_login_retry = 1\n"
        )
        self._ini.chmod(0o644)

    def start(self) -> None:
        """Start it."""
        with (self._directory / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAM), str(self._ini)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **embedded._as_account(embedded._server_account()),
            )

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
