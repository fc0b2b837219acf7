"""Load over HTTP: requests at a fixed rate from another process, whether answers come or not.

    python benchmarks/serving_bundle.py --items 100000 --out /tmp/bundle-100k --requests 0
    python benchmarks/serving.py /tmp/bundle-100k --rate 300 --seconds 600
    python benchmarks/serving.py /tmp/bundle-100k --ask text --rate 5 --seconds 60
    python benchmarks/serving.py /tmp/bundle-1m --rate 200 --seconds 60 --ask recommend filters similar write
    python benchmarks/serving.py --url http://127.0.0.1:8000 --rate 300

Starts ``recmind serve`` with changes in memory, waits until it is ready, sends
for some seconds to warm up and then measures. A request has a time at which it
is due, and its latency counts from there, so that a server that stalls pays for
everybody who would have come meanwhile. What the client itself is late is shown
too: where it is more than a millisecond or two, the machine was busy with other
things. Several kinds of requests take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("recommend", "text", "filters", "similar", "history", "explain", "write", "page")
WORDS = "quiet red steel travel garden winter camera cable oak wool running kids phone kitchen".split()


@dataclass
class Tally:
    """What came back of one kind of request."""

    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def fail(self, why: str) -> None:
        self.errors[why] = self.errors.get(why, 0) + 1

    def line(self, kind: str) -> str:
        if not self.latencies:
            return f"{kind:10} no answers  errors {self.errors}"
        ms = 1000 * np.array(self.latencies)
        parts = "  ".join(f"p{p:g} {np.percentile(ms, p):7.2f}" for p in (50, 95, 99, 99.9))
        late = np.percentile(1000 * np.array(self.lateness), 99)
        return (
            f"{kind:10} {len(ms):>7,} answers  {parts}  max {ms.max():7.2f} ms  "
            f"client late p99 {late:.2f} ms  errors {sum(self.errors.values())} {self.errors or ''}"
        )


class Connection(asyncio.Protocol):
    """One request at a time over a connection that stays open."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self._got = bytearray()
        self._whole = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("connection lost"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._whole < 0 and (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._got[:end]).lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            self._whole = end + 4 + length
        if 0 <= self._whole <= len(self._got) and self.answer is not None and not self.answer.done():
            self.answer.set_result(int(self._got[9:12]))

    async def ask(self, request: bytes) -> int:
        """Send, and wait for the status."""
        if self.transport is None:
            raise ConnectionError("connection closed")
        self._got.clear()
        self._whole = -1
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


class Load:
    """Sends requests when they are due.

    Parameters
    ----------
    port:
        Of the server on this machine.
    requests:
        Kinds and requests, without end.
    """

    def __init__(self, port: int, requests: Iterator[tuple[str, bytes]]) -> None:
        self.port, self.requests = port, requests
        self.tallies: dict[str, Tally] = {}
        self._free: list[Connection] = []

    async def run(self, rate: float, seconds: float) -> None:
        """Send at a steady rate, then wait for what is out."""
        loop = asyncio.get_running_loop()
        begun, out = loop.time(), set()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            kind, request = next(self.requests)
            task = loop.create_task(self._one(kind, request, due))
            out.add(task)
            task.add_done_callback(out.discard)
        if out:
            await asyncio.wait(out, timeout=60)
        for task in out:
            task.cancel()
            self.tallies.setdefault("(never)", Tally()).fail("no answer within a minute")

    async def _one(self, kind: str, request: bytes, due: float) -> None:
        loop, tally = asyncio.get_running_loop(), self.tallies.setdefault(kind, Tally())
        try:
            connection = self._open_one() or await self._connect()
            tally.lateness.append(loop.time() - due)
            status = await connection.ask(request)
        except OSError as error:
            tally.fail(type(error).__name__)
            return
        self._free.append(connection)
        if status >= 300:
            tally.fail(str(status))
        else:
            tally.latencies.append(loop.time() - due)

    def _open_one(self) -> Connection | None:
        """A connection that waits for work; the server closes those that it refused."""
        while self._free:
            if (connection := self._free.pop()).transport is not None:
                return connection
        return None

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        return connection


def requests_of(kinds: list[str], users: list[str], items: list[str], seed: int) -> Iterator[tuple[str, bytes]]:
    """Requests of these kinds in turn, for users and items at random."""
    rng, numbers = random.Random(seed), count()
    for kind in cycle(kinds):
        user, item = rng.choice(users), rng.choice(items)
        bodies: dict[str, tuple[str, Any]] = {
            "recommend": ("/v1/recommend", {"user": user, "k": 10}),
            "text": ("/v1/recommend", {"text": " ".join(rng.choices(WORDS, k=5)), "k": 10}),
            "filters": ("/v1/recommend", {"user": user, "k": 10, "filters": {"min_price": 5, "max_price": 90}}),
            "similar": ("/v1/similar", {"item": item, "k": 10}),
            "history": ("/v1/recommend", {"history": rng.sample(items, 5), "k": 10}),
            "explain": ("/v1/recommend", {"user": user, "k": 10, "explain": True, "fields": True}),
            "write": ("/v1/interactions", {"interactions": [{"user": f"new{next(numbers)}", "item": item}]}),
        }
        if kind == "page":
            yield kind, f"GET /?who=user&user={user} HTTP/1.1\r\nHost: localhost\r\nHX-Request: true\r\n\r\n".encode()
            continue
        path, content = bodies[kind]
        body = json.dumps(content).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        yield kind, head.encode() + b"\r\n\r\n" + body


@contextmanager
def served(bundle: Path, log: Path, warm: bool) -> Iterator[tuple[int, int]]:
    """``recmind serve`` on a bundle: its port and its process id. Says how long the start took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "recmind",
        "serve",
        str(bundle),
        "--port",
        str(port),
        "--forget-changes",
        "--rate",
        "0",
    ]
    with log.open("wb") as output:
        started = time.perf_counter()
        child = subprocess.Popen([*command, *(() if warm else ("--no-warm",))], stdout=output, stderr=output)
    try:
        while child.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise SystemExit(log.read_text())
        print(f"start: ready after {time.perf_counter() - started:.2f} s")
        while warm and '"language model' not in log.read_text():
            time.sleep(0.05)
        if warm:
            print(f"       language model loaded after {time.perf_counter() - started:.2f} s")
        yield port, child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def memory(pid: int) -> str:
    """Resident memory of a process, and its largest so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = {
        line.split(":")[0]: int(line.split()[1]) / 1024
        for line in status.splitlines()
        if line.startswith("Vm") and "kB" in line
    }
    return f"resident {values['VmRSS']:.0f} MiB, at most {values['VmHWM']:.0f} MiB"


def some(port: int, path: str) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return json.load(answer)["ids"]


def measure(port: int, pid: int | None, arguments: argparse.Namespace) -> None:
    users, items = some(port, "/v1/users?limit=200"), some(port, "/v1/items?limit=200")
    requests = requests_of(arguments.ask, users, items, arguments.seed)
    if pid:
        print(f"memory before: {memory(pid)}")

    async def run() -> dict[str, Tally]:
        await Load(port, requests).run(arguments.rate, arguments.warm_up)
        load = Load(port, requests)
        await load.run(arguments.rate, arguments.seconds)
        return load.tallies

    busy = f"load of the machine {os.getloadavg()[0]:.1f}"
    print(f"{arguments.rate:g} requests a second for {arguments.seconds:g} s, {busy}")
    before = cpu_seconds(pid) if pid else 0.0
    for kind, tally in asyncio.run(run()).items():
        print(tally.line(kind))
    if pid:
        share = (cpu_seconds(pid) - before) / (arguments.seconds + arguments.warm_up)
        print(f"memory after: {memory(pid)}; the server took {share:.2f} of a core")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", help="bundle or run to serve")
    parser.add_argument("--url", help="a server without keys that runs on this machine, in place of one started here")
    parser.add_argument("--ask", nargs="+", choices=KINDS, default=["recommend"])
    parser.add_argument("--rate", type=float, default=300, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=3)
    parser.add_argument("--no-language-model", action="store_true", help="do not load it at start")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.url:
        measure(int(arguments.url.rstrip("/").rpartition(":")[2]), None, arguments)
    elif arguments.bundle:
        log = Path(f"{arguments.bundle}.serve.log")
        with served(arguments.bundle, log, not arguments.no_language_model) as (port, pid):
            measure(port, pid, arguments)
    else:
        parser.error("give a bundle or --url")


if __name__ == "__main__":
    main()
