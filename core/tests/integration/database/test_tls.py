"""TLS with `sslmode=verify-full`: the right certificate is taken, a wrong one refused with a line that says what is wrong."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil
import pytest
import trustme

import currant
from apps import letters
from currant.rust_bridge import RustBridge
from servers import free_port
from support import WorkerProcess

# The first message of a client that wants TLS: eight bytes long, with the number 80877103.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
SECRET = "s3cr3t-p4ss"


class TlsFront:
    """What a server with TLS is to its clients, for the name `localhost`: the wheel's Postgres is built without it.

    It answers the request for TLS as Postgres does, and refuses whoever does not ask. Behind it is a server without.
    """

    def __init__(self, server: tuple[str, int], certificate: trustme.LeafCert) -> None:
        self._server = server
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self._context)
        self.port = free_port()
        self._stop = asyncio.Event()
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen(listening)), daemon=True)
        self._thread.start()
        listening.wait(30)

    async def _listen(self, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        listening.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with aborting(writer), suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(8) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(self._context)
                back_reader, back_writer = await asyncio.open_connection(*self._server)
                with aborting(back_writer):
                    await asyncio.gather(_relay(reader, back_writer), _relay(back_reader, writer))

    def stop(self) -> None:
        """End it, and all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@contextmanager
def aborting(writer: asyncio.StreamWriter) -> Iterator[None]:
    """At the end the connection is gone: under TLS `close` waits for the other side, and the loop may end before."""
    try:
        yield
    finally:
        writer.transport.abort()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


class Tls:
    """A server behind TLS, a login with a password, the authority that signed its certificate, and another one."""

    def __init__(self, directory: Path, server_url: str) -> None:
        parts = urlsplit(server_url)
        authority, stranger = trustme.CA(), trustme.CA()
        self.front = TlsFront((parts.hostname or "127.0.0.1", parts.port or 5432), authority.issue_cert("localhost"))
        self.authority, self.stranger = directory / "authority.pem", directory / "stranger.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        stranger.cert_pem.write_to_path(str(self.stranger))
        self._user = parts.netloc.rpartition("@")[0].partition(":")[0]
        self._password = parts.password or SECRET

    def url(
        self,
        database: str,
        host: str = "localhost",
        authority: Path | None = None,
        mode: str = "verify-full",
        patience: int = 60,
    ) -> str:
        """The way to a database for somebody who trusts that authority."""
        root = quote(str(authority or self.authority), safe="")
        where = f"{self._user}:{self._password}@{host}:{self.front.port}{urlsplit(database).path}"
        return f"postgresql://{where}?sslmode={mode}&sslrootcert={root}&connect_timeout={patience}"

    @property
    def secret(self) -> str:
        """What must not be seen."""
        return self._password


@pytest.fixture(scope="module")
def tls(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    """The server of all tests, behind TLS."""
    tls = Tls(tmp_path_factory.mktemp("tls"), server_url)
    yield tls
    tls.front.stop()


async def test_it_takes_nobody_without_tls(tls: Tls, database: str) -> None:
    currant.configure(database_url=tls.url(database, mode="disable", patience=1))
    with pytest.raises(currant.DatabaseUnavailable):
        await letters.write.queue("x")


async def test_client_and_worker_work_with_a_certificate_that_is_verified(
    tls: Tls, database: str, worker_process: Callable[..., WorkerProcess]
) -> None:
    url = tls.url(database)
    currant.configure(database_url=url)
    worker = worker_process("letters", "apps.letters", WORKFLOWS_DATABASE_URL=url)
    handle = await letters.write.queue("x")
    assert await handle.result(timeout=60) == "x"
    lines = "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    assert "currant worker -q letters" in lines
    assert tls.secret not in lines
    assert tls.secret not in worker.log


WRONG = {
    "authority": ({"mode": "verify-full"}, r"certificate.*(UnknownIssuer|unknown issuer)"),
    "authority, name not asked for": ({"mode": "verify-ca"}, r"certificate.*(UnknownIssuer|unknown issuer)"),
    "name": ({"host": "127.0.0.1"}, r"certificate.*(not valid for name|NotValidForName)"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_server_that_is_not_who_it_should_be_is_refused_with_a_line_that_says_so(
    wrong: str, tls: Tls, database: str, run_currant: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    choice, said = WRONG[wrong]
    authority = tls.stranger if "authority" in wrong else tls.authority
    url = tls.url(database, authority=authority, patience=3, **choice)
    done = run_currant("queues", WORKFLOWS_DATABASE_URL=url, RUST_LOG="trace")
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert tls.secret not in done.stderr


def test_without_the_name_being_asked_for_the_same_certificate_is_taken(tls: Tls, database: str) -> None:
    """Else the refusals above prove nothing."""
    with closing(RustBridge(tls.url(database, host="127.0.0.1", mode="verify-ca"))) as bridge:
        assert bridge.schema_version() > 0
