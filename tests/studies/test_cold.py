"""Items without a training edge in runs of every kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.errors import RunError
from recmind.model.registry import model_names, places_new_items
from recmind.pipeline import train_run
from recmind.serving.recommender import Recommender
from recmind.studies.cold import AMONG, cold_start, placed

PLACING = [name for name in model_names() if places_new_items(name)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """20 users with 8 of 30 items each; item 29 has no text."""
    orders = [np.random.default_rng(user).permutation(30)[:8] for user in range(20)]
    rows = [(f"u{u:02}", f"i{i:02}", t) for u, order in enumerate(orders) for t, i in enumerate(order)]
    titles = [*(f"w{i} w{i + 30} w{i % 7}" for i in range(29)), None]
    items = pl.DataFrame({"item_id": [f"i{i:02}" for i in range(30)], "title": titles})
    return Dataset.from_frames(pl.DataFrame(rows, ["user_id", "item_id", "order"], orient="row"), items)


@pytest.fixture
def trained(dataset: Dataset, tiny_encoder: Path, tmp_path: Path):
    def train(model: str, **overrides: Any) -> Path:
        small = {
            "model.dim": 4,
            "model.sequence.optional": False,
            "training.max_epochs": 2,
            "training.n_negatives": 4,
            "training.cold_negatives": False,
            "evaluation.bootstrap": 0,
            "threads": 1,
            "split.kind": "cold-and-warm",
            "split.test_fraction": 0.2,
            "language.encoder": str(tiny_encoder),
            "language.device": "cpu",
            "language.dtype": "float32",
        }
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        config = load_config("default", model=model, overrides=small | changes)
        train_run(dataset, config, tmp_path / "run", show_progress=False)
        return tmp_path / "run"

    return train


@pytest.mark.parametrize("model", [*PLACING, "content-knn", "item-knn-text", "lightgcn", "ease", "popularity"])
def test_every_model_is_measured_on_the_same_users(trained, model: str):
    metrics, users = cold_start(trained(model), bootstrap=0)
    assert set(metrics["among"]) == set(AMONG)
    assert metrics["value"].is_between(0, 1).all()
    test = {row["among"]: row for row in metrics.filter(part="test", metric="recall@10").to_dicts()}
    assert test["cold"]["n_items"] + test["warm"]["n_items"] == test["all"]["n_items"] == 30
    assert test["cold"]["n_targets"] + test["warm"]["n_targets"] == test["all"]["n_targets"]
    assert test["cold"]["n_users"] == test["cold in all"]["n_users"]
    for among in AMONG:
        mean = users.filter(part="test", among=among)["recall@10"].mean()
        assert mean == pytest.approx(test[among]["value"])
    # Targets are the same in both, and more items can only stand above them.
    assert test["cold in all"]["value"] <= test["cold"]["value"] + 1e-12


@pytest.mark.parametrize("model", PLACING)
def test_a_model_that_places_new_items_places_the_cold_ones_by_their_texts(trained, model: str):
    run = Recommender.load(trained(model))
    cold = run.split.item_degrees() == 0
    before, after = run.vectors.items, placed(run).items
    assert torch.equal(before[~torch.from_numpy(cold)], after[~torch.from_numpy(cold)])
    codes = torch.from_numpy(np.flatnonzero(cold))
    texts = run.trained.texts
    expected = run.trained.graph_model().new_items(texts.items[codes], texts.items_known[codes])
    assert torch.equal(after[codes], expected.detach())


@pytest.mark.parametrize("model", ["lightgcn", "ease", "popularity"])
def test_one_that_cannot_has_chance_among_them_and_nothing_in_the_whole(trained, model: str):
    run = trained(model)
    metrics, _ = cold_start(run, bootstrap=0)
    split = Recommender.load(run).split
    cold = split.item_degrees() == 0
    known = np.bincount(split.valid.users[cold[split.valid.items]], minlength=split.n_users)
    users = np.unique(split.test.users[cold[split.test.items]])
    expected = np.minimum(1, 10 / (cold.sum() - known[users])).mean()
    found = {row["among"]: row["value"] for row in metrics.filter(part="test", metric="recall@10").to_dicts()}
    assert found["cold"] == pytest.approx(expected)
    assert found["cold in all"] == 0


def test_without_a_cold_target_it_is_refused(trained):
    with pytest.raises(RunError, match=r"no held-out interaction(.|\n)*--split cold-and-warm"):
        cold_start(trained("popularity", split__kind="leave-one-out"))
