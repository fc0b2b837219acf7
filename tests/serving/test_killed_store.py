"""`kill -9` under writes, again and again: nothing that was acknowledged is lost, and every start succeeds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recmind.serving.live import LiveRecommender
from recmind.serving.store import Store

CHILD = """
import sys
from recmind.serving.live import LiveRecommender

live = LiveRecommender.open(sys.argv[1], sys.argv[2])
first = int(sys.argv[3])
print("ready", flush=True)
for step in range(first, first + 100_000):
    item, user = f"n{step}", f"p{step % 7}"
    live.add_items([{"item_id": item, "title": f"w{step % 60} w{step % 7}"}])
    print("item", item, flush=True)
    live.add_interactions([(user, item), ("everybody", item)])
    print("pair", user, item, flush=True)
    if step % 5 == 4 and live.has_item(f"n{step - 2}"):  # not where the last process was killed before it
        live.delete_item(f"n{step - 2}")
        print("gone", f"n{step - 2}", flush=True)
    if step % 11 == 10:
        live.delete_user(user)
        print("left", user, flush=True)
"""
STORE_CHILD = """
import sys
from recmind.serving.store import Store

store = Store(sys.argv[1])
print("ready", flush=True)
for step in range(int(sys.argv[2]), 10**9):
    store.add_interactions([(f"p{step}", "a"), (f"p{step}", "b")])
    print(step, flush=True)
"""
ENVIRONMENT = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}


def killed(arguments: list[str], lines: int) -> list[str]:
    """What a process said until it was killed, some moments after its ``lines``-th line."""
    process = subprocess.Popen([sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    assert said == ["ready"]
    for _ in range(lines):
        said.append(process.stdout.readline().strip())
    time.sleep(random.random() * 0.01)  # anywhere within a write
    os.kill(process.pid, signal.SIGKILL)
    said += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    return said[1:]


@pytest.mark.slow
def test_no_acknowledged_change_of_a_server_is_lost(bundled: Callable[[str], Path], tmp_path: Path):
    store, first = tmp_path / "changes.sqlite", 0
    items: dict[str, bool] = {}
    pairs: list[tuple[str, str]] = []
    doubtful: set[str] = set()
    for _ in range(4):
        said = killed([CHILD, str(bundled("recmind")), str(store), str(first)], random.randrange(1, 40))
        for line in said:
            kind, *names = line.split()
            if kind == "item":
                items[names[0]] = True
            elif kind == "gone":
                items[names[0]] = False
                pairs = [pair for pair in pairs if pair[1] != names[0]]
            elif kind == "left":
                pairs = [pair for pair in pairs if pair[0] != names[0]]
            else:
                pairs += [(names[0], names[1]), ("everybody", names[1])]
        with LiveRecommender.open(bundled("recmind"), store) as live:
            # A change that was under way may be there or not; it is of the last step, or deletes something before it.
            last = max((int(name[1:]) for name in items), default=first)
            doubtful = {f"n{last - 2}", f"n{last - 1}", f"n{last}", f"n{last + 1}"}
            unsure = {f"p{step % 7}" for step in (last, last + 1)}
            for item, there in items.items():
                assert live.has_item(item) == there or item in doubtful
            for user, item in pairs:
                if item not in doubtful and user not in unsure:
                    assert item in live.history(user)
            for user in live.users("p"):
                for item in live.history(user):
                    assert live.has_item(item)
            items = {name: live.has_item(name) for name in items}
            pairs = [(user, item) for user, item in pairs if live.has_user(user) and item in live.history(user)]
            first = last + 2


@pytest.mark.slow
def test_fifty_kills_of_the_store_lose_nothing_and_leave_no_half_batch(tmp_path: Path):
    path, done = tmp_path / "changes.sqlite", -1
    for _ in range(50):
        said = killed([STORE_CHILD, str(path), str(done + 1)], random.randrange(0, 15))
        acknowledged = [int(line) for line in said]
        store = Store(path)
        found: dict[str, set[str]] = {}
        for user, item in store.interactions():
            found.setdefault(user, set()).add(item)
        store.close()
        assert all(items == {"a", "b"} for items in found.values())
        steps = {int(user[1:]) for user in found}
        assert steps >= set(range(done + 1)) | set(acknowledged)
        # At most the one that was under way is there beside those that were acknowledged.
        assert len(steps) <= max([done, *acknowledged]) + 2
        done = max(steps, default=-1)
