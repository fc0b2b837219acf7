from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from recmind.config import Config, ModelName, load_config, recipe_names, recipe_text
from recmind.errors import ConfigError

MODELS = get_args(ModelName)


def write_recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", recipe_names())
def test_every_shipped_recipe_loads_for_every_model(recipe: str, model: str):
    config = load_config(recipe, model=model)
    assert config.model.name == model
    assert config.recipe == recipe


def test_paper_and_default_are_shipped():
    assert {"paper", "default"} <= set(recipe_names())


@pytest.mark.parametrize("recipe", recipe_names())
def test_settings_survive_a_round_trip(recipe: str):
    config = load_config(recipe)
    assert Config.model_validate(config.model_dump(mode="json")) == config


class TestPrecedence:
    RECIPE = """
    seed = 1
    [model]
    dim = 8
    layers = 1
    [overrides.lightgcn]
    seed = 2
    model.dim = 16
    """

    def test_recipe_over_default(self, tmp_path: Path):
        config = load_config(write_recipe(tmp_path, self.RECIPE), model="recmind")
        assert (config.seed, config.model.dim, config.model.layers) == (1, 8, 1)
        assert config.training == Config().training

    def test_table_of_the_model_over_recipe(self, tmp_path: Path):
        config = load_config(write_recipe(tmp_path, self.RECIPE), model="lightgcn")
        assert (config.seed, config.model.dim, config.model.layers) == (2, 16, 1)

    def test_overrides_over_everything(self, tmp_path: Path):
        path = write_recipe(tmp_path, self.RECIPE)
        config = load_config(path, model="lightgcn", overrides=["model.dim=32", "seed=3"])
        assert (config.seed, config.model.dim, config.model.layers) == (3, 32, 1)

    def test_model_chosen_by_override_gets_its_table(self, tmp_path: Path):
        config = load_config(write_recipe(tmp_path, self.RECIPE), overrides=["model.name=lightgcn"])
        assert (config.model.name, config.model.dim) == ("lightgcn", 16)

    def test_model_named_in_the_recipe(self, tmp_path: Path):
        assert load_config(write_recipe(tmp_path, 'model.name = "text"')).model.name == "text"

    def test_recipe_is_named_after_its_file(self, tmp_path: Path):
        assert load_config(write_recipe(tmp_path, "")).recipe == "mine"


class TestOverrides:
    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ("model.layers=3", lambda c: c.model.layers == 3),
            ("training.learning_rate=1e-4", lambda c: c.training.learning_rate == 1e-4),
            ("model.score=cosine", lambda c: c.model.score == "cosine"),
            ('model.score="cosine"', lambda c: c.model.score == "cosine"),
            ("evaluation.cutoffs=[5, 10]", lambda c: c.evaluation.cutoffs == (5, 10)),
            ("text.field_tokens={title=9}", lambda c: c.text.field_tokens["title"] == 9),
            ("language.encoder=a/b=c", lambda c: c.language.encoder == "a/b=c"),
            ("  model.layers = 3  ", lambda c: c.model.layers == 3),
            ("text.item_instruction=", lambda c: c.text.item_instruction == ""),
        ],
    )
    def test_values_are_read_as_toml_else_as_text(self, text: str, read: Any):
        assert read(load_config(overrides=[text]))

    def test_mapping(self):
        assert load_config(overrides={"model.layers": 3}).model.layers == 3

    @pytest.mark.parametrize("text", ["model.layers", "=3", "   "])
    def test_without_key_or_value(self, text: str):
        with pytest.raises(ConfigError, match="key=value") as caught:
            load_config(overrides=[text])
        assert repr(text) in str(caught.value)

    def test_below_a_plain_value(self):
        with pytest.raises(ConfigError, match="below a plain value"):
            load_config(overrides=["model.dim=3", "model.dim.x=4"])


class TestRecipeFiles:
    def test_unknown_name_lists_the_known_ones(self):
        with pytest.raises(ConfigError) as caught:
            load_config("papre")
        assert "'papre'" in str(caught.value)
        assert "paper" in str(caught.value).partition("accepted:")[2]

    def test_missing_file(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"none\.toml: there is no such recipe file"):
            load_config(tmp_path / "none.toml")

    def test_broken_toml_says_file_and_line(self, tmp_path: Path):
        path = write_recipe(tmp_path, "seed = 1\nmodel = = 3\n")
        with pytest.raises(ConfigError, match=r"mine\.toml: .*line 2"):
            load_config(path)

    def test_not_text(self, tmp_path: Path):
        path = tmp_path / "mine.toml"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match="not UTF-8"):
            load_config(path)

    def test_overrides_of_an_unknown_model(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"\[overrides.lightgnc\]: there is no such model") as caught:
            load_config(write_recipe(tmp_path, "[overrides.lightgnc]\nseed = 1"))
        assert "lightgcn" in str(caught.value)

    @pytest.mark.parametrize("text", ['model = "lightgcn"', "overrides = 3", "[overrides]\nlightgcn = 3"])
    def test_value_where_a_table_belongs(self, tmp_path: Path, text: str):
        with pytest.raises(ConfigError, match="must be a table"):
            load_config(write_recipe(tmp_path, text))

    @pytest.mark.parametrize("recipe", recipe_names())
    def test_text_of_a_shipped_recipe_works_as_a_file_of_ones_own(self, tmp_path: Path, recipe: str):
        mine = load_config(write_recipe(tmp_path, recipe_text(recipe)))
        assert mine.model_copy(update={"recipe": recipe}) == load_config(recipe)
