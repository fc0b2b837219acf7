"""What a connection may do: slow, large, broken, too many, silent."""

from __future__ import annotations

import json
import random
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from recmind.serving.http.protocol import bounded

START = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def problem(answer: bytes) -> tuple[int, str]:
    """Status and kind of an answer that is a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower(), answer[:300]
    return int(head.split()[1]), json.loads(body)["type"].rpartition("#")[2]


def test_headers_that_do_not_end_are_not_waited_for(serving: Any):
    running = serving(header_seconds=0.3)
    assert problem(running.raw(START)) == (408, "too-slow")
    assert problem(running.raw(b"")) == (408, "too-slow")
    assert problem(running.raw(b"\r\n")) == (408, "too-slow")


def test_headers_drop_by_drop(serving: Any):
    running = serving(header_seconds=0.5)
    with socket.create_connection(("127.0.0.1", running.port), timeout=120) as connection:
        ended = False
        for byte in START * 3:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                ended = True
                break
            time.sleep(0.02)
        assert ended


def test_a_second_request_is_waited_for_no_longer_than_the_first(serving: Any):
    running = serving(header_seconds=0.3)
    with socket.create_connection(("127.0.0.1", running.port), timeout=120) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connection.recv(65536)
        connection.sendall(b"GET /hea")
        assert b" 408 " in connection.recv(65536)
        assert connection.recv(65536) == b""


def test_a_body_that_does_not_end(serving: Any):
    running = serving(body_seconds=0.3)
    assert problem(running.raw(START + b'Content-Length: 50\r\n\r\n{"user"')) == (408, "too-slow")
    assert problem(running.raw(START + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"us')) == (408, "too-slow")


def test_a_body_that_is_too_large_is_not_read(serving: Any):
    running = serving(max_body=1024)
    assert problem(running.raw(START + b"Content-Length: 1025\r\n\r\n")) == (413, "too-large")
    assert problem(running.raw(START + b"Content-Length: 99999999999999999999\r\n\r\n"))[0] in (400, 413)
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    assert problem(running.raw(START + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2)) == (413, "too-large")
    whole = START + b"Connection: close\r\nContent-Length: 1024\r\n\r\n" + b'{"user": "u01"}'.ljust(1024)
    assert b" 200 " in running.raw(whole)[:20]


def test_headers_that_are_too_large(serving: Any):
    running = serving()
    many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 90) for n in range(1000))
    assert problem(running.raw(START + many + b"\r\n")) == (431, "headers-too-large")
    assert problem(running.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        START + b"Content-Length: -1\r\n\r\n",
        START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http(serving: Any, sent: bytes):
    assert problem(serving(body_seconds=1, header_seconds=1).raw(sent))[0] in (400, 408)


def test_one_connection_too_many(serving: Any):
    running = serving(connections=3)
    open_ones = [socket.create_connection(("127.0.0.1", running.port), timeout=120) for _ in range(3)]
    try:
        for one in open_ones:  # all of them are known to the server once it has answered each
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in one.recv(65536)
        assert problem(running.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")) == (503, "busy")
    finally:
        for one in open_ones:
            one.close()


def test_who_does_not_read_is_let_go(serving: Any):
    """Answers pile up that nobody takes; the connection ends, and the server stops without waiting for it, though
    idle connections are kept.
    """
    running = serving(answer_seconds=0.5, idle_seconds=600.0)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", running.port))
    connection.settimeout(5)
    with connection:
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(400):
            try:
                connection.sendall(ask)
            except OSError:
                break
        for _ in range(1200):  # on a busy machine the answers themselves take their time
            if not running.server.server_state.connections:
                break
            time.sleep(0.05)
        assert not running.server.server_state.connections
    with running.client() as client:
        assert client.get("/healthz").status_code == 200


class Peer:
    """A transport and a clock: what is left unread, and what waits for how long."""

    def __init__(self) -> None:
        self.left, self.aborted, self.waiting = 0, False, []  # type: ignore[var-annotated]

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True

    def call_later(self, seconds: float, call: Any, *values: Any) -> Any:
        entry = (seconds, call, values)
        self.waiting.append(entry)
        return SimpleNamespace(cancel=lambda: self.waiting.remove(entry))

    def tick(self) -> None:
        _, call, values = self.waiting.pop()
        call(*values)


def test_who_reads_slowly_is_waited_for():
    peer = Peer()
    protocol = object.__new__(bounded(10.0, 7.0, 5))
    protocol.transport, protocol.loop = peer, peer
    protocol.flow = FlowControl(peer)  # type: ignore[arg-type]
    peer.left = 300
    protocol.pause_writing()
    assert protocol.flow.write_paused and [seconds for seconds, *_ in peer.waiting] == [7.0]
    for left in (200, 199):
        peer.left = left
        peer.tick()
        assert not peer.aborted and len(peer.waiting) == 1
    protocol.resume_writing()
    assert not protocol.flow.write_paused and not peer.waiting
    protocol.pause_writing()
    peer.tick()
    assert peer.aborted


def test_pipelined_requests_are_answered_in_order(serving: Any):
    one = b"GET /v1/recommend?user=u0%d&k=1 HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    answer = serving().raw(one % (1, b"") + one % (2, b"") + one % (3, b"Connection: close\r\n"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3


def test_noise_never_hangs_or_breaks_it(serving: Any):
    running = serving(header_seconds=0.2, body_seconds=0.2)
    rng = random.Random(7)
    whole = START + b'Content-Length: 15\r\n\r\n{"user": "u01"}'
    for _ in range(150):
        sent = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(sent))
            match rng.randrange(3):
                case 0:
                    sent[place] = rng.randrange(256)
                case 1:
                    del sent[place]
                case _:
                    sent.insert(place, rng.randrange(256))
        with socket.create_connection(("127.0.0.1", running.port), timeout=120) as connection:
            connection.sendall(bytes(sent))
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                assert not part.startswith(b"HTTP/1.1 500")
    with running.client() as client:
        assert client.get("/v1/recommend", params={"user": "u01"}).status_code == 200
        assert 'status="500"' not in client.get("/metrics").text
