"""Runs whose temperature is chosen by pilots."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

LIST = {"training.temperature": [0.05, 5.0, 0.5], "training.pilot_epochs": 2, "training.max_epochs": 4}


def test_the_run_is_that_of_the_temperature_which_was_best_for_so_long(way, dataset: Path, tmp_path: Path):
    metrics = way.train(dataset, tmp_path / "list", way.config(**LIST))
    alone = {}
    for temperature in LIST["training.temperature"]:
        short = {**LIST, "training.temperature": temperature, "training.max_epochs": 2}
        alone[temperature] = way.train(dataset, tmp_path / f"short-{temperature}", way.config(**short))
    assert [pilot["temperature"] for pilot in metrics["pilots"]] == LIST["training.temperature"]
    for pilot in metrics["pilots"]:
        assert pilot["value"] == pytest.approx(alone[pilot["temperature"]]["valid"]["ndcg@20"])
    best = max(metrics["pilots"], key=lambda pilot: pilot["value"])["temperature"]
    number = way.train(dataset, tmp_path / "number", way.config(**{**LIST, "training.temperature": best}))
    assert "pilots" not in number
    for name in ("model.safetensors", "per_user_test.parquet"):
        assert (tmp_path / "list" / name).read_bytes() == (tmp_path / "number" / name).read_bytes()
    assert not (tmp_path / "list" / "pilots.json").exists()


def test_without_a_validation_part_the_first_temperature_counts(way, tmp_path: Path):
    interactions, items = way.tables()
    dataset = way.write(tmp_path / "single", interactions.group_by("user_id", maintain_order=True).head(1), items)
    metrics = way.train(dataset, tmp_path / "list", way.config(**LIST))
    assert not metrics["valid"] and "pilots" not in metrics
    way.train(dataset, tmp_path / "number", way.config(**{**LIST, "training.temperature": 0.05}))
    assert (tmp_path / "list/model.safetensors").read_bytes() == (tmp_path / "number/model.safetensors").read_bytes()


def test_killed_between_two_pilots_it_goes_on_with_the_next(way, dataset: Path, tmp_path: Path):
    overrides = {**way.FAST, **LIST, "training.pilot_epochs": 40, "training.max_epochs": 40, "training.patience": 100}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    command = ["--recipe", "default", "--quiet", *way.flags(overrides)]
    assert way.recmind("train", dataset, "--out", undisturbed, *command).wait(timeout=250) == 0
    process = way.recmind("train", dataset, "--out", killed, *command)
    deadline = time.monotonic() + 200
    while not (killed / "pilots.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    noted = json.loads((killed / "pilots.json").read_text())
    assert noted and not (killed / "metrics.json").exists()
    resumed = way.recmind("train", dataset, "--out", killed, *command, "--resume")
    _, stderr = resumed.communicate(timeout=250)
    assert resumed.returncode == 0, stderr
    metrics = json.loads((killed / "metrics.json").read_text())
    assert metrics["pilots"][: len(noted)] == noted  # their seconds too: they were not flown again
    assert (killed / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
