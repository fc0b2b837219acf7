"""The comparison with other people's implementations: what can be checked without them."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.config import SplitConfig, load_config
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.evaluation.evaluate import evaluate

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (BENCHMARKS, BENCHMARKS / "quality"):
        monkeypatch.syspath_prepend(str(folder))


def test_every_peer_is_of_a_model_whose_settings_are_known():
    from independent import OURS, PEERS

    assert {peer.model for peer in PEERS} == set(OURS)
    for model, settings in OURS.items():
        assert load_config("default", model=model, overrides=settings).model.name == model


def test_given_scores_are_ranked_and_what_a_peer_never_saw_comes_last(tmp_path: Path):
    from independent import Given, _write_split

    rows = [("a", "x", 0), ("a", "y", 1), ("a", "z", 2), ("b", "y", 0), ("b", "w", 1), ("b", "x", 2)]
    dataset = Dataset.from_frames(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    split = split_dataset(dataset, SplitConfig())
    _write_split(split, tmp_path / "split.npz")
    with np.load(tmp_path / "split.npz") as arrays:
        assert [len(arrays[f"{part}_users"]) for part in ("train", "valid", "test")] == [2, 2, 2]
        assert (arrays["n_users"], arrays["n_items"]) == (2, 4)
    scores = np.full((2, 4), -np.inf, dtype=np.float32)
    found = evaluate(Given(scores), split, "test", load_config("default").evaluation, show_progress=False)
    # Two candidates are left for each user, and they tie.
    assert found.metrics["mrr@10"] == pytest.approx(0.75)
    scores[split.test.users, split.test.items] = 1.0
    found = evaluate(Given(scores), split, "test", load_config("default").evaluation, show_progress=False)
    assert found.metrics["mrr@10"] == 1.0
