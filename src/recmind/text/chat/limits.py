"""When the next request may go: the endpoint's limits, and the waits between repetitions."""

from __future__ import annotations

import random

LONGEST_BACKOFF = 60.0


class Pace:
    """Spreads requests and tokens evenly over the minute.

    Request k may start when all those before it, and their tokens, have had their share of time: after a
    request of c tokens the next waits max(60 / requests_per_minute, 60 c / tokens_per_minute) seconds. There
    is no burst at the start, which endpoints with a sliding window would refuse. Times are seconds on any
    clock that does not go back; a limit of 0 is none.
    """

    def __init__(self, requests_per_minute: float = 0.0, tokens_per_minute: float = 0.0) -> None:
        self._per_request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._free = float("-inf")

    def reserve(self, now: float, tokens: float) -> float:
        """Seconds to wait from ``now`` before a request of about ``tokens`` tokens."""
        start = max(now, self._free)
        self._free = start + max(self._per_request, self._per_token * tokens)
        return start - now

    def correct(self, tokens: float) -> None:
        """Count ``tokens`` more, or fewer, than were reserved, once an answer says what it took."""
        self._free += self._per_token * tokens

    def pause(self, until: float) -> None:
        """Start nothing before ``until``."""
        self._free = max(self._free, until)


def backoff(first: float, attempt: int, draw: random.Random) -> float:
    """Seconds before repetition ``attempt`` (0, 1, ...): doubled each time up to a minute, less up to half."""
    return min(LONGEST_BACKOFF, first * 2.0 ** min(attempt, 60)) * draw.uniform(0.5, 1.0)
