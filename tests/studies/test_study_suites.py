"""The tables of variants, and the curves that reports show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recmind.studies.curves import curve, mean_by_epoch, spread_by_epoch
from recmind.studies.plan import plan
from recmind.studies.suites import ORIGINAL, SUITES, Suite, suite_named


@pytest.mark.parametrize("name", SUITES)
class TestSuite:
    def test_settings_are_known_and_every_run_is_another_one(self, name: str, tmp_path: Path):
        jobs = plan(SUITES[name], tmp_path / "data", tmp_path / "out", seeds=[0, 1])
        assert len({job.row_file for job in jobs}) == len(jobs) == 2 * len(SUITES[name].variants)
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


def test_an_instruction_keeps_its_blank_at_the_end(tmp_path: Path):
    job = plan(SUITES["adapters"], tmp_path, tmp_path, variants=["LoRA, instruction"])[0]
    assert job.config.text.item_instruction.endswith(": ")
    assert job.variant.texts == ORIGINAL


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
