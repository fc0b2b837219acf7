"""A server in a thread, on a real socket; and one in a process, to be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from recmind.serving.http.server import make_server
from recmind.serving.http.settings import ServeSettings
from recmind.serving.live import LiveRecommender

CALM: dict[str, Any] = {
    "port": 0,
    "rate": 0.0,
    "warm": False,
    "stop_seconds": 5.0,
    "header_seconds": 120.0,
    "body_seconds": 120.0,
    "answer_seconds": 300.0,
}
"""What most tests want: any port, no limit, patience on a busy machine, no language model before it is needed."""


class Running:
    """A server in a thread."""

    def __init__(self, bundle: Path, changes: Path | None, settings: ServeSettings) -> None:
        self.live = LiveRecommender.open(bundle, changes)
        self.server, listener = make_server(self.live, lambda: bundle, settings)
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        begun = threading.Event()
        self.server.ready = begun.set
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        assert begun.wait(60)

    def stop(self) -> None:
        assert self.server.loop is not None
        self.server.loop.call_soon_threadsafe(self.server.stop)
        self.thread.join(60)
        assert not self.thread.is_alive()

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=300, **options)

    def raw(self, sent: bytes, *, timeout: float = 120) -> bytes:
        """Everything that comes back over a connection until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(sent)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="session")
def bundle(bundled: Callable[[str], Path]) -> Path:
    return bundled("recmind")


@pytest.fixture
def serving(bundle: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers with settings of one's own; all of them are stopped at the end."""
    running: list[Running] = []

    def start(changes: Path | None = None, *, of: Path | None = None, **settings: Any) -> Running:
        one = Running(of or bundle, changes, ServeSettings(**{**CALM, **settings}))
        running.append(one)
        return one

    yield start
    for one in running:
        if one.thread.is_alive():
            one.stop()


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Running]:
    """One server for tests that change nothing."""
    one = Running(bundle, None, ServeSettings(**CALM))
    yield one
    one.stop()


@pytest.fixture(scope="module")
def api(server: Running) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def live(bundle: Path) -> Iterator[LiveRecommender]:
    """What the server should say."""
    with LiveRecommender.open(bundle) as live:
        yield live


@contextmanager
def process(bundle: Path, *options: str | Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """``recmind serve`` in a process of its own, once it is ready, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "recmind",
        "serve",
        bundle,
        "--port",
        str(port),
        "--no-warm",
        "--rate",
        "0",
        *options,
    ]
    with log.open("ab") as output:
        child = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(child, url, log)
        yield child, url
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(60)


def _wait_until_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        assert child.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"never ready: {log.read_text()}")


@pytest.fixture
def in_process() -> Callable[..., Any]:
    return process
