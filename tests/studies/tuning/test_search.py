"""The search alone, on a function in place of trainings: what is proposed after an interruption, and what decides."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from recmind.errors import RunError
from recmind.studies.tuning.search import Search
from recmind.studies.tuning.space import Space, load_space

pytest.importorskip("optuna", reason="optuna is not installed (extra 'studies')")

SPACE = """
    "training.loss" = { choices = ["bpr", "softmax"] }
    "training.temperature" = { low = 0.05, high = 0.5, log = true, when = { "training.loss" = "softmax" } }
    "training.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
    "model.layers" = { low = 1, high = 4 }
    "model.baselines.dropoutnet.hidden" = { choices = [[8], [4, 2]] }
"""
FIRST = {
    "training.loss": "bpr",
    "training.temperature": 1.0,
    "training.learning_rate": 0.003,
    "model.layers": 3,
    "model.baselines.dropoutnet.hidden": [4, 2],
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(SPACE, encoding="utf-8")
    return load_space("dropoutnet", path)


def searched(space: Space, folder: Path, seed: int = 0) -> Search:
    return Search(space, folder / "search.db", seed=seed, first=FIRST)


def value_of(settings: dict[str, Any]) -> float | None:
    """Fails for some settings, as a training may; the learning rate decides."""
    if settings["training.learning_rate"] > 0.05:
        return None
    return 0.01 * settings["model.layers"] - abs(math.log10(settings["training.learning_rate"] / 0.005))


def run(search: Search, until: int) -> None:
    while (number := len(search.ended())) < until:
        trial, settings = search.ask(number)
        search.tell(trial, value_of(settings), {"error": "too fast"})


def settings_of(search: Search) -> list[dict[str, Any]]:
    return [one.settings for one in search.ended()]


def test_the_first_trial_is_the_recipe(space: Space, tmp_path: Path):
    search = searched(space, tmp_path)
    _, settings = search.ask(0)
    # Of BPR there is no temperature.
    assert settings == {key: value for key, value in FIRST.items() if key != "training.temperature"}


def test_then_come_the_starts_of_the_space(tmp_path: Path):
    path = tmp_path / "space.toml"
    path.write_text(
        SPACE + '\n[[start]]\n"training.loss" = "softmax"\n"training.temperature" = 0.2\n'
        '[[start]]\n"model.baselines.dropoutnet.hidden" = [8]\n',
        encoding="utf-8",
    )
    space = load_space("dropoutnet", path)
    search = searched(space, tmp_path)
    run(search, 1)
    search.ask(1)  # killed: it is proposed again
    search = searched(space, tmp_path)
    run(search, 4)
    own = {key: value for key, value in FIRST.items() if key != "training.temperature"}
    assert settings_of(search)[:3] == [
        own,
        {**own, "training.loss": "softmax", "training.temperature": 0.2},
        {**own, "model.baselines.dropoutnet.hidden": [8]},
    ]
    assert settings_of(search)[3]["training.learning_rate"] != own["training.learning_rate"]


def test_a_seed_gives_the_same_trials_and_another_one_others(space: Space, tmp_path: Path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        search = searched(space, tmp_path / name, seed)
        run(search, 13)
        found.append(settings_of(search))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert len({str(settings) for settings in found[0]}) > 10


@pytest.mark.parametrize("stopped", [0, 1, 11])
def test_interrupted_trials_are_proposed_again(space: Space, tmp_path: Path, stopped: int):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = searched(space, tmp_path / "whole")
    run(whole, 13)
    parts = searched(space, tmp_path / "parts")
    run(parts, stopped)
    for _ in range(2):
        # Asked, and then the process is gone.
        _, lost = parts.ask(stopped)
        parts = searched(space, tmp_path / "parts")
        assert len(parts.ended()) == stopped
    assert lost == settings_of(whole)[stopped]
    run(parts, 13)
    assert settings_of(parts) == settings_of(whole)
    assert [one.value for one in parts.ended()] == [one.value for one in whole.ended()]


@pytest.mark.parametrize("value", [0.5, None])
def test_a_trial_whose_end_was_interrupted_counts(space: Space, tmp_path: Path, value: float | None):
    search = searched(space, tmp_path)
    trial, settings = search.ask(0)
    trial.set_user_attr("found", {"value": value})
    again = searched(space, tmp_path)
    assert [(one.settings, one.value) for one in again.ended()] == [(settings, value)]
    assert [trial.state.is_finished() for trial in again.study.trials] == [True]


def test_numbers_stay_inside_their_range(space: Space, tmp_path: Path):
    search = searched(space, tmp_path)
    run(search, 14)
    for settings in settings_of(search)[1:]:
        assert isinstance(settings["model.layers"], int)
        assert 1 <= settings["model.layers"] <= 4
        assert settings["model.baselines.dropoutnet.hidden"] in ([8], [4, 2])
        assert ("training.temperature" in settings) == (settings["training.loss"] == "softmax")


def test_what_decides_is_found(space: Space, tmp_path: Path):
    search = searched(space, tmp_path)
    assert search.importances() == {}
    run(search, 40)
    shares = search.importances()
    assert next(iter(shares)) == "training.learning_rate"
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_damaged_database_is_named(space: Space, tmp_path: Path):
    (tmp_path / "search.db").write_text("no database")
    with pytest.raises(RunError, match=r"search\.db: the search's database cannot be read"):
        searched(space, tmp_path)
