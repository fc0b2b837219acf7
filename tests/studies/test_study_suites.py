"""The tables of variants, and the curves that reports show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.registry import model_names
from recmind.studies.curves import curve, mean_by_epoch, spread_by_epoch
from recmind.studies.plan import plan
from recmind.studies.suites import ORIGINAL, SUITES, Suite, suite_named
from recmind.studies.suites.ablation import SWEEPS


@pytest.mark.parametrize("name", SUITES)
class TestSuite:
    def test_settings_are_known_and_every_run_is_another_one(self, name: str, tmp_path: Path):
        jobs = plan(SUITES[name], tmp_path / "data", tmp_path / "out", seeds=[0, 1])
        here = [variant for variant in SUITES[name].variants if variant.tuned != "alone"]
        assert len({job.row_file for job in jobs}) == len(jobs) == sum(2 if v.by_chance else 1 for v in here)
        made = {}
        for job in jobs:
            assert job.config.seed == job.seed
            assert job.config.model.name == job.variant.model
            what = (job.config, job.variant.texts, job.variant.refreshed)
            assert made.setdefault(job.run, what) == what
        assert all(what != other for run, what in made.items() for o, other in made.items() if run != o)

    def test_what_is_compared_and_refreshed_is_in_the_suite(self, name: str):
        suite = SUITES[name]
        labels = [variant.label for variant in suite.variants]
        assert not suite.ours or suite.ours in labels
        folders = {variant.folder: variant for variant in suite.variants if not variant.refreshed}
        for variant in suite.variants:
            assert not variant.against or variant.against in labels
            if variant.refreshed is not None:
                start = folders[variant.start]
                assert (start.overrides, start.recipe, start.texts) == (
                    variant.overrides,
                    variant.recipe,
                    variant.texts,
                )
                assert variant.refreshed != variant.texts

    def test_what_it_says_that_it_varies_does_vary(self, name: str):
        for key in SUITES[name].varies:
            values = {json.dumps(variant.overrides.get(key)) for variant in SUITES[name].variants}
            assert len(values) > 1

    def test_is_in_the_commands_help(self, name: str):
        from recmind.cli.study import study

        assert f"`{name}`" in (study.__doc__ or "")
        assert isinstance(suite_named(name), Suite)


def test_scale_of_the_adapters_is_the_same_at_every_rank(tmp_path: Path):
    jobs = plan(SUITES["rank"], tmp_path, tmp_path)
    adapters = [job.config.language.adapters for job in jobs]
    assert [a.rank for a in adapters] == [0, 4, 8, 16]
    assert {a.alpha / a.rank for a in adapters if a.rank} == {2.0}


def test_settings_for_every_run_win_over_the_suite(tmp_path: Path):
    jobs = plan(SUITES["warmup"], tmp_path, tmp_path, settings=["training.patience=3"])
    assert {job.config.training.patience for job in jobs} == {3}
    assert jobs[0].command().count("training.patience") == 1


def test_every_ablation_can_be_given_one_temperature(tmp_path: Path):
    jobs = plan(SUITES["ablation"], tmp_path, tmp_path, settings=["training.temperature=0.3"])
    assert {job.config.training.temperatures for job in jobs} == {(0.3,)}


def test_an_instruction_keeps_its_blank_at_the_end(tmp_path: Path):
    job = plan(SUITES["adapters"], tmp_path, tmp_path, variants=["LoRA, instruction"])[0]
    assert job.config.text.item_instruction.endswith(": ")
    assert job.variant.texts == ORIGINAL


class TestBaselines:
    def test_every_model_takes_part(self):
        assert {variant.model for variant in SUITES["baselines"].variants} == set(model_names())

    def test_models_without_chance_are_run_with_one_seed(self, tmp_path: Path):
        jobs = plan(SUITES["baselines"], tmp_path, tmp_path, seeds=[3, 4], variants=["EASE", "LightGCN"])
        assert [(job.variant.model, job.seed) for job in jobs] == [("ease", 3), ("lightgcn", 3), ("lightgcn", 4)]

    @pytest.mark.parametrize("place", ["lightgcn.toml", "lightgcn/lightgcn.toml"])
    def test_tuned_recipes_take_the_place_of_shipped_ones(self, tmp_path: Path, place: str):
        recipe = tmp_path / "tuned" / place
        recipe.parent.mkdir(parents=True)
        recipe.write_text('recipe = "lightgcn-tuned"\n[model]\nname = "lightgcn"\nlayers = 4\n')
        chosen = {"variants": ["LightGCN", "EASE", "RecMind default"], "recipes": tmp_path / "tuned"}
        ours, ease, tuned = plan(SUITES["baselines"], tmp_path, tmp_path, **chosen)
        assert tuned.config.model.layers == 4
        assert tuned.config.recipe == "lightgcn-tuned"
        assert f"--recipe {recipe}" in tuned.command()
        assert (ours.tuned, ease.tuned, tuned.tuned) == (False, False, True)

    def test_ours_stays_as_it_is_shipped_and_the_tuned_one_stands_beside_it(self, tmp_path: Path):
        (tmp_path / "recmind.toml").write_text('[model]\nname = "recmind"\nalpha = 0.25\n')
        jobs = plan(SUITES["baselines"], tmp_path, tmp_path, recipes=tmp_path)
        alphas = {job.variant.label: job.config.model.alpha for job in jobs if job.config.model.name == "recmind"}
        assert alphas == {"RecMind default": 0.5, "RecMind paper": 0.5, "RecMind tuned": 0.25}

    @pytest.mark.parametrize(
        ("suite", "text", "message"),
        [
            ("baselines", None, "there is no recipe to take"),
            ("baselines", '[model]\nname = "ease"\n', "the recipe is for another model"),
            ("rank", '[model]\nname = "lightgcn"\n', "no variant that is tuned"),
        ],
    )
    def test_wrong_recipes(self, tmp_path: Path, suite: str, text: str | None, message: str):
        if text is not None:
            (tmp_path / "lightgcn.toml").write_text(text)
        with pytest.raises(ConfigError) as raised:
            plan(SUITES[suite], tmp_path, tmp_path, recipes=tmp_path)
        assert message in str(raised.value)

    def test_recipes_that_are_not_there(self, tmp_path: Path):
        with pytest.raises(ConfigError, match="--recipes: there is no such folder"):
            plan(SUITES["baselines"], tmp_path, tmp_path, recipes=tmp_path / "none")
        with pytest.raises(ConfigError, match="nothing to run without a tuned recipe"):
            plan(SUITES["baselines"], tmp_path, tmp_path, variants=["RecMind tuned"])


class TestAblation:
    def test_a_sweep_leaves_out_what_the_recipe_has_and_nothing_else(self, tmp_path: Path):
        jobs = plan(SUITES["ablation"], tmp_path, tmp_path)
        for recipe in ("default", "paper"):
            own = load_config(recipe).model_dump()
            for key, values in SWEEPS.items():
                section, name = key.split(".")
                swept = [job for job in jobs if job.variant.recipe == recipe and job.variant.facts.get("swept") == key]
                assert own[section][name] in values
                assert [job.variant.facts["at"] for job in swept] == [v for v in values if v != own[section][name]]

    def test_every_switch_changes_the_recipe(self, tmp_path: Path):
        jobs = plan(SUITES["ablation"], tmp_path, tmp_path)
        plain = {job.variant.label: job.config for job in jobs if not job.variant.overrides}
        assert plain.keys() == {"default", "paper"}
        for job in jobs:
            if job.variant.overrides:
                assert job.config != plain[job.variant.recipe]
                assert job.variant.against == job.variant.recipe


def test_the_suite_seeds_has_five_of_its_own(tmp_path: Path):
    assert {job.seed for job in plan(SUITES["seeds"], tmp_path, tmp_path)} == {0, 1, 2, 3, 4}
    assert {job.seed for job in plan(SUITES["seeds"], tmp_path, tmp_path, seeds=[7])} == {7}


class TestCurves:
    def test_of_a_run_are_its_validations_in_the_joint_phase(self, tmp_path: Path):
        rows = [
            {"phase": "warmup", "epoch": 1, "loss": 1.0},
            {"phase": "joint", "epoch": 1, "loss": 1.0},
            {"phase": "joint", "epoch": 2, "loss": 1.0, "valid_ndcg@10": 0.25},
            {"phase": "language", "epoch": 2, "steps": 5},
        ]
        (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert curve(tmp_path, "ndcg@10") == {2: 0.25}
        assert curve(tmp_path, "ndcg@20") == {}

    def test_are_compared_where_every_seed_has_a_value(self):
        found = [{2: 0.1, 4: 0.2, 6: 0.5}, {2: 0.3, 4: 0.2}, {2: 0.2, 4: 0.2}]
        assert mean_by_epoch(found) == pytest.approx({2: 0.2, 4: 0.2})
        assert spread_by_epoch(found) == pytest.approx({2: ((0.1**2 + 0.1**2 + 0) / 2) ** 0.5, 4: 0.0})

    def test_one_curve_has_no_spread(self):
        assert spread_by_epoch([{2: 0.1}]) == {}
        assert spread_by_epoch([]) == mean_by_epoch([]) == {}
