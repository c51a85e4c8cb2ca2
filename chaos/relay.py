"""A TCP relay between one client and its server, to be cut, slowed, held back or pointed elsewhere."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK = 65_536


@dataclass(eq=False)
class _Link:
    """One connection. Each direction carries bytes while its gate is open; a lost one drops what comes."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    requests: asyncio.Event = field(default_factory=asyncio.Event)
    replies: asyncio.Event = field(default_factory=asyncio.Event)
    replies_lost: bool = False


class Relay:
    """Listens on a port of its own and carries bytes to `upstream` and back."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.delay = (0.0, 0.0)  # seconds for each packet, least and most
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let connections through; the port stays the same."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break every connection and refuse new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()

    async def lose(self) -> None:
        """As when the server's node is lost: the connections there are carry nothing and do not break; no new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.deafen()
        self.hold(requests=True)

    def cut(self) -> None:
        """Break every connection there is."""
        for link in self._links:
            for writer in link.writers:
                writer.transport.abort()

    def hold(self, requests: bool) -> None:
        """From now on the connections there are carry no replies, and with `requests` nothing at all. New ones work."""
        for link in self._links:
            link.replies.clear()
            if requests:
                link.requests.clear()

    def release(self) -> None:
        """Deliver what was held back, as a network does that comes back."""
        for link in self._links:
            link.replies.set()
            link.requests.set()

    def deafen(self) -> None:
        """The connections there are never carry a reply again. Requests arrive; new connections work."""
        for link in self._links:
            link.replies_lost = True

    async def close(self) -> None:
        """For good."""
        await self.shut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that the server made complains when it is cancelled.
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self.upstream)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((writer, upstream_writer))
        link.requests.set()
        link.replies.set()
        self._links.add(link)
        try:
            await asyncio.gather(
                self._carry(reader, upstream_writer, link, link.requests),
                self._carry(upstream_reader, writer, link, link.replies),
            )
        finally:
            self._links.discard(link)
            for end in link.writers:
                end.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, gate: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay[1]:
                    await asyncio.sleep(random.uniform(*self.delay))
                await gate.wait()
                if not (link.replies_lost and gate is link.replies):
                    writer.write(data)
                    await writer.drain()
        await gate.wait()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()
