"""What the benchmarks share, without any peer: the generated data, the workers' protocol, medians and ratios."""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

WORKER = """
from peers.process import serve

def build(settings):
    print("noise that is no answer")
    def add(n):
        print("more of it")
        return {"sum": settings["start"] + n}
    return {"add": add}, {"versions": {"worker": "1"}, "threads": settings["threads"]}

serve(build)
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_generated_pairs_are_distinct_and_leave_nobody_out():
    from peers.workload import generate

    workload = generate(300, 400, 6000, seed=1)
    pairs = set(zip(workload.users.tolist(), workload.items.tolist(), strict=True))
    held_out = set(zip(workload.valid_users.tolist(), workload.valid_items.tolist(), strict=True))
    assert len(pairs) == len(workload) >= 6000
    assert len(held_out) == len(workload.valid_users) > 200
    assert not pairs & held_out
    assert np.bincount(workload.users, minlength=300).min() > 0
    assert np.bincount(workload.items, minlength=400).min() > 0
    assert np.all(np.diff(workload.users) >= 0)


def test_a_few_nodes_have_most_pairs():
    from peers.workload import generate

    degrees = np.sort(np.bincount(generate(2000, 2000, 40_000).items))[::-1]
    assert degrees[:200].sum() > 0.25 * degrees.sum()


def test_a_workload_survives_its_file(tmp_path):
    from peers.workload import Workload, generate

    workload = generate(30, 40, 300)
    workload.save(tmp_path / "data.npz")
    loaded = Workload.load(tmp_path / "data.npz")
    assert (loaded.n_users, loaded.n_items) == (30, 40)
    np.testing.assert_array_equal(loaded.items, workload.items)


def test_a_worker_answers_whatever_its_libraries_print(tmp_path):
    from peers.process import Contender

    (tmp_path / "a_worker.py").write_text(WORKER)
    contender = Contender(
        "a", Path(sys.executable), "a_worker", {"threads": 1, "start": 40}, {"PYTHONPATH": f"{BENCHMARKS}:{tmp_path}"}
    )
    assert contender.about == {"versions": {"worker": "1"}, "threads": 1}
    reading = contender.do("add", 2)
    assert (reading.n, reading.extra) == (2, {"sum": 42})
    assert reading.wall >= 0
    contender.close()


def test_a_worker_that_fails_is_told_by_name(tmp_path):
    from peers.process import Contender

    (tmp_path / "broken_worker.py").write_text("raise SystemExit(3)\n")
    contender = Contender(
        "the broken one", Path(sys.executable), "broken_worker", {"threads": 1}, {"PYTHONPATH": str(tmp_path)}
    )
    with pytest.raises(SystemExit, match="the broken one: the worker ended with status 3"):
        _ = contender.about


def test_ratios_are_of_readings_of_one_round():
    from peers.process import Reading
    from peers.turns import table

    # The machine is ten times slower in the second round; the ratio is not.
    readings = {
        "ours": [Reading(2, 2.0, 1.0), Reading(2, 20.0, 1.0), Reading(2, 2.0, 1.0)],
        "theirs": [Reading(1, 3.0, 2.0), Reading(1, 30.0, 2.0), Reading(1, 4.0, 2.0)],
    }
    ours, theirs = table(readings, "ours")
    assert (ours.ratio, ours.wall) == (1.0, 1.0)
    assert (theirs.ratio, theirs.low, theirs.high) == (3.0, 3.0, 4.0)
    assert theirs.cpu_ratio == 4.0


def test_the_limit_of_a_step_by_hand(monkeypatch):
    from peers import bandwidth
    from peers.workload import Workload

    # One user with two items; nothing fits into the own cache, everything moves at 1000 bytes a second.
    monkeypatch.setattr(bandwidth, "own_cache", lambda: 0)
    monkeypatch.setattr(bandwidth, "_read_rate", lambda n_bytes: 1000.0)
    none = np.zeros(0, np.int32)
    workload = Workload(np.array([0, 0]), np.array([0, 1]), none, none, 1, 2)
    limit = bandwidth.step_limit(workload, dim=1, layers=1, batch=1, negatives=1, threads=2)
    # One layer has no full hop: the batch's user is certain, an item is in it with 1 - 1/2 · 1/2.
    partial = 2 * (2 + 2 * 0.75) * (4 + 4)
    adam = 3 * 4 * 6
    assert limit.far_bytes == pytest.approx(partial + adam)
    assert limit.seconds == pytest.approx((partial + adam) / 1000 / 2)
