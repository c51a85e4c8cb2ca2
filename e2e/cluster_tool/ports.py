"""Ports that are free now, and stay free until the process that wants them is started."""

from __future__ import annotations

import random
import socket

from .errors import ClusterError

# Below what the kernel gives to outgoing connections (from 32768), which could take the port while the API server is
# down, and below NodePorts.
CANDIDATES = range(20000, 30000)


class Reservation:
    """One port, held by a bound socket. `release()` right before the process that shall have it starts."""

    def __init__(self) -> None:
        for _ in range(100):
            port = random.choice(CANDIDATES)  # noqa: S311  no secret
            held = socket.socket()
            try:
                held.bind(("0.0.0.0", port))  # noqa: S104  free on every address
            except OSError:
                held.close()
                continue
            self.port, self._held = port, held
            return
        raise ClusterError("no free port between 20000 and 29999: is something holding them all?")

    def release(self) -> None:
        """Give the port back to the machine."""
        self._held.close()
