"""A real HTTP server that speaks chat completions, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recmind.config import ProfilesConfig, SplitConfig, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split, split_dataset

WORDS = "tea soap lamp bread chess wool paper stone river glass honey salt".split()

Behaviour = Callable[["Exchange", dict[str, Any], int], None]
"""``behave(exchange, request, nth)``: answer the nth request (from 0) with this prompt."""


def said(request: dict[str, Any]) -> str:
    """What the well-behaved server answers: a function of the request alone."""
    draw = random.Random(json.dumps(request["messages"]))
    return "likes " + " ".join(draw.choices(WORDS, k=6))


class Exchange:
    """One request on the server's side, and the ways to answer it, good and bad.

    ``number`` is its place in the order of arrival, from 0.
    """

    def __init__(
        self, handler: BaseHTTPRequestHandler, request: dict[str, Any], number: int, closing: threading.Event
    ) -> None:
        self.handler, self.request, self.number, self.closing = handler, request, number, closing

    def send(self, body: bytes | str, status: int = 200, **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def completion(self, content: Any, finish: str = "stop", **message: Any) -> str:
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 20}})

    def answer(self, content: Any = None, finish: str = "stop", **message: Any) -> None:
        """A chat completion; by default the JSON that the shipped prompt asks for."""
        content = json.dumps({"profile": said(self.request)}) if content is None else content
        self.send(self.completion(content, finish, **message))

    def hang_up(self) -> None:
        """Close without a word."""
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Promise a body, send half of it, close."""
        body = self.completion("{}").encode()
        self.handler.send_response(200)
        self.handler.send_header("Content-Length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body[: len(body) // 2])
        self.handler.wfile.flush()
        self.hang_up()

    def cut_chunks(self) -> None:
        """Half of a chunked body, close."""
        self.handler.send_response(200)
        self.handler.send_header("Transfer-Encoding", "chunked")
        self.handler.end_headers()
        self.handler.wfile.write(b"40\r\n" + b'{"choices": [' + b" " * 51 + b"\r\n")
        self.handler.wfile.flush()
        self.hang_up()

    def stall(self) -> None:
        """Say nothing until the server closes."""
        self.closing.wait(60)

    def trickle(self) -> None:
        """A byte now and then, for ever: no single read takes long."""
        self.handler.send_response(200)
        self.handler.send_header("Content-Length", "100000")
        self.handler.end_headers()
        while not self.closing.wait(0.02):
            self.handler.wfile.write(b" ")
            self.handler.wfile.flush()


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the server."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ChatServer:
    """An OpenAI-compatible endpoint on this machine.

    ``behave`` may be replaced at any time; ``requests`` and ``keys`` hold what was received.
    """

    def __init__(self) -> None:
        self.behave: Behaviour = lambda exchange, request, nth: exchange.answer()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.at_once = self.most_at_once = 0
        self._seen: Counter[str] = Counter()
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._http = _Http(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        """The user message of every request, in order."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def clear(self) -> None:
        with self._lock:
            self.requests, self.keys, self.paths = [], [], []
            self._seen.clear()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    prompt = json.dumps(request["messages"])
                    nth = server._seen[prompt]
                    server._seen[prompt] += 1
                    number = len(server.requests)
                    server.requests.append(request)
                    server.keys.append(self.headers["Authorization"])
                    server.paths.append(self.path)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                # A client that gave up is no error of the server.
                with contextlib.suppress(BrokenPipeError, ConnectionError, OSError):
                    server.behave(Exchange(self, request, number, server._closing), request, nth)
                with server._lock:
                    server.at_once -= 1

        return Handler


def half_fails(exchange: Exchange, request: dict[str, Any], nth: int) -> None:
    """Fail for half of the (prompt, attempt) pairs, each time in another way; which ones depends on them alone."""
    digest = hashlib.sha256(f"{json.dumps(request['messages'])} {nth}".encode()).digest()
    if digest[0] < 128:
        exchange.answer()
        return
    ways: list[Callable[[], None]] = [
        lambda: exchange.send("busy", 429, Retry_After="0.01"),
        lambda: exchange.send("<html>down</html>", 503),
        lambda: exchange.send("oops", 500),
        exchange.hang_up,
        exchange.cut,
        exchange.cut_chunks,
        exchange.stall,
        lambda: exchange.send(b"\x00\xff\xfe garbage"),
        lambda: exchange.send(exchange.completion('{"profile": "x"}')[:60]),
        lambda: exchange.send(json.dumps({"error": {"message": "overloaded"}})),
        lambda: exchange.send("[]"),
    ]
    ways[digest[1] % len(ways)]()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    # A proxy for the rest of the world is not for this server.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    chat = ChatServer()
    yield chat
    chat.close()


@pytest.fixture
def half_failing() -> Behaviour:
    return half_fails


@pytest.fixture
def expected_answer() -> Callable[[dict[str, Any]], str]:
    return said


@pytest.fixture
def profiles_config(server: ChatServer) -> Callable[..., ProfilesConfig]:
    """Settings for the server, in a hurry."""

    def make(**changes: Any) -> ProfilesConfig:
        usual = {"writer": "chat", "model": "tiny", "base_url": server.url, "backoff": 0.001, "timeout": 20.0}
        return ProfilesConfig(**{**usual, **changes})

    return make


def tables(n_users: int = 30, n_items: int = 20) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each user buys 5 items in order; the last two are held out by leave-one-out, and say so."""
    rows = []
    for user in range(n_users):
        for position in range(5):
            mark = ("train", "train", "train", "VALIDMARK", "TESTMARK")[position]
            item = (user * 3 + position * 7) % n_items
            rows.append(
                (f"u{user:03}", f"i{item:02}", position, float(1 + position), f"{mark} review {user} {position}")
            )
    columns = ["user_id", "item_id", "order", "rating", "review_text"]
    items = {"item_id": [f"i{k:02}" for k in range(n_items)], "title": [f"{WORDS[k % 12]} {k}" for k in range(n_items)]}
    return pl.DataFrame(rows, schema=columns, orient="row"), pl.DataFrame(items)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_frames(*tables())


@pytest.fixture
def split(dataset: Dataset) -> Split:
    return split_dataset(dataset, SplitConfig())


@pytest.fixture
def dataset_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    interactions, items = tables()
    interactions.write_parquet(folder / "interactions.parquet")
    items.write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture
def by_words() -> Callable[[list[str], int], list[str]]:
    """A tokenizer whose tokens are what stands between blanks."""
    return lambda texts, n: [" ".join(text.split(" ")[:n]) for text in texts]


@pytest.fixture
def text_config(profiles_config: Callable[..., ProfilesConfig]) -> Callable[..., TextConfig]:
    def make(user_view: str = "reviews", text: dict[str, Any] | None = None, **profiles: Any) -> TextConfig:
        return TextConfig.model_validate(
            {"user_view": user_view, **(text or {}), "profiles": profiles_config(**profiles)}
        )

    return make
