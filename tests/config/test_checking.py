from __future__ import annotations

from pathlib import Path

import pytest

from recmind.config import load_config, validate_config
from recmind.errors import ConfigError


def test_all_at_once_with_key_value_and_bound():
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=["model.layers=99", "seed=-1", "training.loss=hinge", "alignment.wieght=1"])
    message = str(caught.value)
    assert "4 wrong settings" in message
    assert "model.layers: got 99, input should be less than or equal to 8" in message
    assert "seed: got -1" in message
    assert "training.loss: got 'hinge', input should be 'bpr' or 'softmax'" in message
    assert "alignment.wieght: unknown setting; did you mean 'alignment.weight'?" in message


def test_unknown_section_suggests_one():
    with pytest.raises(ConfigError, match="modle: unknown setting; did you mean 'model'"):
        load_config(overrides=["modle.layers=3"])


def test_nothing_is_suggested_for_gibberish():
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=["qqqqqq=3"])
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_numbers_must_be_finite(value: str):
    with pytest.raises(ConfigError, match=r"training\.learning_rate"):
        load_config(overrides=[f"training.learning_rate={value}"])


@pytest.mark.parametrize("metric", ["recall", "accuracy@20", "ndcg@0", "ndcg@", "ndcg@x", "@20"])
def test_metric_of_early_stopping(metric: str):
    with pytest.raises(ConfigError, match="recall@K, ndcg@K"):
        load_config(overrides={"training.metric": metric})


def test_cutoffs_must_not_be_empty():
    with pytest.raises(ConfigError, match=r"evaluation\.cutoffs"):
        load_config(overrides={"evaluation.cutoffs": []})


def test_where_names_the_recipe(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = -1", encoding="utf-8")
    with pytest.raises(ConfigError, match="recipe 'mine'"):
        load_config(path)


def test_validate_config_names_the_file():
    with pytest.raises(ConfigError, match=r"runs/a/config\.toml: 1 wrong setting"):
        validate_config({"seed": -1}, where="runs/a/config.toml")
