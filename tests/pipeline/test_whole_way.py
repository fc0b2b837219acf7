"""Train, evaluate, recommend: metrics, independence of held-out rows, the same bits again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from recmind.pipeline import evaluate_run, recommend_run


class TestMetrics:
    def test_document(self, finished: Path):
        metrics = json.loads((finished / "metrics.json").read_text())
        fixed = {"dataset": "shop", "model": "lightgcn", "recipe": "paper", "seed": 0, "split": "leave-one-out"}
        assert {key: metrics[key] for key in fixed} == fixed
        assert metrics["best_epoch"] in (1, 2)
        assert set(metrics["test"]) >= {"recall@20", "recall@40", "ndcg@20", "ndcg@40"}
        assert "recall@20" in metrics["valid"]
        assert metrics["test"]["recall@40"] == 1, "15 items, so the first 40 hold every target"
        assert metrics["seconds"].keys() >= {"load", "train", "evaluate"}
        assert metrics["peak_memory_mb"] > 0

    def test_evaluating_again_gives_the_same_numbers(self, finished: Path, tmp_path: Path):
        run = Path(shutil.copytree(finished, tmp_path / "run"))
        before = json.loads((run / "metrics.json").read_text())
        for part in ("valid", "test"):
            assert evaluate_run(run, part, show_progress=False)[part] == before[part]


def swap_held_out(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The same training rows; other items, ratings and reviews in each user's last two rows."""
    rng = np.random.default_rng(77)
    rows: list[dict[str, Any]] = []
    for (_,), own in interactions.sort("timestamp").group_by("user_id", maintain_order=True):
        records = own.to_dicts()
        free = sorted(set(items["item_id"]) - set(own["item_id"]))
        for record, item in zip(records[-2:], rng.permutation(free)[:2], strict=True):
            record |= {"item_id": str(item), "rating": 6 - record["rating"], "review_text": "something else entirely"}
        rows += records
    return pl.DataFrame(rows)


@pytest.mark.parametrize("recipe", ["paper", "default"])
def test_no_held_out_row_reaches_the_model(way, tmp_path: Path, recipe: str):
    interactions, items = way.tables()
    changed = swap_held_out(interactions, items)
    assert changed.join(interactions, on=["user_id", "item_id"], how="anti").height == 2 * 20
    # One temperature, one epoch that is measured, the last, and no calibration: validation decides nothing.
    training = {
        "training__max_epochs": 3,
        "training__eval_every": 50,
        "training__calibrate": False,
        "training__temperature": 0.2,
    }
    settings = way.config("recmind", recipe, text__user_view="reviews", **training)
    models = []
    for name, rows in (("before", interactions), ("after", changed)):
        out = tmp_path / f"run-{name}"
        metrics = way.train(way.write(tmp_path / name, rows, items), out, settings)
        models.append((load_file(out / "model.safetensors"), metrics["test"]))
    (first, metrics), (second, others) = models
    assert first.keys() == second.keys()
    differ = {name for name, tensor in first.items() if not torch.equal(tensor, second[name])}
    # What lists in use are made by, when all is measured, has learnt them.
    assert differ and all(name.startswith("caught_up.") for name in differ)
    assert metrics != others, "the held-out rows are the same, so this shows nothing"


def test_a_run_stands_alone_and_gives_the_same_bits(way, tmp_path: Path):
    dataset = way.write(tmp_path / "shop", *way.tables())
    settings = way.config("recmind", "default")
    for name in ("first", "second"):
        way.train(dataset, tmp_path / name, settings)
    first, second = (way.content(tmp_path / name) for name in ("first", "second"))
    assert first["model.safetensors"] == second["model.safetensors"]
    assert way.comparable(tmp_path / "first") == way.comparable(tmp_path / "second")
    assert "encoder" in json.loads(first["environment.json"])
    shutil.rmtree(dataset)
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    arrivals = pl.DataFrame({"item_id": ["new1", "new2"], "title": ["red soft round", None]})
    frame = recommend_run(moved, tmp_path / "out.csv", k=100, new_items=arrivals, show_progress=False)
    assert {"new1", "new2"} <= set(frame["item_id"])
    assert frame.filter(user_id="u00").height == 17 - way.tables()[0].filter(user_id="u00").height
