"""The whole way as a person meets it: commands in processes of their own, killed and gone on with."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from recmind.config import Config, load_config
from recmind.errors import ConfigError, DataError, RecMindError, RunError
from recmind.pipeline import evaluate_run, recommend_run, train_run

WORDS = "red blue green small large soft hard round flat warm cold old new light heavy".split()

FAST = {
    "threads": 1,
    "model.dim": 8,
    "model.precision": "float32",
    "training.batch_size": 32,
    "training.max_epochs": 2,
    "training.eval_every": 1,
    "training.n_negatives": 4,
    "training.warmup_epochs": 0,
    "evaluation.bootstrap": 10,
}


def tables(n_users: int = 20, n_items: int = 15, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Interactions with ratings and reviews, 3 to 6 a user, and item texts; the last item was never bought."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        for position, item in enumerate(rng.permutation(n_items - 1)[: rng.integers(3, 7)]):
            review = " ".join(rng.choice(WORDS, 3))
            rows.append((f"u{user:02}", f"i{item:02}", 100 + 10 * position, float(rng.integers(1, 6)), review))
    columns = ["user_id", "item_id", "timestamp", "rating", "review_text"]
    titles = [" ".join(rng.choice(WORDS, 3)) if item % 5 else None for item in range(n_items)]
    items = pl.DataFrame({"item_id": [f"i{item:02}" for item in range(n_items)], "title": titles})
    return pl.DataFrame(rows, schema=columns, orient="row"), items


def write(folder: Path, interactions: pl.DataFrame, items: pl.DataFrame | None = None) -> Path:
    folder.mkdir()
    interactions.write_parquet(folder / "interactions.parquet")
    if items is not None:
        items.write_parquet(folder / "items.parquet")
    return folder


def config(model: str = "lightgcn", recipe: str = "paper", **overrides: Any) -> Config:
    changes = {name.replace("__", "."): value for name, value in overrides.items()}
    return load_config(recipe, model=model, overrides={**FAST, **changes})


def train(dataset: Path, out: Path, settings: Config, **options: bool) -> dict[str, Any]:
    return train_run(dataset, settings, out, show_progress=False, **options)


def flags(overrides: dict[str, Any]) -> list[str]:
    return [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]


def recmind(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recmind", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def refused(*arguments: str | Path) -> str:
    """What a command that must exit with 2 and without a traceback says on stderr."""
    process = recmind(*arguments)
    _, stderr = process.communicate(timeout=250)
    assert process.returncode == 2, stderr
    assert "Traceback" not in stderr
    return stderr


def content(run: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in run.iterdir() if entry.name != ".lock"}


def comparable(run: Path) -> dict[str, Any]:
    """Metrics and history without what depends on the clock and the machine's load."""
    metrics = json.loads((run / "metrics.json").read_text())
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    clock = ("seconds", "peak_memory_mb")
    return {
        "metrics": {key: value for key, value in metrics.items() if key not in clock},
        "history": [{key: value for key, value in row.items() if key not in clock} for row in history],
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "shop", *tables())


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    train(dataset, out, config())
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


class TestKilled:
    @pytest.mark.slow
    def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bytes(self, dataset: Path, tmp_path: Path):
        overrides = {
            **FAST,
            "training.max_epochs": 120,
            "training.patience": 1000,
            "training.warmup_epochs": 10,
            "training.checkpoint_seconds": 0,
            "alignment.queue_size": 16,
            "text.user_view": "reviews",
        }
        undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
        train_run(dataset, load_config("paper", overrides=overrides), undisturbed, show_progress=False)
        command = ["train", dataset, "--out", killed, "--recipe", "paper", "--quiet", *flags(overrides)]
        waits = random.Random(4)
        kills, after_progress = 0, 0
        for _ in range(3):
            process = recmind(*command, *(["--resume"] if kills else []))
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
        process = recmind(*command, "--resume")
        _, stderr = process.communicate(timeout=250)
        assert process.returncode == 0, stderr
        assert (killed / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
        assert comparable(killed) == comparable(undisturbed)
        assert sorted(entry.name for entry in killed.iterdir()) == sorted(e.name for e in undisturbed.iterdir())

    @pytest.mark.parametrize("present", [["state.json"], []])
    def test_killed_before_anything_was_trained(
        self, dataset: Path, finished: Path, tmp_path: Path, present: list[str]
    ):
        out = tmp_path / "run"
        out.mkdir()
        for name in present:
            shutil.copy(finished / name, out)
        (out / ".config.toml.x1y2.partial").write_text("recipe = ")
        train(dataset, out, config())
        assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
        assert not (out / ".config.toml.x1y2.partial").exists()

    def test_killed_while_a_run_was_cleared_it_is_not_taken_for_finished(self, dataset: Path, run: Path):
        # Overwriting removes the settings first.
        (run / "config.toml").unlink()
        metrics = train(dataset, run, config(seed=5))
        assert metrics["seed"] == 5
        assert recommend_run(run, k=1, show_progress=False).height == 20

    def test_an_unfinished_run_asks_what_to_do(self, dataset: Path, run: Path):
        (run / "metrics.json").unlink()
        with pytest.raises(RunError, match=r"unfinished run(.|\n)*--resume(.|\n)*--overwrite"):
            train(dataset, run, config())


class TestSecondTrainer:
    def test_is_refused(self, dataset: Path, tmp_path: Path):
        import fcntl

        out = tmp_path / "run"
        out.mkdir()
        with (out / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(RunError, match="another process is training in this folder"):
                train(dataset, out, config())
        train(dataset, out, config(training__max_epochs=1))


class TestSameFolderAgain:
    def test_a_finished_run_is_not_trained_again(self, dataset: Path, run: Path):
        marked = json.loads((run / "metrics.json").read_text()) | {"dataset": "marked"}
        (run / "metrics.json").write_text(json.dumps(marked))
        before = content(run)
        assert train(dataset, run, config())["dataset"] == "marked"
        assert train(dataset, run, config(), resume=True)["dataset"] == "marked"
        assert content(run) == before

    def test_a_changed_setting_is_named_and_refused(self, dataset: Path, run: Path):
        before = content(run)
        stderr = refused(
            "train",
            dataset,
            "--out",
            run,
            "--recipe",
            "paper",
            "--model",
            "lightgcn",
            *flags({**FAST, "model.dim": 16}),
        )
        assert "model.dim: 8 there, 16 now" in stderr
        assert "--overwrite" in stderr
        assert content(run) == before

    def test_other_data_are_refused(self, run: Path, tmp_path: Path):
        other = write(tmp_path / "other", *tables(seed=1))
        with pytest.raises(RunError, match="other data"):
            train(other, run, config())

    def test_overwrite_replaces_it(self, dataset: Path, run: Path):
        metrics = train(dataset, run, config(seed=3), overwrite=True)
        assert metrics["seed"] == 3
        assert load_file(run / "model.safetensors")["parameters.free"].shape == (35, 8)

    def test_overwrite_trains_even_if_nothing_changed(self, dataset: Path, run: Path):
        (run / "metrics.json").write_text("{}")
        assert train(dataset, run, config(), overwrite=True)["model"] == "lightgcn"

    def test_how_often_checkpoints_are_written_is_no_change(self, dataset: Path, run: Path):
        before = content(run)
        train(dataset, run, config(training__checkpoint_seconds=5.0))
        assert content(run) == before


class TestForeignFolder:
    @pytest.mark.parametrize("name", ["notes.txt", "items.parquet", "config.toml", "metrics.json", ".hidden"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_is_refused_and_untouched(self, dataset: Path, tmp_path: Path, name: str, overwrite: bool):
        out = tmp_path / "mine"
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(RunError, match=r"no run folder(.|\n)*--out"):
            train(dataset, out, config(), overwrite=overwrite)
        assert {entry.name: entry.read_text() for entry in out.iterdir()} == {name: "mine"}

    def test_a_file_is_refused(self, dataset: Path, tmp_path: Path):
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(RunError, match="mine: a run folder cannot be a file"):
            train(dataset, tmp_path / "mine", config())

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"state": 1}'])
    def test_somebody_elses_state_is_refused(self, dataset: Path, tmp_path: Path, text: str):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(RunError, match="not the state of a run"):
            train(dataset, tmp_path, config(), overwrite=True)
        assert (tmp_path / "state.json").read_text() == text


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

    def test_on_the_command_line(self, run: Path):
        (run / "model.safetensors").write_bytes(b"")
        assert "model.safetensors: the model cannot be read" in refused("recommend", run, "--k", "1", "--quiet")

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


class TestMetrics:
    def test_document(self, finished: Path):
        metrics = json.loads((finished / "metrics.json").read_text())
        fixed = {"dataset": "shop", "model": "lightgcn", "recipe": "paper", "seed": 0, "split": "leave-one-out"}
        assert {key: metrics[key] for key in fixed} == fixed
        assert metrics["best_epoch"] in (1, 2)
        assert set(metrics["test"]) >= {"recall@20", "recall@40", "ndcg@20", "ndcg@40"}
        assert "recall@20" in metrics["valid"]
        assert metrics["test"]["recall@40"] == 1, "15 items, so the first 40 hold every target"
        assert metrics["seconds"].keys() >= {"load", "train", "evaluate"}
        assert metrics["peak_memory_mb"] > 0

    def test_evaluating_again_gives_the_same_numbers(self, finished: Path, tmp_path: Path):
        run = Path(shutil.copytree(finished, tmp_path / "run"))
        before = json.loads((run / "metrics.json").read_text())
        for part in ("valid", "test"):
            assert evaluate_run(run, part, show_progress=False)[part] == before[part]


def swap_held_out(interactions: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The same training rows; other items, ratings and reviews in each user's last two rows."""
    rng = np.random.default_rng(77)
    rows: list[dict[str, Any]] = []
    for (_,), own in interactions.sort("timestamp").group_by("user_id", maintain_order=True):
        records = own.to_dicts()
        free = sorted(set(items["item_id"]) - set(own["item_id"]))
        for record, item in zip(records[-2:], rng.permutation(free)[:2], strict=True):
            record |= {"item_id": str(item), "rating": 6 - record["rating"], "review_text": "something else entirely"}
        rows += records
    return pl.DataFrame(rows)


@pytest.mark.parametrize("recipe", ["paper", "default"])
def test_no_held_out_row_reaches_the_model(tmp_path: Path, recipe: str):
    interactions, items = tables()
    changed = swap_held_out(interactions, items)
    assert changed.join(interactions, on=["user_id", "item_id"], how="anti").height == 2 * 20
    # The last epoch is the only one that is measured, so validation decides nothing.
    settings = config("recmind", recipe, text__user_view="reviews", training__max_epochs=3, training__eval_every=50)
    models = []
    for name, rows in (("before", interactions), ("after", changed)):
        out = tmp_path / f"run-{name}"
        metrics = train(write(tmp_path / name, rows, items), out, settings)
        models.append(((out / "model.safetensors").read_bytes(), metrics["test"]))
    assert models[0][0] == models[1][0]
    assert models[0][1] != models[1][1], "the held-out rows are the same, so this shows nothing"


def test_a_run_stands_alone_and_gives_the_same_bits(tmp_path: Path):
    dataset = write(tmp_path / "shop", *tables())
    settings = config("recmind", "default")
    for name in ("first", "second"):
        train(dataset, tmp_path / name, settings)
    first, second = (content(tmp_path / name) for name in ("first", "second"))
    assert first["model.safetensors"] == second["model.safetensors"]
    assert comparable(tmp_path / "first") == comparable(tmp_path / "second")
    assert "encoder" in json.loads(first["environment.json"])
    shutil.rmtree(dataset)
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    arrivals = pl.DataFrame({"item_id": ["new1", "new2"], "title": ["red soft round", None]})
    frame = recommend_run(moved, tmp_path / "out.csv", k=100, new_items=arrivals, show_progress=False)
    assert {"new1", "new2"} <= set(frame["item_id"])
    assert frame.filter(user_id="u00").height == 17 - tables()[0].filter(user_id="u00").height


class TestUnusualData:
    """Small and odd datasets are trained on or refused in words, never with a traceback from below."""

    def trained(self, tmp_path: Path, interactions: pl.DataFrame, items: pl.DataFrame | None, model: str, **changes):
        dataset = write(tmp_path / "data", interactions, items)
        recipe = "default" if model == "text" else "paper"
        metrics = train(dataset, tmp_path / "run", config(model, recipe, **changes))
        return metrics, recommend_run(tmp_path / "run", k=50, leave_out="train", show_progress=False)

    @pytest.mark.parametrize("model", ["lightgcn", "recmind", "popularity"])
    def test_one_user_and_one_item(self, tmp_path: Path, model: str):
        one = pl.DataFrame({"user_id": ["u"], "item_id": ["i"]})
        metrics, frame = self.trained(tmp_path, one, pl.DataFrame({"item_id": ["i"], "title": ["red"]}), model)
        assert not metrics.get("test")
        assert frame.height == 0

    @pytest.mark.parametrize("model", ["lightgcn", "recmind"])
    def test_users_with_a_single_interaction(self, tmp_path: Path, model: str):
        rows = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["x", "y", "x"]})
        _, frame = self.trained(tmp_path, rows, pl.DataFrame({"item_id": ["x", "y"], "title": ["red", "blue"]}), model)
        assert frame.select("user_id", "item_id").rows() == [("a", "y"), ("b", "x"), ("c", "y")]

    @pytest.mark.parametrize("model", ["recmind", "text"])
    def test_many_more_items_than_interactions(self, tmp_path: Path, model: str):
        items = pl.DataFrame(
            {"item_id": [f"i{k:03}" for k in range(120)], "title": [WORDS[k % 15] for k in range(120)]}
        )
        rows = pl.DataFrame({"user_id": ["a"] * 4 + ["b"] * 3, "item_id": [f"i{k:03}" for k in (1, 2, 3, 4, 1, 2, 5)]})
        metrics, frame = self.trained(tmp_path, rows, items, model, training__loss="softmax", training__n_negatives=500)
        assert metrics["test"]
        assert frame.group_by("user_id").len()["len"].to_list() == [50, 50]
        assert frame["score"].is_finite().all()

    @pytest.mark.parametrize("model", ["lightgcn", "recmind", "text"])
    def test_no_item_table_and_no_clock(self, tmp_path: Path, model: str):
        rows = tables()[0].select("user_id", "item_id")
        metrics, frame = self.trained(tmp_path, rows, None, model)
        assert metrics["test"]
        assert frame["score"].is_finite().all()

    def test_users_known_only_from_their_table(self, tmp_path: Path):
        interactions, items = tables()
        dataset = write(tmp_path / "data", interactions, items)
        pl.DataFrame({"user_id": ["nobody", "u00"]}).write_parquet(dataset / "users.parquet")
        train(dataset, tmp_path / "run", config("recmind"))
        frame = recommend_run(tmp_path / "run", k=3, users=["nobody"], show_progress=False)
        assert frame.height == 3
        assert frame["score"].is_finite().all()

    @pytest.mark.parametrize("kind", ["valid-only", "temporal", "ratio", "cold-items"])
    def test_every_split(self, tmp_path: Path, kind: str):
        shares = {"split__valid_fraction": 0.3, "split__test_fraction": 0.3}
        metrics, frame = self.trained(tmp_path, *tables(), "lightgcn", split__kind=kind, **shares)
        assert metrics["split"] == kind
        assert bool(metrics.get("test")) == (kind != "valid-only")
        assert frame.height > 0

    def test_nothing_to_evaluate_is_said(self, tmp_path: Path):
        self.trained(tmp_path, *tables(), "lightgcn", split__kind="valid-only")
        with pytest.raises(RunError, match="has no test interactions"):
            evaluate_run(tmp_path / "run", "test", show_progress=False)


class TestWrongRequests:
    def test_no_dataset(self, tmp_path: Path):
        assert "there is no such dataset folder" in refused("train", tmp_path / "no", "--out", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_no_such_device(self, dataset: Path, tmp_path: Path):
        with pytest.raises(ConfigError, match="device"):
            train(dataset, tmp_path / "run", config(device="cuda:77"))

    def test_unknown_kind_of_output_is_told_before_the_work(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"recs\.xlsx(.|\n)*\.parquet, \.csv, \.jsonl"):
            recommend_run(tmp_path / "not even a run", tmp_path / "recs.xlsx", show_progress=False)
