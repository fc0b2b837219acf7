"""What training does in a folder that holds a run already, or something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from recmind.errors import RunError


class TestSameFolderAgain:
    def test_a_finished_run_is_not_trained_again(self, way, dataset: Path, run: Path):
        marked = json.loads((run / "metrics.json").read_text()) | {"dataset": "marked"}
        (run / "metrics.json").write_text(json.dumps(marked))
        before = way.content(run)
        assert way.train(dataset, run, way.config())["dataset"] == "marked"
        assert way.train(dataset, run, way.config(), resume=True)["dataset"] == "marked"
        assert way.content(run) == before

    def test_a_changed_setting_is_named_and_refused(self, way, dataset: Path, run: Path):
        before = way.content(run)
        stderr = way.refused(
            "train",
            dataset,
            "--out",
            run,
            "--recipe",
            "paper",
            "--model",
            "lightgcn",
            *way.flags({**way.FAST, "model.dim": 16}),
        )
        assert "model.dim: 8 there, 16 now" in stderr
        assert "--overwrite" in stderr
        assert way.content(run) == before

    def test_other_data_are_refused(self, way, run: Path, tmp_path: Path):
        other = way.write(tmp_path / "other", *way.tables(seed=1))
        with pytest.raises(RunError, match="other data"):
            way.train(other, run, way.config())

    def test_overwrite_replaces_it(self, way, dataset: Path, run: Path):
        metrics = way.train(dataset, run, way.config(seed=3), overwrite=True)
        assert metrics["seed"] == 3
        assert load_file(run / "model.safetensors")["parameters.free"].shape == (35, 8)

    def test_overwrite_trains_even_if_nothing_changed(self, way, dataset: Path, run: Path):
        (run / "metrics.json").write_text("{}")
        assert way.train(dataset, run, way.config(), overwrite=True)["model"] == "lightgcn"

    def test_how_often_checkpoints_are_written_is_no_change(self, way, dataset: Path, run: Path):
        before = way.content(run)
        way.train(dataset, run, way.config(training__checkpoint_seconds=5.0))
        assert way.content(run) == before


class TestForeignFolder:
    @pytest.mark.parametrize("name", ["notes.txt", "items.parquet", "config.toml", "metrics.json", ".hidden"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_is_refused_and_untouched(self, way, dataset: Path, tmp_path: Path, name: str, overwrite: bool):
        out = tmp_path / "mine"
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(RunError, match=r"no run folder(.|\n)*--out"):
            way.train(dataset, out, way.config(), overwrite=overwrite)
        assert {entry.name: entry.read_text() for entry in out.iterdir()} == {name: "mine"}

    def test_a_file_is_refused(self, way, dataset: Path, tmp_path: Path):
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(RunError, match="mine: a run folder cannot be a file"):
            way.train(dataset, tmp_path / "mine", way.config())

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 1}'])
    def test_somebody_elses_state_is_refused(self, way, dataset: Path, tmp_path: Path, text: str):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(RunError, match="not the state of a run"):
            way.train(dataset, tmp_path, way.config(), overwrite=True)
        assert (tmp_path / "state.json").read_text() == text
