"""What a connection may do before there is a request.

uvicorn waits without end for the headers of a request, takes them in any size,
and lets a connection end in its own time whose peer does not read. Here each of
these has a bound, and what cannot be answered by the application is answered
with a problem all the same.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recmind.serving.http.problems import KINDS, MEDIA_TYPE, Problem

HEADER_SECONDS = 10.0
HEADER_BYTES = 1 << 16


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds.

    Attributes
    ----------
    header_seconds:
        From a connection's or a request's first byte to the end of its headers.
    header_bytes:
        Bytes of a request's line and headers.
    most:
        Open connections; one more is refused.
    """

    header_seconds = HEADER_SECONDS
    header_bytes = HEADER_BYTES
    most = 1000
    _waiting: asyncio.TimerHandle | None = None
    _unfinished = 0
    _crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for long; where there are too many connections, to refuse it."""
        super().connection_made(transport)
        self._crowded = len(self.connections) > self.most
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._have_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within bounds."""
        if self.parser is None or self.transport.is_closing():
            return
        if self._crowded:
            # Refused only now: an end before anything was read would reset the connection, and the answer be lost.
            self._refuse("busy", headers={"Retry-After": "1"})
            return
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            # Not a whole request yet. Blank lines begin none, and are waited for no longer than headers.
            self._unfinished += len(data)
            if self._unfinished > self.header_bytes:
                self._refuse("headers-too-large")
            elif self._waiting is None:
                self._wait_for_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._waiting is None:
            self._wait_for_headers()

    def on_headers_complete(self) -> None:
        """Headers are there; the guard watches the body."""
        self._have_headers()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.header_bytes:
            self._refuse("headers-too-large")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a request that was refused belong to nobody."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The same at the end of one."""
        if self.cycle is not None:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets a problem too."""
        self._refuse("malformed", "This is not a request of HTTP/1.1.")

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, at once where its peer has not read the last answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _wait_for_headers(self) -> None:
        self._unfinished = 0
        self._waiting = self.loop.call_later(self.header_seconds, self._too_slow)

    def _have_headers(self) -> None:
        self._unfinished = 0
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self._refuse("too-slow")

    def _refuse(self, kind: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        status = KINDS[kind].status
        body = json.dumps(Problem(kind, detail).to_json(self.root_path)).encode()
        fields = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._have_headers()
        self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + body)
        self.transport.close()


def bounded(header_seconds: float, most: int) -> type[Any]:
    """The protocol with bounds of one's own."""
    return type("Bounded", (BoundedProtocol,), {"header_seconds": header_seconds, "most": most})
