"""What a connection may do before there is a request.

uvicorn waits without end for the headers of a request, takes them in any size,
and waits as long for a peer that does not read its answers, before the next one
as much as at a connection's end. Here each of these has a bound, and what cannot
be answered by the application is answered with a problem all the same.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recmind.serving.http.problems import KINDS, MEDIA_TYPE, Problem

HEADER_SECONDS = 10.0
HEADER_BYTES = 1 << 16
READ_SECONDS = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds.

    Attributes
    ----------
    header_seconds:
        From a connection's or a request's first byte to the end of its headers.
    header_bytes:
        Bytes of a request's line and headers.
    read_seconds:
        For a peer to take some of what was written; where it takes nothing, the connection ends.
    most:
        Open connections; one more is refused.
    """

    header_seconds = HEADER_SECONDS
    header_bytes = HEADER_BYTES
    read_seconds = READ_SECONDS
    most = 1000
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _unfinished = 0
    _crowded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, but not for long; where there are too many connections, to refuse it."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # told of every byte that its peer has not taken
        self._crowded = len(self.connections) > self.most
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._have_headers()
        self._all_taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Bytes are left that the peer has not taken; see whether it does."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has taken them."""
        self._all_taken()
        super().resume_writing()

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

    def _wait_for_headers(self) -> None:
        self._unfinished = 0
        self._waiting = self.loop.call_later(self.header_seconds, self._too_slow)

    def _have_headers(self) -> None:
        self._unfinished = 0
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _watch_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self.read_seconds, self._not_read, left)

    def _not_read(self, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:
            self._watch_reader()
        else:
            self.transport.abort()  # an end in good order would wait for the peer to read

    def _all_taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

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


def bounded(header_seconds: float, read_seconds: float, most: int) -> type[Any]:
    """The protocol with bounds of one's own."""
    return type(
        "Bounded", (BoundedProtocol,), {"header_seconds": header_seconds, "read_seconds": read_seconds, "most": most}
    )
