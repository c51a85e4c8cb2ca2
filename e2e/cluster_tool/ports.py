"""Ports that are free, and stay free until the process that needs them starts."""

from __future__ import annotations

import random
import socket

from .errors import ClusterError

# Ports below those of outgoing connections (from 32768), which could take a port while the API server is down, and
# below NodePorts.
CANDIDATES = range(20000, 30000)


class Reservation:
    """One port, reserved by a bound socket. Call `release()` right before its process starts."""

    def __init__(self) -> None:
        for _ in range(100):
            port = random.choice(CANDIDATES)  # noqa: S311  no secret
            bound = socket.socket()
            try:
                bound.bind(("0.0.0.0", port))  # noqa: S104  free on every address
            except OSError:
                bound.close()
                continue
            self.port, self._socket = port, bound
            return
        raise ClusterError("no free port between 20000 and 29999: is something holding them all?")

    def release(self) -> None:
        """Give the port back to the machine."""
        self._socket.close()
