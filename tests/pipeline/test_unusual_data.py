"""Small and odd datasets, and every split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recmind.errors import RunError
from recmind.pipeline import evaluate_run, recommend_run

WITH_TEXTS = ["llm-init", "rlmrec-con", "rlmrec-gen", "alpharec", "kar", "dropoutnet"]
"""Baselines that read texts."""


@pytest.fixture
def trained(way, tmp_path: Path):
    """Train on tables in the folders ``data`` and ``run``: metrics, and recommendations of all that was not bought."""

    def both(
        interactions: pl.DataFrame, items: pl.DataFrame | None, model: str, **changes: Any
    ) -> tuple[dict[str, Any], pl.DataFrame]:
        dataset = way.write(tmp_path / "data", interactions, items)
        recipe = "default" if model == "text" else "paper"
        metrics = way.train(dataset, tmp_path / "run", way.config(model, recipe, **changes))
        return metrics, recommend_run(tmp_path / "run", k=50, leave_out="train", show_progress=False)

    return both


class TestUnusualData:
    """Small and odd datasets are trained on or refused in words, never with a traceback from below."""

    @pytest.mark.parametrize("model", ["lightgcn", "recmind", "popularity", *WITH_TEXTS])
    def test_one_user_and_one_item(self, trained, model: str):
        one = pl.DataFrame({"user_id": ["u"], "item_id": ["i"]})
        metrics, frame = trained(one, pl.DataFrame({"item_id": ["i"], "title": ["red"]}), model)
        assert not metrics.get("test")
        assert frame.height == 0

    @pytest.mark.parametrize("model", ["lightgcn", "recmind"])
    def test_users_with_a_single_interaction(self, trained, model: str):
        rows = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["x", "y", "x"]})
        _, frame = trained(rows, pl.DataFrame({"item_id": ["x", "y"], "title": ["red", "blue"]}), model)
        assert frame.select("user_id", "item_id").rows() == [("a", "y"), ("b", "x"), ("c", "y")]

    @pytest.mark.parametrize("model", ["recmind", "text"])
    def test_many_more_items_than_interactions(self, way, trained, model: str):
        items = pl.DataFrame(
            {"item_id": [f"i{k:03}" for k in range(120)], "title": [way.WORDS[k % 15] for k in range(120)]}
        )
        rows = pl.DataFrame({"user_id": ["a"] * 4 + ["b"] * 3, "item_id": [f"i{k:03}" for k in (1, 2, 3, 4, 1, 2, 5)]})
        metrics, frame = trained(rows, items, model, training__loss="softmax", training__n_negatives=500)
        assert metrics["test"]
        assert frame.group_by("user_id").len()["len"].to_list() == [50, 50]
        assert frame["score"].is_finite().all()

    @pytest.mark.parametrize("model", ["lightgcn", "recmind", "text", *WITH_TEXTS])
    def test_no_item_table_and_no_clock(self, way, trained, model: str):
        rows = way.tables()[0].select("user_id", "item_id")
        metrics, frame = trained(rows, None, model)
        assert metrics["test"]
        assert frame["score"].is_finite().all()

    def test_users_known_only_from_their_table(self, way, tmp_path: Path):
        interactions, items = way.tables()
        dataset = way.write(tmp_path / "data", interactions, items)
        pl.DataFrame({"user_id": ["nobody", "u00"]}).write_parquet(dataset / "users.parquet")
        way.train(dataset, tmp_path / "run", way.config("recmind"))
        frame = recommend_run(tmp_path / "run", k=3, users=["nobody"], show_progress=False)
        assert frame.height == 3
        assert frame["score"].is_finite().all()

    @pytest.mark.parametrize("kind", ["valid-only", "temporal", "ratio", "cold-items", "cold-and-warm"])
    def test_every_split(self, way, trained, kind: str):
        shares = {"split__valid_fraction": 0.3, "split__test_fraction": 0.3}
        metrics, frame = trained(*way.tables(), "lightgcn", split__kind=kind, **shares)
        assert metrics["split"] == kind
        assert bool(metrics.get("test")) == (kind != "valid-only")
        assert frame.height > 0

    def test_nothing_to_evaluate_is_said(self, way, trained, tmp_path: Path):
        trained(*way.tables(), "lightgcn", split__kind="valid-only")
        with pytest.raises(RunError, match="has no test interactions"):
            evaluate_run(tmp_path / "run", "test", show_progress=False)
