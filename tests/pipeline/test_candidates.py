"""Runs whose temperature, or whether they read order, is chosen on the validation part."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.serving.recommender import Recommender

LIST = {"training.temperature": [0.05, 5.0, 0.5], "model.sequence.optional": True, "training.max_epochs": 4}
LONGER = {"training.max_epochs": 20, "training.patience": 100, "training.checkpoint_seconds": 0}


def command(way, dataset: Path, out: Path) -> list[str | Path]:
    return ["train", dataset, "--out", out, "--recipe", "default", "--quiet", *way.flags(way.FAST | LIST | LONGER)]


@pytest.fixture(scope="module")
def undisturbed(way, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("candidates") / "undisturbed"
    assert way.recmind(*command(way, dataset, out)).wait(timeout=250) == 0
    return out


def test_the_run_is_that_of_the_best_temperature(way, dataset: Path, tmp_path: Path):
    metrics = way.train(dataset, tmp_path / "list", way.config(**LIST))
    alone = {
        temperature: way.train(
            dataset, tmp_path / f"{temperature}", way.config(**{**LIST, "training.temperature": temperature})
        )
        for temperature in LIST["training.temperature"]
    }
    assert [one["temperature"] for one in metrics["tried"]] == list(alone)
    for one in metrics["tried"]:
        assert one["value"] == pytest.approx(alone[one["temperature"]]["valid"]["ndcg@20"])
    best = max(metrics["tried"], key=lambda one: one["value"])["temperature"]
    assert "tried" not in alone[best]
    for name in ("model.safetensors", "per_user_test.parquet"):
        assert (tmp_path / "list" / name).read_bytes() == (tmp_path / f"{best}" / name).read_bytes()
    assert not list((tmp_path / "list").glob("tried*"))


def test_without_a_validation_part_the_first_temperature_counts(way, tmp_path: Path):
    interactions, items = way.tables()
    dataset = way.write(tmp_path / "single", interactions.group_by("user_id", maintain_order=True).head(1), items)
    metrics = way.train(dataset, tmp_path / "list", way.config(**LIST))
    assert not metrics["valid"] and "tried" not in metrics
    way.train(dataset, tmp_path / "number", way.config(**{**LIST, "training.temperature": 0.05}))
    assert (tmp_path / "list/model.safetensors").read_bytes() == (tmp_path / "number/model.safetensors").read_bytes()


def ring(way, folder: Path) -> Path:
    """A shop where everybody goes around the same ring of items, each from a place of one's own."""
    starts = np.random.default_rng(0).integers(24, size=80)
    rows = [(f"u{u:02}", f"i{(start + t) % 24:02}", t) for u, start in enumerate(starts) for t in range(7)]
    items = pl.DataFrame(
        {"item_id": [f"i{i:02}" for i in range(24)], "title": [f"thing {i * 7 % 24}" for i in range(24)]}
    )
    return way.write(folder, pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"), items)


@pytest.mark.parametrize("wins", [True, False])
def test_order_is_read_where_it_is_clearly_better(way, dataset: Path, tmp_path: Path, wins: bool):
    shop = ring(way, tmp_path / "ring") if wins else dataset  # the other one has no order
    weight = 1.0 if wins else 0.05
    given = {
        "training.temperature": 0.2,
        "training.calibrate": False,
        "training.max_epochs": 10,
        "model.sequence.weight": weight,
        "model.transitions.weight": 0.0,
        "seed": 0 if wins else 5,
    }
    asked = {**given, "model.sequence.optional": True}
    metrics = way.train(shop, tmp_path / "open", way.config("recmind", "default", **asked))
    assert [one["sequence"] for one in metrics["tried"]] == [True, False]
    with_it, without = metrics["tried"]
    assert without["noise"] > 0
    assert (with_it["value"] > without["value"] + without["noise"]) == wins, "choose another seed"
    settled = {**given, "model.sequence.weight": weight if wins else 0.0, "model.sequence.optional": False}
    alone = way.train(shop, tmp_path / "settled", way.config("recmind", "default", **settled))
    assert "tried" not in alone and alone["test"] == metrics["test"]
    for name in ("model.safetensors", "per_user_test.parquet"):
        assert (tmp_path / "open" / name).read_bytes() == (tmp_path / "settled" / name).read_bytes()
    found, expected = (Recommender.load(tmp_path / name).recommend(k=5) for name in ("open", "settled"))
    assert found.equals(expected)
    assert Recommender.load(tmp_path / "open").config == Recommender.load(tmp_path / "settled").config


@pytest.mark.parametrize("tried", [3, 4])
def test_killed_after_some_of_them_it_goes_on_and_ends_with_the_same_bytes(
    way, call, dataset: Path, undisturbed: Path, tmp_path: Path, tried: int
):
    killed = tmp_path / "killed"
    process = way.recmind(*command(way, dataset, killed))
    deadline = time.monotonic() + 200

    def so_far() -> list[dict]:
        noted = killed / "tried.json"
        return json.loads(noted.read_text()) if noted.exists() else []

    while process.poll() is None and time.monotonic() < deadline:
        if len(so_far()) >= tried and (tried == 4 or (killed / "checkpoint.safetensors").exists()):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    noted = so_far()
    assert not (killed / "metrics.json").exists(), "it was killed too late"
    call(*command(way, dataset, killed), "--resume")
    metrics = json.loads((killed / "metrics.json").read_text())
    assert metrics["tried"][: len(noted)] == noted  # their seconds too: they were not tried again
    assert (killed / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    assert way.comparable(killed) == way.comparable(undisturbed)
