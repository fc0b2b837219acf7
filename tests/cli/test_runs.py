"""The commands about runs as a person uses them: a small shop, trained for real."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from recmind.cli import main

QUICK = ("--model", "lightgcn", "--set", "training.max_epochs=3", "--set", "model.dim=8", "--set", "threads=1")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def recmind(*arguments: str | Path) -> Done:
    """Run the command inside this process, which saves importing torch each time."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


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
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    run = tmp_path_factory.mktemp("runs") / "shop"
    return run, recmind("train", dataset, "--out", run, *QUICK)


@pytest.fixture(scope="module")
def run(trained: tuple[Path, Done]) -> Path:
    return trained[0]


class TestTrain:
    def test_prints_metrics_where_the_run_is_and_what_is_next(self, trained):
        run, done = trained
        assert done.returncode == 0, done.stderr
        assert "lightgcn on" in done.stdout
        assert "ndcg" in done.stdout
        assert f"The run is in {run}" in done.stdout
        assert f"recmind recommend {run}" in done.stdout
        assert "Training" in done.stderr
        assert "Training" not in done.stdout

    def test_options_reach_the_settings(self, run: Path):
        import tomllib

        config = tomllib.loads((run / "config.toml").read_text())
        assert config["model"]["name"] == "lightgcn"
        assert config["model"]["dim"] == 8
        assert config["training"]["max_epochs"] == 3

    def test_a_finished_run_is_not_trained_again(self, dataset: Path, run: Path):
        before = (run / "model.safetensors").stat().st_mtime_ns
        done = recmind("train", dataset, "--out", run, *QUICK, "--quiet")
        assert done.returncode == 0
        assert (run / "model.safetensors").stat().st_mtime_ns == before

    def test_other_settings_in_the_same_folder_are_refused(self, dataset: Path, run: Path):
        done = recmind("train", dataset, "--out", run, *QUICK, "--seed", "9")
        assert done.returncode == 2
        assert "seed" in done.stderr
        assert "--overwrite" in done.stderr

    def test_split_option_wins_over_set_and_overwrite_replaces(self, dataset: Path, tmp_path: Path):
        out = tmp_path / "run"
        first = recmind("train", dataset, "--out", out, "--model", "popularity", "--quiet")
        assert first.returncode == 0, first.stderr
        options = ("--set", "split.kind=ratio", "--split", "valid-only", "--overwrite", "--quiet")
        second = recmind("train", dataset, "--out", out, "--model", "popularity", *options)
        assert second.returncode == 0, second.stderr
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
    def test_json_alone_on_stdout_equals_what_training_measured(self, run: Path):
        done = recmind("evaluate", run, "--json")
        assert done.returncode == 0, done.stderr
        metrics = json.loads(done.stdout)
        assert metrics["test"] == json.loads((run / "metrics.json").read_text())["test"]
        assert "Ranking" in done.stderr

    def test_table(self, run: Path):
        done = recmind("evaluate", run, "--split", "valid", "--quiet")
        assert done.returncode == 0
        assert "recall" in done.stdout
        assert done.stderr == ""

    def test_something_that_is_no_run(self, dataset: Path):
        done = recmind("evaluate", dataset)
        assert done.returncode == 2
        assert "there is no run in this folder" in done.stderr


class TestRecommend:
    def test_csv_on_stdout_for_named_users(self, run: Path):
        done = recmind("recommend", run, "-k", "3", "--users", "007", "011")
        assert done.returncode == 0, done.stderr
        header, *rows = [line.split(",") for line in done.stdout.splitlines()]
        assert header == ["user_id", "item_id", "rank", "score"]
        assert [(row[0], row[2]) for row in rows] == [(user, rank) for user in ("007", "011") for rank in "123"]

    @pytest.mark.parametrize(
        ("name", "read"), [("a.parquet", pl.read_parquet), ("a.csv", pl.read_csv), ("a.jsonl", pl.read_ndjson)]
    )
    def test_files_by_suffix(self, run: Path, tmp_path: Path, name: str, read):
        done = recmind("recommend", run, "--k", "2", "--out", tmp_path / name, "--quiet")
        assert done.returncode == 0, done.stderr
        assert read(tmp_path / name).columns == ["user_id", "item_id", "rank", "score"]
        assert read(tmp_path / name).height == 60
        assert "60 recommendations" in done.stdout

    def test_what_a_user_knows_is_left_out(self, run: Path, dataset: Path, tmp_path: Path):
        recmind("recommend", run, "--k", "20", "--out", tmp_path / "a.parquet", "--quiet")
        frame = pl.read_parquet(tmp_path / "a.parquet")
        known = pl.read_parquet(dataset / "interactions.parquet")
        assert frame.height == 30 * (20 - 6)
        assert frame.join(known, on=["user_id", "item_id"]).height == 0

    def test_held_out_items_stay_in_for_another_program(self, run: Path, dataset: Path, tmp_path: Path):
        options = ("--k", "20", "--leave-out", "train+valid", "--quiet")
        recmind("recommend", run, *options, "--out", tmp_path / "a.parquet")
        known = pl.read_parquet(dataset / "interactions.parquet")
        back = pl.read_parquet(tmp_path / "a.parquet").join(known, on=["user_id", "item_id"])
        assert back["order"].to_list() == [5] * 30

    def test_users_from_a_file(self, run: Path, tmp_path: Path):
        (tmp_path / "vips.txt").write_text("003\n\n001\n")
        done = recmind("recommend", run, "-k", "1", "--users", tmp_path / "vips.txt", "--quiet")
        assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["user_id", "003", "001"]

    def test_unknown_user(self, run: Path):
        done = recmind("recommend", run, "--users", "007", "nobody")
        assert done.returncode == 2
        assert "nobody" in done.stderr
        assert done.stdout == ""

    def test_unknown_kind_of_file(self, run: Path, tmp_path: Path):
        done = recmind("recommend", run, "--out", tmp_path / "a.xlsx")
        assert done.returncode == 2
        assert ".parquet, .csv, .jsonl" in done.stderr

    def test_new_items_need_a_model_that_reads(self, run: Path, tmp_path: Path):
        pl.DataFrame({"item_id": ["n1"], "title": ["new"]}).write_parquet(tmp_path / "new.parquet")
        done = recmind("recommend", run, "--new-items", tmp_path / "new.parquet")
        assert done.returncode == 2
        assert "reads no texts" in done.stderr
