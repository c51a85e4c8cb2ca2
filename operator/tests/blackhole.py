"""A TCP proxy that can go silent: connections stay open and nothing passes, as when a router forgets them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards to `target` until `freeze`; connections made after that pass again, those of before never do."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._generation = 0
        self._sockets: list[socket.socket] = []
        self.frozen = 0
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def freeze(self) -> None:
        """Let nothing pass any more on the connections that there are, and close none."""
        self._generation += 1

    def close(self) -> None:
        """Close everything."""
        # A socket that a thread waits on has to be shut down: closing it alone wakes nobody.
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._sockets.append(server)
            for pair in ((client, server), (server, client)):
                self._run(self._forward, *pair, self._generation)

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self._threads[-1].start()

    def _forward(self, source: socket.socket, sink: socket.socket, generation: int) -> None:
        try:
            while data := source.recv(65536):
                if generation != self._generation:
                    self.frozen += 1
                    continue  # swallowed
                sink.sendall(data)
            if generation == self._generation:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    """A proxy in front of a server."""
    made = Proxy((host, port))
    try:
        yield made
    finally:
        made.close()
