"""What a server is told."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from recmind.errors import ConfigError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Values of the header Host that a browser on this machine sends."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Everything about the server that is not in the bundle.

    Attributes
    ----------
    host, port:
        Where to listen; port 0 takes a free one.
    keys:
        File of API keys. Without it there are none, which only the loopback interface allows.
    hosts:
        Values of the header ``Host`` that are answered, without port; empty means any where there are keys, and
        the names of the loopback interface where there are none (a web page elsewhere could otherwise reach a
        server without keys through a name of its own).
    proxy:
        Address of a proxy whose ``X-Forwarded-*`` headers are believed; empty for none.
    root_path:
        Path below which the proxy shows the server, such as ``/recmind``.
    max_body:
        Bytes of a request's body.
    rate, burst:
        Requests a second of one client, and how many at once; 0 switches the limit off. A client is a key, or an
        address where there are no keys. A request with a text counts :attr:`text_cost` times.
    text_cost:
        See above.
    header_seconds, body_seconds, answer_seconds:
        How long a client may take for its headers and its body, and a whole request from the headers on. A client
        that has read nothing of an answer for ``answer_seconds`` is let go.
    idle_seconds:
        How long a connection may wait for its next request.
    connections:
        Open connections at most.
    threads:
        Threads for what the event loop does not do itself.
    waiting:
        Calls that may wait for a thread; more are answered with 503.
    drain_seconds:
        After the signal to stop: how long ``/readyz`` says no while requests are still taken.
    stop_seconds:
        How long requests under way may then take to end.
    warm:
        Whether the language model is loaded at start rather than by the first text.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    hosts: tuple[str, ...] = ()
    proxy: str = ""
    root_path: str = ""
    max_body: int = 1 << 18
    rate: float = 1000.0
    burst: int = 2000
    text_cost: int = 20
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    answer_seconds: float = 30.0
    idle_seconds: float = 65.0
    connections: int = 1000
    threads: int = 2
    waiting: int = 64
    drain_seconds: float = 0.0
    stop_seconds: float = 20.0
    warm: bool = True

    def __post_init__(self) -> None:
        if self.keys is None and not (is_loopback(self.host) and not self.proxy):
            raise ConfigError(
                "a server that others can reach needs API keys",
                where="--host" if not self.proxy else "--proxy",
                got=self.proxy or self.host,
                accepted="127.0.0.1, ::1 or localhost without keys and without a proxy",
                hint="make a key with `recmind key NAME --keys keys.json`, then serve with --keys keys.json",
            )
        _check_range("--port", self.port, 0, 65535)
        _check_range("--max-body", self.max_body, 1024, 1 << 26)
        _check_range("--rate", self.rate, 0, 1e6)
        _check_range("--burst", self.burst, 1, 1_000_000)
        _check_range("--threads", self.threads, 1, 64)
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ConfigError(
                "not a path", where="--root-path", got=self.root_path, accepted="a path such as /recmind, or nothing"
            )

    @property
    def answered_hosts(self) -> frozenset[str]:
        """Values of ``Host`` that are answered, in lower case; empty for any."""
        if self.hosts:
            return frozenset(host.lower() for host in self.hosts)
        return frozenset() if self.keys is not None else frozenset(LOOPBACK_NAMES)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_range(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError("out of range", where=where, got=value, accepted=f"{low} to {high}")
