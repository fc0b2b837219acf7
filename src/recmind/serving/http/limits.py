"""How often a client may ask: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Rates:
    """Token buckets by name.

    Parameters
    ----------
    rate:
        Tokens a second; 0 allows everything.
    burst:
        Tokens that a full bucket holds.
    clients:
        Buckets that are kept; beyond that the one used longest ago is forgotten, which is to say filled.
    clock:
        Seconds, never going back.
    """

    def __init__(
        self, rate: float, burst: int, *, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst
        self._clients, self._clock = clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0, or take none and return the seconds until there are enough.

        More tokens than a bucket holds are taken as a whole bucket.
        """
        if self.rate <= 0:
            return 0.0
        now, tokens = self._clock(), min(tokens, self.burst)
        left, since = self._buckets.pop(client, (float(self.burst), now))
        left = min(self.burst, left + (now - since) * self.rate)
        wait = 0.0 if left >= tokens else (tokens - left) / self.rate
        self._buckets[client] = (left if wait else left - tokens, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return wait
