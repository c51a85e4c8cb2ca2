"""A TCP proxy that can go silent: connections stay open and nothing passes, as when a router forgets them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Forwards to `target` until `freeze`; connections made after that pass again, those of before never do."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._generation = 0
        self._sockets: list[socket.socket] = []
        self.frozen = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Let nothing pass any more on the connections that there are, and close none."""
        self._generation += 1

    def close(self) -> None:
        """Close everything."""
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(*pair, self._generation), daemon=True).start()

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
