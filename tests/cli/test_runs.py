"""The commands about runs as a person uses them: a small shop, trained for real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.errors import RunError
from recmind.serving.recommender import Recommender

QUICK = ("--model", "lightgcn", "--set", "training.max_epochs=3", "--set", "model.dim=8", "--set", "threads=1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 users with 6 of 20 items each; ids that look like numbers must come out as they went in."""
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(20)[:6] for _ in range(30)])
    pl.DataFrame(
        {
            "user_id": [f"{user:03}" for user in np.repeat(np.arange(30), 6)],
            "item_id": [f"i{item}" for item in items],
            "order": np.tile(np.arange(6), 30),
        }
    ).write_parquet(folder / "interactions.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(call, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str]]:
    run = tmp_path_factory.mktemp("runs") / "shop"
    return run, call("train", dataset, "--out", run, *QUICK)


@pytest.fixture(scope="module")
def run(trained: tuple[Path, tuple[str, str]]) -> Path:
    return trained[0]


class TestTrain:
    def test_prints_metrics_where_the_run_is_and_what_is_next(self, trained):
        run, (printed, err) = trained
        assert "lightgcn on" in printed
        assert "ndcg" in printed
        assert f"The run is in {run}" in printed
        assert f"recmind recommend {run}" in printed
        assert "Training" in err
        assert "Training" not in printed

    def test_options_reach_the_settings(self, run: Path):
        import tomllib

        config = tomllib.loads((run / "config.toml").read_text())
        assert config["model"]["name"] == "lightgcn"
        assert config["model"]["dim"] == 8
        assert config["training"]["max_epochs"] == 3

    def test_a_finished_run_is_not_trained_again(self, call, dataset: Path, run: Path):
        before = (run / "model.safetensors").stat().st_mtime_ns
        _, err = call("train", dataset, "--out", run, *QUICK)
        assert "finished before" in err
        assert (run / "model.safetensors").stat().st_mtime_ns == before

    def test_other_settings_in_the_same_folder_are_refused(self, call, dataset: Path, run: Path):
        _, err = call("train", dataset, "--out", run, *QUICK, "--seed", "9", code=2)
        assert "seed" in err
        assert "--overwrite" in err

    def test_split_option_wins_over_set_and_overwrite_replaces(self, call, dataset: Path, tmp_path: Path):
        out = tmp_path / "run"
        call("train", dataset, "--out", out, "--model", "popularity", "--quiet")
        options = ("--set", "split.kind=ratio", "--split", "valid-only", "--overwrite", "--quiet")
        call("train", dataset, "--out", out, "--model", "popularity", *options)
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["split"], metrics["test"]) == ("valid-only", {})

    def test_interrupted_training_exits_130_and_can_be_resumed(self, dataset: Path, tmp_path: Path):
        endless = ("training.max_epochs=1000000", "training.patience=1000000", "training.checkpoint_seconds=0")
        settings = [part for setting in endless for part in ("--set", setting)]
        out = tmp_path / "run"
        for resume in ((), ("--resume",)):
            checkpoint = out / "checkpoint.safetensors"
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            arguments = [sys.executable, "-m", "recmind", "train", dataset, "--out", out]
            arguments += [*QUICK, *settings, *resume, "--quiet"]
            with subprocess.Popen(
                arguments,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # A job in the background ignores Ctrl-C, and its children would too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            ) as process:
                while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
                    time.sleep(0.05)
                errors = interrupted(process)
            assert process.returncode == 130, errors
            assert errors == "error: interrupted\n"
        with pytest.raises(RunError, match=r"the run is not finished(.|\n)*recmind train --resume"):
            Recommender.load(out)


def interrupted(process: subprocess.Popen) -> str:
    """What the process says to Ctrl-C. One that arrives within polars can be lost there: then another, as people do."""
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    raise AssertionError(f"four times Ctrl-C did not end it: {process.communicate()[1]}")


class TestEvaluate:
    def test_json_alone_on_stdout_equals_what_training_measured(self, call, run: Path):
        out, err = call("evaluate", run, "--json")
        metrics = json.loads(out)
        assert metrics["test"] == json.loads((run / "metrics.json").read_text())["test"]
        assert "Ranking" in err

    def test_table(self, call, run: Path):
        out, err = call("evaluate", run, "--split", "valid", "--quiet")
        assert "recall" in out
        assert err == ""

    def test_something_that_is_no_run(self, call, dataset: Path):
        _, err = call("evaluate", dataset, code=2)
        assert "there is no run in this folder" in err


class TestRecommend:
    def test_csv_on_stdout_for_named_users(self, call, run: Path):
        printed, _ = call("recommend", run, "-k", "3", "--users", "007", "011")
        header, *rows = [line.split(",") for line in printed.splitlines()]
        assert header == ["user_id", "item_id", "rank", "score"]
        assert [(row[0], row[2]) for row in rows] == [(user, rank) for user in ("007", "011") for rank in "123"]

    @pytest.mark.parametrize(
        ("name", "read"), [("a.parquet", pl.read_parquet), ("a.csv", pl.read_csv), ("a.jsonl", pl.read_ndjson)]
    )
    def test_files_by_suffix(self, call, run: Path, tmp_path: Path, name: str, read):
        printed, _ = call("recommend", run, "--k", "2", "--out", tmp_path / name, "--quiet")
        assert read(tmp_path / name).columns == ["user_id", "item_id", "rank", "score"]
        assert read(tmp_path / name).height == 60
        assert "60 recommendations" in printed

    def test_what_a_user_knows_is_left_out(self, call, run: Path, dataset: Path, tmp_path: Path):
        call("recommend", run, "--k", "20", "--out", tmp_path / "a.parquet", "--quiet")
        frame = pl.read_parquet(tmp_path / "a.parquet")
        known = pl.read_parquet(dataset / "interactions.parquet")
        assert frame.height == 30 * (20 - 6)
        assert frame.join(known, on=["user_id", "item_id"]).height == 0

    def test_held_out_items_stay_in_for_another_program(self, call, run: Path, dataset: Path, tmp_path: Path):
        options = ("--k", "20", "--leave-out", "train+valid", "--quiet")
        call("recommend", run, *options, "--out", tmp_path / "a.parquet")
        known = pl.read_parquet(dataset / "interactions.parquet")
        back = pl.read_parquet(tmp_path / "a.parquet").join(known, on=["user_id", "item_id"])
        assert back["order"].to_list() == [5] * 30

    def test_users_from_a_file(self, call, run: Path, tmp_path: Path):
        (tmp_path / "vips.txt").write_text("003\n\n001\n")
        printed, _ = call("recommend", run, "-k", "1", "--users", tmp_path / "vips.txt", "--quiet")
        assert [line.split(",")[0] for line in printed.splitlines()] == ["user_id", "003", "001"]

    def test_unknown_user(self, call, run: Path):
        out, err = call("recommend", run, "--users", "007", "nobody", code=2)
        assert "nobody" in err
        assert out == ""

    def test_unknown_kind_of_file(self, call, run: Path, tmp_path: Path):
        _, err = call("recommend", run, "--out", tmp_path / "a.xlsx", code=2)
        assert ".parquet, .csv, .jsonl" in err

    def test_new_items_need_a_model_that_reads(self, call, run: Path, tmp_path: Path):
        pl.DataFrame({"item_id": ["n1"], "title": ["new"]}).write_parquet(tmp_path / "new.parquet")
        _, err = call("recommend", run, "--new-items", tmp_path / "new.parquet", code=2)
        assert "reads no texts" in err
