"""`recmind study` through the command: tables, restarts, errors."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from recmind.data.dataset import Dataset
from recmind.errors import ConfigError, RunError
from recmind.studies.study import list_runs, run_study

EPOCHS = 20
VARIANTS = ["default-warm-up-0", "default-warm-up-5"]
NAMES = [f"{variant}-s{seed}" for seed in (0, 1) for variant in VARIANTS]


def settings(encoder: Path, **more: Any) -> list[str]:
    small = {
        "threads": 1,
        "model.dim": 4,
        "model.sequence.optional": False,
        "model.precision": "float32",
        "language.encoder": str(encoder),
        "language.device": "cpu",
        "language.dtype": "float32",
        "training.batch_size": 32,
        "training.n_negatives": 4,
        "training.temperature": 0.2,
        "training.max_epochs": EPOCHS,
        "training.eval_every": 2,
        "training.patience": 1000,
        "training.checkpoint_seconds": 0,
        "evaluation.bootstrap": 10,
    }
    changes = {key.replace("__", "."): value for key, value in more.items()}
    return [f"{key}={value}" for key, value in (small | changes).items()]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "recmind", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def study_command(dataset: Path, out: Path, encoder: Path) -> list[str | Path]:
    flags = [word for text in settings(encoder) for word in ("--set", text)]
    chosen = ["--suite", "warmup", "--variants", *VARIANTS, "--seeds", "0", "1"]
    return ["study", dataset, *chosen, "--out", out, "--quiet", *flags]


def without_clock(table: pl.DataFrame) -> pl.DataFrame:
    """Results without what depends on the clock, the machine's load or the folder."""
    return table.select(
        name for name in table.columns if not name.startswith("seconds.") and name not in ("peak_memory_mb", "command")
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{item:02}", position)
        for user in range(30)
        for position, item in enumerate(rng.permutation(20)[: rng.integers(4, 8)])
    ]
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(
        folder / "interactions.parquet"
    )
    pl.DataFrame(
        {
            "item_id": [f"i{k:02}" for k in range(20)],
            "title": [f"w{k} w{k + 20} w{2 * k}" for k in range(20)],
            "brand": [f"w{k % 4}" for k in range(20)],
            "categories": [["w50", f"w{51 + k % 3}"] for k in range(20)],
        }
    ).write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def studied(call, dataset: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study and what the command printed."""
    out = tmp_path_factory.mktemp("studied") / "study"
    printed, _ = call(*study_command(dataset, out, tiny_encoder))
    return out, printed


@pytest.mark.slow
class TestCommand:
    def test_writes_a_row_per_run_with_what_the_run_measured(self, studied: tuple[Path, str]):
        out, _ = studied
        table = pl.read_parquet(out / "results.parquet")
        assert [Path(run).name for run in table["run"]] == NAMES
        assert table["variant"].to_list() == ["default, warm-up 0", "default, warm-up 5"] * 2
        assert table["warmup_epochs"].to_list() == [0, 5, 0, 5]
        for row in table.iter_rows(named=True):
            found = json.loads((out / row["run"] / "metrics.json").read_text())
            assert row["seed"] == found["seed"]
            assert row["best_epoch"] == found["best_epoch"]
            assert row["peak_memory_mb"] == found["peak_memory_mb"]
            for part in ("valid", "test"):
                assert {name: row[f"{part}.{name}"] for name in found[part]} == found[part]
            assert row["strata.items_degree_4_10.recall@40"] == found["strata"]["items_degree_4_10"]["recall@40"]
            assert row["seconds.train"] == found["seconds"]["train"]
            assert row["dataset"] == "shop"
            assert f"training.max_epochs={EPOCHS}" in row["overrides"]

    def test_reports_means_and_deviations_over_the_seeds(self, studied: tuple[Path, str]):
        out, printed = studied
        report = (out / "report.md").read_text()
        assert printed.startswith(report.partition("\n## Commands")[0])
        rows = pl.read_parquet(out / "results.parquet").filter(pl.col("warmup_epochs") == 5)
        one, two = rows["test.recall@40"]
        mean, deviation = (one + two) / 2, abs(one - two) / 2**0.5
        line = next(line for line in report.splitlines() if line.startswith("| default, warm-up 5 | 2 |"))
        assert f"{mean:.4f} ± {deviation:.4f}" in line
        assert "## Stability over seeds" in report

    def test_plots(self, studied: tuple[Path, str]):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        assert (studied[0] / "report.png").read_bytes().startswith(b"\x89PNG")
        assert "![" in (studied[0] / "report.md").read_text()

    def test_the_recorded_command_makes_the_same_numbers(self, call, studied: tuple[Path, str], tmp_path: Path):
        row = pl.read_parquet(studied[0] / "results.parquet").row(3, named=True)
        program, *words = shlex.split(row["command"])
        words[words.index("--out") + 1] = str(tmp_path / "again")
        assert program == "recmind"
        call(*words, "--quiet")
        found = json.loads((tmp_path / "again" / "metrics.json").read_text())
        assert {name: row[f"test.{name}"] for name in found["test"]} == found["test"]

    def test_killed_and_repeated_it_gives_the_same_table_and_repeats_no_finished_run(
        self, studied: tuple[Path, str], dataset: Path, tiny_encoder: Path, tmp_path: Path
    ):
        out = tmp_path / "study"
        command = study_command(dataset, out, tiny_encoder)
        command.remove("1")  # one seed
        process = start(*command)
        second = out / "runs" / NAMES[1]
        deadline = time.monotonic() + 200
        while not (second / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        first = out / "runs" / NAMES[0] / "model.safetensors"
        before = first.stat()
        # At once: the killed study's training may still be there.
        finish(start(*command))
        assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        tables = [pl.read_parquet(folder / "results.parquet").filter(seed=0) for folder in (out, studied[0])]
        assert tables[0].height == 2
        assert without_clock(tables[0]).equals(without_clock(tables[1]))
        models = [out / "runs" / name / "model.safetensors" for name in NAMES[:2]]
        times = [model.stat().st_mtime_ns for model in models]
        finish(start(*command))
        assert [model.stat().st_mtime_ns for model in models] == times

    @pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
    def test_stopped_it_takes_the_training_with_it(
        self, dataset: Path, tiny_encoder: Path, tmp_path: Path, sent: signal.Signals, code: int
    ):
        import fcntl

        out = tmp_path / "study"
        flags = [word for text in settings(tiny_encoder, training__max_epochs=10**6) for word in ("--set", text)]
        process = start("study", dataset, "--suite", "warmup", "--variants", VARIANTS[0], "--out", out, *flags)
        run = out / "runs" / NAMES[0]
        deadline = time.monotonic() + 200
        while not (run / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(sent)
        finish(process, code)
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits; the training would go on for hours
        assert not (run / "metrics.json").exists()

    def test_one_run_that_fails_does_not_stop_the_others(self, call, dataset: Path, tiny_encoder: Path, tmp_path: Path):
        out = tmp_path / "study"
        flags = [word for text in settings(tiny_encoder, training__max_epochs=1) for word in ("--set", text)]
        command = ["study", dataset, "--suite", "warmup", "--variants", *VARIANTS, "--out", out, *flags]
        foreign = out / "runs" / NAMES[0]
        foreign.mkdir(parents=True)
        (foreign / "letter.txt").write_text("mine")
        (out / "study.json").write_text(json.dumps({"suite": "warmup", "dataset_hash": Dataset.load(dataset).hash}))
        printed, err = call(*command, code=3)
        assert "2 of 2: default, warm-up 5, seed 0" in err
        assert f"- default, warm-up 0, seed 0: {foreign}: the folder is not empty and is no run folder" in printed
        assert pl.read_parquet(out / "results.parquet")["variant"].to_list() == ["default, warm-up 5"]
        assert (foreign / "letter.txt").read_text() == "mine"
        # Asked for with other settings, the one that is there is not made again, and stays in the report.
        again = ["study", dataset, "--suite", "warmup", "--variants", VARIANTS[1], "--out", out, *flags]
        printed, _ = call(*again, "--set", "training.learning_rate=0.5", code=3)
        assert "- default, warm-up 5, seed 0 (what an earlier call made of it is in this report): " in printed
        assert pl.read_parquet(out / "results.parquet")["variant"].to_list() == ["default, warm-up 5"]


@pytest.mark.slow
def test_adapters_are_trained_by_the_suite(dataset: Path, tiny_encoder: Path, tmp_path: Path):
    pytest.importorskip("peft", reason="peft is not installed (extra 'adapters')")
    quick = {"steps": 2, "batch_size": 8, "micro_tokens": 64, "graph_epochs": 1}
    given = [
        *settings(tiny_encoder, training__max_epochs=2),
        *(f"language.adapters.{name}={value}" for name, value in quick.items()),
    ]
    found = run_study(
        dataset, "rank", tmp_path / "study", settings=given, variants=["frozen", "LoRA, rank 4"], show_progress=False
    )
    assert not found.failed
    assert found.results["rank"].to_list() == [0, 4]
    frozen, adapted = (tmp_path / "study" / run for run in found.results["run"])
    assert not (frozen / "adapters").exists()
    weights = load_file(adapted / "adapters" / "adapter_model.safetensors")
    assert {min(tensor.shape) for tensor in weights.values()} == {4}


class TestRefused:
    def test_unknown_suite_names_the_accepted_ones(self, call, dataset: Path, tmp_path: Path):
        _, err = call("study", dataset, "--suite", "no-such", "--out", tmp_path / "study", code=2)
        assert "accepted: baselines, ablation, strata, seeds, warmup" in err
        assert not (tmp_path / "study").exists()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"settings": ["training.warmup_epochs=3"]}, "what the suite varies"),
            ({"settings": ["seed=3"]}, "--seeds"),
            ({"settings": ["model.name=lightgcn"]}, "the study sets this itself"),
            ({"settings": ["training.max_epoch=3"]}, "did you mean 'training.max_epochs'"),
            ({"settings": ["training"]}, "key=value"),
            ({"variants": ["warm"]}, "accepted: paper-warm-up-0, paper-warm-up-5"),
            ({"seeds": [1, 1]}, "different whole numbers"),
            ({"seeds": [-1]}, "different whole numbers"),
            ({"seeds": []}, "different whole numbers"),
        ],
    )
    def test_wrong_options(self, dataset: Path, tmp_path: Path, given: dict[str, Any], message: str):
        with pytest.raises(ConfigError) as raised:
            run_study(dataset, "warmup", tmp_path / "study", **given)
        assert message in str(raised.value)
        assert not (tmp_path / "study").exists()

    @pytest.mark.parametrize("name", ["mine.txt", "runs"])
    def test_a_folder_of_something_else(self, dataset: Path, tmp_path: Path, name: str):
        (tmp_path / name).mkdir()
        with pytest.raises(RunError, match=rf"holds no study(.|\n)*{name}"):
            run_study(dataset, "warmup", tmp_path)

    def test_a_file(self, dataset: Path):
        with pytest.raises(RunError, match="cannot be a file"):
            run_study(dataset, "warmup", dataset / "items.parquet")

    @pytest.mark.slow
    def test_a_study_of_another_suite_or_with_other_settings(
        self, studied: tuple[Path, str], dataset: Path, tiny_encoder: Path
    ):
        out, _ = studied
        before = (out / "results.parquet").read_bytes()
        with pytest.raises(RunError, match=r"another suite(.|\n)*warmup"):
            run_study(dataset, "rank", out, settings=settings(tiny_encoder))
        with pytest.raises(RunError, match="other settings"):
            list_runs(dataset, "warmup", out, variants=VARIANTS, settings=settings(tiny_encoder, model__dim=8))
        assert (out / "results.parquet").read_bytes() == before


class TestDryRun:
    def test_says_what_would_be_run_and_makes_nothing(self, call, dataset: Path, tmp_path: Path):
        out = tmp_path / "study"
        printed, _ = call("study", dataset, "--suite", "rank", "--out", out, "--seeds", "0", "7", "--dry-run")
        assert not out.exists()
        lines = printed.splitlines()
        assert lines[::2] == [
            f"{name}, seed {seed} (new)"
            for seed in (0, 7)
            for name in ("frozen", "LoRA, rank 4", "LoRA, rank 8", "LoRA, rank 16")
        ]
        assert lines[5].strip().startswith(f"recmind train {dataset} --out {out}/runs/lora-rank-8-s0")
        assert "--set language.adapters.rank=8" in lines[5]

    @pytest.mark.slow
    def test_says_what_is_finished(self, studied: tuple[Path, str], dataset: Path, tiny_encoder: Path):
        listed = list_runs(
            dataset, "warmup", studied[0], seeds=[1, 2], variants=VARIANTS[:1], settings=settings(tiny_encoder)
        )
        assert [state for _, state, _ in listed] == ["finished", "new"]
