"""Search spaces: the shipped ones suit their models, wrong ones are refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recmind.config import load_config, setting_names
from recmind.errors import ConfigError
from recmind.model.registry import model_names
from recmind.studies.tuning.space import PROTOCOL, Range, load_space, space_names


def written(folder: Path, text: str) -> Path:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return path


def ends(one: Range, last: bool) -> Any:
    """The first or the last value that can be drawn."""
    if one.choices is not None:
        return one.choices[-1 if last else 0]
    return one.high if last else one.low


def at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


SHIPPED = [*(("default", model) for model in model_names()), ("paper", "recmind")]


def test_every_model_has_a_space_and_every_space_a_model():
    assert space_names() == sorted(model_names())


def test_a_recipe_with_a_space_of_its_own_keeps_its_method():
    """The paper's equations are in all trials; what is searched are numbers that it leaves open."""
    own, other = load_space("recmind", recipe="paper"), load_space("recmind")
    assert {"model.initial", "model.projection", "model.sequence.weight"} <= set(other.ranges)
    assert not any("sequence" in key or "text" in key for key in own.ranges)
    method = {"model.initial", "model.projection", "model.score", "model.gate.kind", "training.loss"}
    assert not method & set(own.ranges)


def test_a_file_of_a_recipe_has_the_space_of_the_model(tmp_path: Path):
    recipe = tmp_path / "paper.toml"
    recipe.write_text('recipe = "paper"\n', encoding="utf-8")
    assert load_space("recmind", recipe=str(recipe)).ranges == load_space("recmind").ranges
    assert load_space("ease", recipe="paper").ranges == load_space("ease").ranges


@pytest.mark.parametrize(("recipe", "model"), SHIPPED)
class TestShipped:
    def test_keys_are_settings_that_no_trial_has_in_common(self, recipe: str, model: str):
        space = load_space(model, recipe=recipe)
        assert set(space.ranges) <= set(setting_names())
        assert not set(space.ranges) & {"seed", "model.name", "model.dim", *PROTOCOL}

    def test_holds_the_settings_of_the_recipe(self, recipe: str, model: str):
        """So the first trial of every model is the recipe itself, and tuning cannot end below it on validation."""
        config = load_config(recipe, model=model).model_dump(mode="json")
        space = load_space(model, recipe=recipe)
        own = space.settings(lambda key, one: at(config, key))
        outside = {key: value for key, value in own.items() if value != at(config, key)}
        outside |= {
            key: value
            for key, value in own.items()
            if space.ranges[key].searched and not space.ranges[key].holds(value)
        }
        # What stands there otherwise is no value of the range.
        conditional = {key for key, one in space.ranges.items() if one.when and own.get(key) == one.otherwise}
        assert outside.keys() <= conditional

    def test_its_starts_are_accepted(self, recipe: str, model: str):
        for start in load_space(model, recipe=recipe).starts:
            load_config(recipe, model=model, overrides=start)

    @pytest.mark.parametrize("last", [False, True])
    def test_its_corners_are_accepted(self, recipe: str, model: str, last: bool):
        settings = load_space(model, recipe=recipe).settings(lambda key, one: ends(one, last))
        config = load_config(recipe, model=model, overrides=settings).model_dump(mode="json")
        assert {key: at(config, key) for key in settings} == settings


class TestConditions:
    SPACE = """
        "training.loss" = { choices = ["bpr", "softmax"] }
        "training.temperature" = { low = 0.1, high = 0.5, when = { "training.loss" = "softmax" }, otherwise = 1.0 }
        "training.n_negatives" = { value = 512, when = { "training.loss" = "softmax" } }
    """

    def settings(self, folder: Path, loss: str) -> dict[str, Any]:
        values = {"training.loss": loss, "training.temperature": 0.2}
        return load_space("lightgcn", written(folder, self.SPACE)).settings(lambda key, one: values[key])

    def test_that_hold_let_the_setting_be_drawn(self, tmp_path: Path):
        expected = {"training.loss": "softmax", "training.temperature": 0.2, "training.n_negatives": 512}
        assert self.settings(tmp_path, "softmax") == expected

    def test_that_fail_leave_what_stands_otherwise_or_the_recipe(self, tmp_path: Path):
        assert self.settings(tmp_path, "bpr") == {"training.loss": "bpr", "training.temperature": 1.0}


def test_tables_may_be_nested(tmp_path: Path):
    nested = load_space("lightgcn", written(tmp_path, "[model]\nlayers = { low = 1, high = 3 }\n"))
    assert nested.ranges["model.layers"].whole


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('"model.layer" = { low = 1, high = 3 }', ["model.layer: unknown setting; did you mean 'model.layers'?"]),
        ('"seed" = { low = 1, high = 3 }', ["seed: all trials have this in common"]),
        ('"training.patience" = { low = 1, high = 3 }', ["training.patience: all trials have this in common"]),
        ('"split.seed" = { low = 1, high = 3 }', ["split.seed: all trials have this in common"]),
        ('"model.layers" = { low = 3, high = 3 }', ["model.layers: low must be below high, got 3 and 3"]),
        ('"model.layers" = { low = 3 }', ["low must be below high, got 3 and None"]),
        ('"model.layers" = { low = 0, high = 3, log = true }', ["a logarithmic range begins above 0, got 0"]),
        ('"model.layers" = { low = 1, high = 30 }', ["model.layers: got 30, input should be less than or equal to 8"]),
        ('"model.layers" = { choices = [2] }', ["two different values at least; for one, give value"]),
        ('"model.layers" = { choices = [1, 2], low = 1 }', ["give either low and high, or choices, or value"]),
        ('"model.layers" = { low = 1, high = 3, steps = 2 }', ["model.layers: steps: no part of a range"]),
        ('"model.layers" = 3', ["model.layers: got 3, give a range such as { low = 1, high = 4 }"]),
        ('"model.layers" = { value = 3, otherwise = 2 }', ["otherwise belongs to when"]),
        ('"training.loss" = { choices = ["bpr", "hinge"] }', ["training.loss: got 'hinge'"]),
        (
            '"model.layers" = { low = 1, high = 3, when = { "training.loss" = "bpr" } }',
            ["model.layers: when names 'training.loss', which does not stand above it"],
        ),
        (
            '"model.layer" = { low = 1, high = 3 }\n"model.dims" = { low = 1, high = 3 }',
            ["2 wrong entries", "model.layer: unknown", "model.dims: unknown"],
        ),
        ("[start]\nlayers = 2", ["start: got {'layers': 2}, write [[start]]"]),
        (
            '"model.layers" = { low = 1, high = 3 }\n"model.dim" = { value = 8 }\n'
            '[[start]]\n"model.layers" = 2\n[[start]]\n"model.layers" = 4\n"model.dim" = 8',
            ["start 2: model.layers cannot be 4, which is outside its range", "start 2: model.dim is not searched"],
        ),
        ("not toml", ["the space is not valid TOML"]),
    ],
)
def test_wrong_ranges_are_all_named(tmp_path: Path, text: str, messages: list[str]):
    with pytest.raises(ConfigError) as raised:
        load_space("lightgcn", written(tmp_path, text))
    for message in messages:
        assert message in str(raised.value)
    assert "space.toml" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--space: the space cannot be read(.|\n)*none.toml"):
        load_space("lightgcn", tmp_path / "none.toml")
