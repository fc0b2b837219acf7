"""Kill -9 while people write: is anything lost that was acknowledged, does any start fail?

    python benchmarks/killed_server.py /tmp/bundle-100k
    python benchmarks/killed_server.py bundles/shop --kills 50 --seed 3

Starts ``recmind serve`` on a bundle with a store of its own, writes
interactions, items (where the model reads texts) and deletions from several
threads, and kills the process at a random moment, while it starts now and then.
Each next start must work and know everything that was acknowledged; what was
under way may be there or not.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

THREADS = 3


class Server:
    """One start of the server."""

    def __init__(self, bundle: Path, changes: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        options = ["--port", str(port), "--changes", str(changes), "--rate", "0", "--no-warm"]
        command = [sys.executable, "-m", "recmind", "serve", str(bundle), *options]
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def wait(self) -> None:
        while True:
            if self.child.poll() is not None:
                assert self.child.stderr is not None
                raise SystemExit(f"start refused:\n{self.child.stderr.read().decode()}")
            try:
                self.ask("GET", "/readyz")
                break
            except OSError:
                time.sleep(0.02)
        # The log is of no interest from here on, but must not fill its pipe.
        threading.Thread(target=self.child.stderr.read, daemon=True).start()  # type: ignore[union-attr]

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """The answer; an ``OSError`` where there is none, or a refusal."""
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(60)


class Ledger:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.histories: dict[str, str] = {}
        self.items: set[str] = set()
        self.gone: set[str] = set()
        self.unsure: set[str] = set()
        self._lock = threading.Lock()
        self._next = 0

    def write(self, server: Server, known: list[str], reads: bool, rng: random.Random, end: threading.Event) -> None:
        """Write until the server is gone."""
        while not end.is_set():
            with self._lock:
                self._next += 1
                number = self._next
            kind = rng.choices(("interaction", "item", "delete"), (6, 2 if reads else 0, 1))[0]
            try:
                self._change(server, kind, number, known, rng)
            except (OSError, ValueError):
                return

    def _change(self, server: Server, kind: str, number: int, known: list[str], rng: random.Random) -> None:
        if kind == "item":
            name = f"new-item-{number}"
            server.ask("POST", "/v1/items", {"items": [{"item_id": name, "title": f"wool blanket {number}"}]})
            self.items.add(name)
        elif kind == "interaction":
            user, item = f"new-user-{number}", rng.choice(known)
            server.ask("POST", "/v1/interactions", {"interactions": [{"user": user, "item": item}]})
            self.histories[user] = item
        else:
            with self._lock:
                left = [one for one in self.histories if one not in self.unsure]
                if not left:
                    return
                user = rng.choice(left)
                self.unsure.add(user)
            server.ask("DELETE", f"/v1/user?id={user}")
            self.gone.add(user)

    def check(self, server: Server) -> list[str]:
        """What the server does not know as it was acknowledged."""
        lost = []
        for user, item in self.histories.items():
            found = _status(server, f"/v1/user?id={user}")
            if user in self.gone:
                lost += [] if found is None else [f"{user} was deleted and is back"]
            elif user not in self.unsure and (found is None or found["history"] != [item]):
                lost.append(f"{user} had {item}, now {found}")
        lost += [item for item in self.items if _status(server, f"/v1/item?id={item}") is None]
        return lost


def _status(server: Server, path: str) -> Any:
    try:
        return server.ask("GET", path)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.5, help="writing before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, ledger, lost, early = random.Random(arguments.seed), Ledger(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        changes = Path(folder) / "changes.sqlite"
        for kill in range(arguments.kills):
            server = Server(arguments.bundle, changes)
            if rng.random() < 0.1:  # in the midst of a start
                time.sleep(rng.uniform(0, 3))
                server.kill()
                early += 1
                continue
            server.wait()
            lost += ledger.check(server)
            known = server.ask("GET", "/v1/items?limit=50")["ids"]
            reads = server.ask("GET", "/v1/status")["can"]["text"]
            end = threading.Event()
            of = [random.Random(rng.random()) for _ in range(THREADS)]
            writers = [threading.Thread(target=ledger.write, args=(server, known, reads, one, end)) for one in of]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.05, arguments.seconds))
            server.kill()
            end.set()
            for writer in writers:
                writer.join()
            acknowledged = len(ledger.histories) + len(ledger.items) + len(ledger.gone)
            print(f"kill {kill + 1}: {acknowledged:,} changes acknowledged so far, {len(lost)} lost", flush=True)
        server = Server(arguments.bundle, changes)
        server.wait()
        lost += ledger.check(server)
        server.kill()
    counts = f"{len(ledger.histories):,} interactions, {len(ledger.items):,} items, {len(ledger.gone):,} deletions"
    print(f"{arguments.kills} kills, {early} of them during a start; every start worked")
    print(f"acknowledged: {counts}; lost: {len(lost)}")
    for one in lost[:20]:
        print(f"  {one}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
