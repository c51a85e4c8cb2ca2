"""The wait after a failure before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays that grow: `base * 2 ** failures` seconds up to `cap`, each less a random part of up to `jitter` of it."""

    def __init__(
        self,
        base: float = 0.5,
        cap: float = 60.0,
        jitter: float = 0.3,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._base, self._cap, self._jitter, self._uniform = base, cap, jitter, uniform

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many earlier failures (0 for the first)."""
        full = self._cap if failures > 60 else min(self._cap, self._base * 2.0**failures)
        return full * (1 - self._uniform(0, self._jitter))
