"""Damaged runs and wrong requests are refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from recmind.errors import ConfigError, DataError, RecMindError, RunError
from recmind.pipeline import recommend_run


class TestDamagedRun:
    @pytest.mark.parametrize(
        "name", ["model.safetensors", "split.parquet", "items.parquet", "users.parquet", "config.toml"]
    )
    @pytest.mark.parametrize("damage", ["cut", "other bytes", "gone"])
    def test_is_named(self, run: Path, name: str, damage: str):
        path = run / name
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-40] if damage == "cut" else b"\xff\xfe[= not this")
        if name == "config.toml" and damage == "cut":
            path.write_text('[model\nname = "light')
        with pytest.raises(RecMindError, match=name if damage != "gone" or "parquet" in name else "run") as caught:
            recommend_run(run, k=1, show_progress=False)
        assert caught.value.exit_code == 2

    def test_on_the_command_line(self, way, run: Path):
        (run / "model.safetensors").write_bytes(b"")
        assert "model.safetensors: the model cannot be read" in way.refused("recommend", run, "--k", "1", "--quiet")

    def test_a_model_of_another_run(self, run: Path):
        tensors = load_file(run / "model.safetensors")
        tensors["representations.items"] = tensors["representations.items"][:4].clone()
        save_file(tensors, run / "model.safetensors")
        with pytest.raises(RunError, match=r"do not belong together(.|\n)*4 rows(.|\n)*15 rows"):
            recommend_run(run, k=1, show_progress=False)

    def test_another_safetensors_file(self, run: Path):
        save_file({"x": load_file(run / "model.safetensors")["representations.items"]}, run / "model.safetensors")
        with pytest.raises(RunError, match=r"do not belong together"):
            recommend_run(run, k=1, show_progress=False)

    def test_no_run_at_all(self, tmp_path: Path):
        with pytest.raises(RunError, match=r"no run in this folder(.|\n)*recmind train"):
            recommend_run(tmp_path / "nothing", k=1, show_progress=False)


class TestWrongRequests:
    def test_no_dataset(self, way, tmp_path: Path):
        assert "there is no such dataset folder" in way.refused("train", tmp_path / "no", "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_no_such_device(self, way, dataset: Path, tmp_path: Path):
        with pytest.raises(ConfigError, match="device"):
            way.train(dataset, tmp_path / "run", way.config(device="cuda:77"))

    def test_unknown_kind_of_output_is_told_before_the_work(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"recs\.xlsx(.|\n)*\.parquet, \.csv, \.jsonl"):
            recommend_run(tmp_path / "not even a run", tmp_path / "recs.xlsx", show_progress=False)
