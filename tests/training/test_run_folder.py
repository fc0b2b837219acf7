"""What a run folder says was chosen in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from recmind.config import Config, load_config
from recmind.training.run_folder import RunFolder


def config(**changes: Any) -> Config:
    given = {"training.temperature": [0.2, 0.1], "model.sequence.optional": True}
    return load_config("default", model="recmind", overrides=given | changes)


@pytest.fixture
def finished(tmp_path: Path):
    """A run folder with these metrics."""

    def make(**metrics: Any) -> RunFolder:
        settings = config().model_dump(mode="json", exclude_none=True)
        (tmp_path / "config.toml").write_text(tomli_w.dumps(settings))
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        return RunFolder(tmp_path)

    return make


def row(temperature: float, value: float, **more: bool) -> dict[str, Any]:
    return {"temperature": temperature, **more, "best_epoch": 4, "value": value, "seconds": 1.0}


SETTLED = {"model.sequence.optional": False}
WITH = [row(0.2, 0.5, sequence=True), row(0.1, 0.6, sequence=True)]


@pytest.mark.parametrize(
    ("tried", "chosen"),
    [
        ([*WITH, row(0.1, 0.7, sequence=False)], {"training.temperature": 0.1, "model.sequence.weight": 0.0}),
        ([*WITH, row(0.1, 0.6, sequence=False)], {"training.temperature": 0.1}),
        ([row(0.2, 0.5, sequence=True), row(0.1, 0.5, sequence=True)], {"training.temperature": 0.2}),
    ],
)
def test_settings_of_the_best_candidate_of_equals_the_first(finished, tried: list, chosen: dict[str, Any]):
    assert finished(tried=tried).trained_config() == config(**chosen, **SETTLED)


def test_runs_from_before_order_was_asked_about(finished):
    run = finished(temperatures=[row(0.2, 0.5), row(0.1, 0.6)])
    assert run.trained_config() == config(**{"training.temperature": 0.1}, **SETTLED)


@pytest.mark.parametrize("metrics", [{}, {"tried": None, "calibrated": None}])
def test_where_nothing_was_chosen(finished, metrics: dict[str, Any]):
    run = finished(**metrics)
    assert run.trained_config() == run.config() == config()
    assert run.popularity_factor() == 1.0


def test_what_calibration_left_of_the_popularity_term(finished):
    assert finished(calibrated={"popularity_factor": 0.7}).popularity_factor() == 0.7
