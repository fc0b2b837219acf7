"""Reload, stop and kill while requests come in."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from recmind.serving.http.opening import bundle_of, is_run, open_to_serve
from recmind.serving.live import LiveRecommender


class Callers:
    """Threads that ask again and again, and keep what they were told."""

    def __init__(self, url: str, ask: Callable[[httpx2.Client, int], Any], threads: int = 2) -> None:
        self.found: list[Any] = []
        self.failures: list[BaseException] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url, ask)) for _ in range(threads)]

    def _run(self, url: str, ask: Callable[[httpx2.Client, int], Any]) -> None:
        number = 0
        with httpx2.Client(base_url=url, timeout=300) as client:
            while not self._end.is_set():
                try:
                    self.found.append(ask(client, number))
                except BaseException as failure:
                    self.failures.append(failure)
                    return
                number += 1

    def __enter__(self) -> Callers:
        """Until somebody has got an answer."""
        for thread in self._threads:
            thread.start()
        for _ in range(2400):
            if self.found or self.failures:
                break
            self._end.wait(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)


def recommend(client: httpx2.Client, number: int) -> tuple[int, str]:
    answer = client.get("/v1/recommend", params={"user": f"u{number % 40:02}"})
    return answer.status_code, answer.json().get("bundle", "")


def test_no_request_is_lost_in_a_reload(serving: Any, bundled: Any, tmp_path: Path):
    served = tmp_path / "served"
    served.symlink_to(bundled("recmind"))
    running = serving(tmp_path / "changes.sqlite", of=served)
    ids = {LiveRecommender.open(bundled(kind)).bundle_id for kind in ("recmind", "no-gate")}
    with running.client() as client:
        client.post("/v1/interactions", json={"interactions": [{"user": "late", "item": "i04"}]})
        with Callers(running.url, recommend) as callers:
            for kind in ("no-gate", "recmind", "no-gate"):
                fresh = tmp_path / "fresh"
                fresh.symlink_to(bundled(kind))
                fresh.replace(served)
                answer = client.post("/v1/reload")
                assert answer.status_code == 200 and answer.json()["bundle"] != answer.json()["before"]
        assert client.get("/v1/user", params={"id": "late"}).json()["history"] == ["i04"]
    assert not callers.failures
    assert {status for status, _ in callers.found} == {200}
    assert {bundle for _, bundle in callers.found} == ids


def test_a_damaged_bundle_is_refused_and_the_old_one_stays(serving: Any, bundle: Path, tmp_path: Path):
    served = Path(shutil.copytree(bundle, tmp_path / "served"))
    running = serving(of=served)
    with running.client() as client:
        before = client.get("/v1/status").json()["bundle"]
        content = bytearray((served / "vectors.safetensors").read_bytes())
        content[-1] ^= 1
        (served / "vectors.safetensors").write_bytes(content)
        answer = client.post("/v1/reload")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems#cannot")
        assert client.get("/v1/status").json()["bundle"] == before
        assert client.get("/v1/recommend", params={"user": "u01"}).status_code == 200
        assert 'recmind_reloads_total{result="refused"} 1.0' in client.get("/metrics").text


def test_a_signal_reloads_and_another_stops(in_process: Any, bundle: Path, tmp_path: Path):
    log = tmp_path / "log"
    with in_process(bundle, "--forget-changes", log=log) as (child, url):
        with Callers(url, recommend) as callers:
            os.kill(child.pid, signal.SIGHUP)
            for _ in range(600):
                if '"reloaded"' in log.read_text():
                    break
                threading.Event().wait(0.05)
        assert '"reloaded"' in log.read_text()
        assert not callers.failures and {status for status, _ in callers.found} == {200}
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(60) == 0
    assert '"stopped"' in log.read_text()


def test_a_request_under_way_ends_before_the_server_does(serving: Any):
    running = serving()
    answers: list[int] = []

    def slow() -> None:
        items = [{"item_id": f"n{n}", "title": "w1 w2"} for n in range(100)]
        with running.client() as client:
            answers.append(client.post("/v1/items", json={"items": items}).status_code)

    asking = threading.Thread(target=slow)
    asking.start()
    for _ in range(1000):
        if running.server._service.changes.under_way or answers:
            break
        threading.Event().wait(0.005)
    running.stop()
    asking.join(60)
    assert answers == [200]


def test_a_server_that_stops_says_so(serving: Any):
    running = serving(drain_seconds=1.0)
    with running.client() as client:
        assert client.get("/readyz").status_code == 200
        running.server.loop.call_soon_threadsafe(running.server.stop)
        for _ in range(100):
            if running.server._service.state == "stopping":
                break
            threading.Event().wait(0.01)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems#not-ready")
        assert client.get("/v1/recommend", params={"user": "u01"}).status_code == 200
    running.thread.join(60)


@pytest.mark.parametrize("turn", range(2))
def test_what_was_acknowledged_survives_a_kill(in_process: Any, bundle: Path, tmp_path: Path, turn: int):
    """benchmarks/killed_server.py does this fifty times."""
    changes, log = tmp_path / "changes.sqlite", tmp_path / "log"
    acknowledged: list[str] = []

    def write(client: httpx2.Client, number: int) -> None:
        user = f"late{number}"
        answer = client.post("/v1/interactions", json={"interactions": [{"user": user, "item": "i04"}]})
        assert answer.json() == {"new": 1}
        acknowledged.append(user)

    with in_process(bundle, "--changes", changes, log=log) as (child, url):
        with Callers(url, write, threads=1) as callers:
            for _ in range(6000):
                if len(acknowledged) > 20 + 15 * turn:
                    break
                threading.Event().wait(0.005)
            child.kill()
            child.wait(60)
        assert all(isinstance(failure, httpx2.TransportError) for failure in callers.failures)
    assert len(acknowledged) > 20
    with LiveRecommender.open(bundle, changes) as live:
        assert [user for user in acknowledged if live.history(user) != ["i04"]] == []


# -- from a run --------------------------------------------------------------------------------------------------


def test_a_run_is_made_into_a_bundle_once(trained: Any, tmp_path: Path):
    run = Path(shutil.copytree(trained("recmind"), tmp_path / "run"))
    assert is_run(run)
    made = bundle_of(run)
    first = (made / "manifest.json").stat().st_mtime_ns
    assert made == tmp_path / "run.bundle" and not is_run(made)
    assert (bundle_of(run) / "manifest.json").stat().st_mtime_ns == first
    os.utime(run / "model.safetensors")
    assert (bundle_of(run) / "manifest.json").stat().st_mtime_ns > first
    live, bundle = open_to_serve(run, None)
    with live:
        assert live.recommend("u01", 3)
    assert bundle() == made and (tmp_path / "run.bundle.changes.sqlite").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("run.bundle.changes")) == [
        "run",
        "run.bundle",
    ]
