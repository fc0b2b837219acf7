"""The cookie of somebody who logged in on the page: signed, short-lived, of no use without the server that made it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

COOKIE = "recmind_session"
SECONDS = 12 * 3600


class Sessions:
    """Makes and reads cookies; a restart ends all sessions.

    Parameters
    ----------
    clock:
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._secret = secrets.token_bytes(32)
        self._clock = clock

    def make(self, sha256: str) -> str:
        """The cookie for a key, given by its digest."""
        content = f"{sha256}.{int(self._clock()) + SECONDS}"
        return f"{base64.urlsafe_b64encode(content.encode()).decode()}.{self._sign(content)}"

    def read(self, cookie: str) -> str | None:
        """Digest of the key that the cookie was made for; ``None`` where it is forged, damaged or too old."""
        encoded, _, signature = cookie.rpartition(".")
        try:
            content = base64.urlsafe_b64decode(encoded.encode()).decode("ascii")
        except ValueError:
            return None
        if not hmac.compare_digest(self._sign(content).encode(), signature.encode("utf-8", "replace")):
            return None
        sha256, _, ends = content.partition(".")
        return sha256 if ends.isdigit() and int(ends) > self._clock() else None

    def _sign(self, content: str) -> str:
        return hmac.new(self._secret, content.encode(), hashlib.sha256).hexdigest()
