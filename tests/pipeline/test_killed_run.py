"""Runs killed and gone on with, and two processes in one folder."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from recmind.config import load_config
from recmind.errors import RunError
from recmind.pipeline import recommend_run, train_run


class TestKilled:
    @pytest.mark.slow
    def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bytes(
        self, way, call, dataset: Path, tmp_path: Path
    ):
        overrides = {
            **way.FAST,
            "training.max_epochs": 60,
            "training.patience": 1000,
            "training.warmup_epochs": 10,
            "training.checkpoint_seconds": 0,
            "alignment.queue_size": 16,
            "text.user_view": "reviews",
        }
        undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
        train_run(dataset, load_config("paper", overrides=overrides), undisturbed, show_progress=False)
        command = ["train", dataset, "--out", killed, "--recipe", "paper", "--quiet", *way.flags(overrides)]
        waits = random.Random(4)
        kills, after_progress = 0, 0
        for _ in range(2):
            process = way.recmind(*command, *(["--resume"] if kills else []))
            checkpoint = killed / "checkpoint.safetensors"
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            deadline = time.monotonic() + 200
            while process.poll() is None and time.monotonic() < deadline:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    break
                time.sleep(0.005)
            time.sleep(waits.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += process.returncode == -signal.SIGKILL
            after_progress += checkpoint.exists() and not (killed / "metrics.json").exists()
        assert after_progress, "no kill met a training that was under way"
        call(*command, "--resume")
        assert (killed / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
        assert way.comparable(killed) == way.comparable(undisturbed)
        assert sorted(entry.name for entry in killed.iterdir()) == sorted(e.name for e in undisturbed.iterdir())

    @pytest.mark.parametrize("present", [["state.json"], []])
    def test_killed_before_anything_was_trained(
        self, way, dataset: Path, finished: Path, tmp_path: Path, present: list[str]
    ):
        out = tmp_path / "run"
        out.mkdir()
        for name in present:
            shutil.copy(finished / name, out)
        (out / ".config.toml.x1y2.partial").write_text("recipe = ")
        (out / ".tmpCLrPWD").write_bytes(b"half a checkpoint")
        way.train(dataset, out, way.config())
        assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
        assert not (out / ".config.toml.x1y2.partial").exists() and not (out / ".tmpCLrPWD").exists()

    def test_killed_while_a_run_was_cleared_it_is_not_taken_for_finished(self, way, dataset: Path, run: Path):
        # Overwriting removes the settings first.
        (run / "config.toml").unlink()
        metrics = way.train(dataset, run, way.config(seed=5))
        assert metrics["seed"] == 5
        assert recommend_run(run, k=1, show_progress=False).height == 20

    def test_an_unfinished_run_asks_what_to_do(self, way, dataset: Path, run: Path):
        (run / "metrics.json").unlink()
        with pytest.raises(RunError, match=r"unfinished run(.|\n)*--resume(.|\n)*--overwrite"):
            way.train(dataset, run, way.config())


class TestSecondTrainer:
    def test_is_refused(self, way, dataset: Path, tmp_path: Path):
        import fcntl

        out = tmp_path / "run"
        out.mkdir()
        with (out / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(RunError, match="another process is training in this folder"):
                way.train(dataset, out, way.config())
        way.train(dataset, out, way.config(training__max_epochs=1))
