from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind import Dataset, RecMind
from recmind.config import load_config
from recmind.errors import ConfigError, DataError, RunError

SETTINGS: dict[str, Any] = {
    "model__name": "lightgcn",
    "model__dim": 4,
    "training__max_epochs": 2,
    "training__batch_size": 32,
    "evaluation__bootstrap": 0,
    "threads": 1,
}


@pytest.fixture(scope="module")
def interactions() -> pl.DataFrame:
    rng = np.random.default_rng(2)
    rows = [(f"u{u}", f"i{i}", t) for u in range(9) for t, i in enumerate(rng.permutation(8)[:4])]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def model(interactions: pl.DataFrame) -> RecMind:
    return RecMind(**SETTINGS).fit(Dataset.from_frames(interactions), show_progress=False)


def test_recommend_gives_unseen_items_ranked(model: RecMind, interactions: pl.DataFrame):
    frame = model.recommend(["u3", "u0"], k=3)
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "rank": pl.Int32, "score": pl.Float32}
    assert frame["user_id"].to_list() == ["u3"] * 3 + ["u0"] * 3
    assert frame["rank"].to_list() == [1, 2, 3] * 2
    assert frame.join(interactions, on=["user_id", "item_id"], how="semi").height == 0


def test_metrics_are_there_after_fit(model: RecMind):
    assert model.metrics["model"] == "lightgcn"
    assert model.metrics["test"]["recall@10"] == 1, "eight items, so the first ten hold every target"


def test_saved_and_loaded_it_recommends_the_same(model: RecMind, tmp_path: Path):
    model.save(tmp_path / "deep" / "saved")
    loaded = RecMind.load(tmp_path / "deep" / "saved")
    assert loaded.recommend(k=5).equals(model.recommend(k=5))
    assert loaded.metrics == model.metrics
    assert loaded.config == model.config


def test_saving_into_a_full_folder_is_refused(model: RecMind, tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        model.save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_saving_over_a_file_is_refused(model: RecMind, tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match="mine"):
        model.save(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_saving_into_an_empty_folder(model: RecMind, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    model.save(tmp_path / "empty")
    assert RecMind.load(tmp_path / "empty").recommend(k=1).height == 9


def test_fitting_again_is_a_new_model(interactions: pl.DataFrame):
    model = RecMind(**SETTINGS)
    first = model.fit(Dataset.from_frames(interactions), show_progress=False).recommend(k=2)
    few = interactions.filter(pl.col("user_id").is_in(["u1", "u2"]))
    assert model.fit(Dataset.from_frames(few), show_progress=False).recommend(k=2).height == 4
    assert model.fit(Dataset.from_frames(interactions), show_progress=False).recommend(k=2).equals(first)


def test_a_pandas_table_gives_the_same(model: RecMind, interactions: pl.DataFrame):
    pandas = pytest.importorskip("pandas", reason="pandas is in the extra `test`")
    table = pandas.DataFrame(interactions.to_dict(as_series=False))
    other = RecMind(**SETTINGS).fit(Dataset.from_frames(table), show_progress=False)
    assert other.recommend(k=4).equals(model.recommend(k=4))


def test_a_dataset_folder_will_do(model: RecMind, interactions: pl.DataFrame, tmp_path: Path):
    Dataset.from_frames(interactions).save(tmp_path / "data")
    other = RecMind(**SETTINGS).fit(tmp_path / "data", out=tmp_path / "run", show_progress=False)
    assert other.recommend(k=4).equals(model.recommend(k=4))
    assert (tmp_path / "run" / "metrics.json").exists()


def test_settings_reach_the_config():
    model = RecMind(model__layers=4, training__learning_rate=0.5, seed=9)
    assert (model.config.model.layers, model.config.training.learning_rate, model.config.seed) == (4, 0.5, 9)
    assert RecMind().config == load_config()


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match=r"model\.layer: unknown setting; did you mean 'model\.layers'"):
        RecMind(model__layer=4)


def test_a_config_and_settings_at_once_are_refused():
    with pytest.raises(TypeError, match="either a config or single settings"):
        RecMind(load_config(), seed=1)


def test_before_fit_it_says_what_to_do(tmp_path: Path):
    with pytest.raises(RunError, match=r"not trained yet(.|\n)*fit"):
        RecMind().recommend()
    with pytest.raises(RunError, match=r"not trained yet(.|\n)*fit"):
        RecMind().save(tmp_path / "run")


def test_an_unknown_user_is_named(model: RecMind):
    with pytest.raises(DataError, match=r"1 of 2 users are not in the run(.|\n)*nobody"):
        model.recommend(["u1", "nobody"])
