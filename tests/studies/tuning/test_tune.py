"""`recmind tune` through the command: the same trials after a crash, nothing of the test part, a recipe that trains."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind.config import load_config
from recmind.pipeline import train_run
from recmind.studies.tuning.tune import tune

pytest.importorskip("optuna", reason="optuna is not installed (extra 'studies')")

SMALL: dict[str, Any] = {
    "model.dim": 4,
    "model.precision": "float32",
    "training.batch_size": 32,
    "training.max_epochs": 16,
    "training.eval_every": 2,
    "training.patience": 1000,
    "training.checkpoint_seconds": 0,
    "evaluation.cutoffs": "[5, 10]",
    "training.metric": "ndcg@10",
}
SPACE = """
"training.learning_rate" = { low = 1e-4, high = 1e-1, log = true }
"model.layers" = { low = 1, high = 4 }
"""
TRIALS = 3


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-m", "recmind", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def command(dataset: Path, out: Path, *more: str | Path, trials: int = TRIALS, **changes: Any) -> list[str | Path]:
    given = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    flags = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    chosen = ["--model", "lightgcn", "--space", dataset.parent / "space.toml", "--trials", str(trials)]
    return ["tune", dataset, *chosen, "--out", out, "--quiet", *flags, *more]


def without_clock(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(
        name for name in table.columns if not name.startswith("seconds.") and name not in ("peak_memory_mb", "command")
    )


def bought(*, last: int | None = None) -> pl.DataFrame:
    """What 30 users bought; with ``last``, each one's last item is another one."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(30):
        items = rng.permutation(20)[: rng.integers(4, 8)]
        if last is not None:
            others = np.setdiff1d(np.arange(20), items)
            items[-1] = others[last % len(others)]
        rows += [(f"u{user:02}", f"i{item:02}", position) for position, item in enumerate(items)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "space.toml").write_text(SPACE, encoding="utf-8")
    (folder / "shop").mkdir()
    bought().write_parquet(folder / "shop" / "interactions.parquet")
    pl.DataFrame({"item_id": [f"i{k:02}" for k in range(20)]}).write_parquet(folder / "shop" / "items.parquet")
    return folder / "shop"


@pytest.fixture(scope="module")
def tuned(call, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished tuning and what the command printed."""
    out = tmp_path_factory.mktemp("tuned") / "lightgcn"
    printed, _ = call(*command(dataset, out))
    return out, printed


@pytest.mark.slow
class TestCommand:
    def test_writes_a_row_per_trial(self, tuned: tuple[Path, str]):
        table = pl.read_parquet(tuned[0] / "trials.parquet")
        assert table["trial"].to_list() == list(range(TRIALS))
        assert table["state"].to_list() == ["finished"] * TRIALS
        for row in table.iter_rows(named=True):
            found = json.loads((tuned[0] / "trials" / f"{row['trial']:04}" / "metrics.json").read_text())
            assert row["value"] == row["valid.ndcg@10"] == found["valid"]["ndcg@10"]
            assert row["best_epoch"] == found["best_epoch"]
            assert row["seconds.train"] == found["seconds"]["train"]
            assert 1e-4 <= row["settings.training.learning_rate"] <= 1e-1
        recipe = load_config("default", model="lightgcn")
        assert table["settings.model.layers"][0] == recipe.model.layers
        assert table["settings.training.learning_rate"][0] == recipe.training.learning_rate

    def test_all_trials_have_the_same_early_stopping(self, tuned: tuple[Path, str]):
        configs = [tomllib.loads(path.read_text()) for path in sorted(tuned[0].glob("trials/*/config.toml"))]
        keys = ("metric", "max_epochs", "eval_every", "patience")
        assert len(configs) == TRIALS
        assert {tuple(config["training"][key] for key in keys) for config in configs} == {("ndcg@10", 16, 2, 1000)}

    def test_the_recipe_trains_to_the_value_of_the_best_trial(
        self, call, tuned: tuple[Path, str], dataset: Path, tmp_path: Path
    ):
        out, printed = tuned
        recipe = out / "lightgcn.toml"
        best = pl.read_parquet(out / "trials.parquet").sort("value", descending=True).row(0, named=True)
        assert f"recmind train {dataset} --recipe {recipe} --out RUN" in printed
        call("train", dataset, "--recipe", recipe, "--out", tmp_path / "run", "--quiet")
        found = json.loads((tmp_path / "run" / "metrics.json").read_text())
        assert found["model"] == "lightgcn"
        assert found["valid"]["ndcg@10"] == best["value"]
        assert found["test"]["ndcg@10"] > 0
        assert recipe.read_text().startswith("# lightgcn tuned on shop: the best of 3 trials by validation ndcg@10")
        assert "hide_test" not in recipe.read_text()
        assert 'catch_up_epochs = "anew"' in recipe.read_text(), "of use to whoever trains it, and to no trial"

    def test_a_recorded_command_makes_the_trial_again(self, call, tuned: tuple[Path, str], tmp_path: Path):
        row = pl.read_parquet(tuned[0] / "trials.parquet").row(2, named=True)
        program, *words = shlex.split(row["command"])
        words[words.index("--out") + 1] = str(tmp_path / "again")
        assert program == "recmind"
        call(*words, "--quiet")
        found = json.loads((tmp_path / "again" / "metrics.json").read_text())
        assert found["valid"]["ndcg@10"] == row["value"]
        assert found["test"] == {}

    def test_reports_the_best_and_what_was_tried(self, tuned: tuple[Path, str]):
        out, printed = tuned
        report = (out / "report.md").read_text()
        assert printed.startswith(report.partition("\n## Figure")[0])
        best = pl.read_parquet(out / "trials.parquet")["value"].max()
        assert f"ndcg@10 {best:.5f} on validation" in report
        page = (out / "report.html").read_text()
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        assert page.count("<svg") == 3
        assert not re.search(r'(src|href)="(?!#)', page)

    def test_more_trials_go_on_from_those_that_are_there(
        self, call, tuned: tuple[Path, str], dataset: Path, tmp_path: Path
    ):
        out = Path(shutil.copytree(tuned[0], tmp_path / "lightgcn"))
        first = (out / "trials" / "0001" / "metrics.json").stat().st_mtime_ns
        call(*command(dataset, out, trials=TRIALS + 1))
        assert (out / "trials" / "0001" / "metrics.json").stat().st_mtime_ns == first
        before, after = (pl.read_parquet(folder / "trials.parquet") for folder in (tuned[0], out))
        assert after["state"].to_list() == ["finished"] * (TRIALS + 1)
        assert without_clock(after).head(TRIALS).equals(without_clock(before))

    def test_killed_and_repeated_it_makes_the_same_trials(self, tuned: tuple[Path, str], dataset: Path, tmp_path: Path):
        out = tmp_path / "lightgcn"
        arguments = command(dataset, out)
        process = start(*arguments)
        deadline = time.monotonic() + 200
        while not (out / "trials" / "0001" / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert pl.read_parquet(out / "trials.parquet").height == 1
        # At once: the killed tuning's training may still be there.
        finish(start(*arguments))
        tables = [pl.read_parquet(folder / "trials.parquet") for folder in (out, tuned[0])]
        assert without_clock(tables[0]).equals(without_clock(tables[1]))
        recipes = [(folder / "lightgcn.toml").read_text() for folder in (out, tuned[0])]
        assert recipes[0] == recipes[1]

    def test_trials_that_all_fail_end_it_with_what_they_said(self, call, dataset: Path, tmp_path: Path):
        space = tmp_path / "space.toml"
        space.write_text('"training.learning_rate" = { low = 1e32, high = 1e36, log = true }\n')
        arguments = command(dataset, tmp_path / "out", "--recipe", "default", trials=6)
        arguments[arguments.index("--space") + 1] = space
        _, err = call(*arguments, code=3)
        assert "the loss is not finite in epoch" in err
        assert pl.read_parquet(tmp_path / "out" / "trials.parquet")["state"].to_list() == ["failed"] * 3

    def test_a_model_without_settings_gets_one_trial(self, dataset: Path, tmp_path: Path):
        found = tune(dataset, "popularity", tmp_path / "out", trials=5, show_progress=False)
        assert found.trials.height == 1
        assert found.recipe.name == "popularity.toml"

    def test_a_text_model_is_tuned_with_its_own_space(self, dataset: Path, tiny_encoder: Path, tmp_path: Path):
        items = pl.DataFrame(
            {"item_id": [f"i{k:02}" for k in range(20)], "title": [f"w{k} w{k + 20}" for k in range(20)]}
        )
        (tmp_path / "shop").mkdir()
        bought().write_parquet(tmp_path / "shop" / "interactions.parquet")
        items.write_parquet(tmp_path / "shop" / "items.parquet")
        given = ["training.max_epochs=2", f"language.encoder={tiny_encoder}", "language.dtype=float32", "model.dim=4"]
        found = tune(tmp_path / "shop", "recmind", tmp_path / "out", trials=2, settings=given, show_progress=False)
        assert found.trials["state"].to_list() == ["finished"] * 2
        assert load_config(found.recipe).model.name == "recmind"


@pytest.mark.slow
class TestHidden:
    def test_other_test_items_give_the_same_trials(self, call, tuned: tuple[Path, str], dataset: Path, tmp_path: Path):
        other = tmp_path / "shop"
        other.mkdir()
        changed = bought(last=3)
        assert not changed.equals(bought())
        changed.write_parquet(other / "interactions.parquet")
        (other / "items.parquet").write_bytes((dataset / "items.parquet").read_bytes())
        (tmp_path / "space.toml").write_text(SPACE)
        call(*command(other, tmp_path / "out", trials=2))
        tables = [pl.read_parquet(folder / "trials.parquet").head(2) for folder in (tmp_path / "out", tuned[0])]
        assert without_clock(tables[0]).equals(without_clock(tables[1]))

    def test_a_run_without_its_test_part_validates_the_same_and_has_nothing_of_it(self, dataset: Path, tmp_path: Path):
        given = {**SMALL, "evaluation.cutoffs": [5, 10]}
        found = {}
        for hidden in (False, True):
            config = load_config("default", model="lightgcn", overrides={**given, "split.hide_test": hidden})
            found[hidden] = train_run(dataset, config, tmp_path / str(hidden), show_progress=False)
        assert found[True]["valid"] == found[False]["valid"]
        assert found[False]["test"]
        assert found[True]["test"] == {}
        assert set(pl.read_parquet(tmp_path / "True" / "split.parquet")["part"]) == {"train", "valid"}
        assert not (tmp_path / "True" / "per_user_test.parquet").exists()

    def test_no_trial_has_anything_of_it(self, tuned: tuple[Path, str]):
        for run in tuned[0].glob("trials/*"):
            assert json.loads((run / "metrics.json").read_text())["test"] == {}
            assert tomllib.loads((run / "config.toml").read_text())["split"]["hide_test"] is True
            assert not (run / "per_user_test.parquet").exists()
        assert not [name for name in pl.read_parquet(tuned[0] / "trials.parquet").columns if "test" in name]

    def test_it_cannot_be_shown(self, call, dataset: Path, tmp_path: Path):
        _, err = call(*command(dataset, tmp_path / "out", "--set", "split.hide_test=false"), code=2)
        assert "--set: the tuning sets this itself" in err
        assert not (tmp_path / "out").exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--set", "model.layers=3"], "this is what is searched"),
            (["--set", "seed=3"], "the tuning sets this itself"),
            (["--set", "model.layer=3"], "did you mean 'model.layers'"),
            (["--set", "training"], "key=value"),
            (["--recipe", "no-such"], "there is no such recipe"),
            (["--space", "no-such.toml"], "the space cannot be read"),
        ],
    )
    def test_wrong_options(self, call, dataset: Path, tmp_path: Path, more: list[str], message: str):
        arguments = command(dataset, tmp_path / "out")
        if more[0] == "--space":
            arguments = [word for word in arguments if word not in ("--space", dataset.parent / "space.toml")]
        _, err = call(*arguments, *more, code=2)
        assert message in err
        assert not (tmp_path / "out").exists()

    def test_no_trial_at_all(self, call, dataset: Path, tmp_path: Path):
        _, err = call(*command(dataset, tmp_path / "out", trials=0), code=2)
        assert "--trials: there must be a trial" in err

    def test_a_wrong_space_names_every_key(self, call, dataset: Path, tmp_path: Path):
        space = tmp_path / "space.toml"
        space.write_text('"model.layer" = { low = 1, high = 3 }\n"training.epochs" = { low = 1, high = 3 }\n')
        _, err = call("tune", dataset, "--model", "lightgcn", "--space", space, "--out", tmp_path / "out", code=2)
        assert "2 wrong entries" in err
        assert "model.layer: unknown setting; did you mean 'model.layers'?" in err
        assert "training.epochs: unknown setting" in err
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_a_folder_of_another_tuning(self, call, tuned: tuple[Path, str], dataset: Path):
        before = (tuned[0] / "trials.parquet").read_bytes()
        _, err = call(*command(dataset, tuned[0], "--seed", "1"), code=2)
        assert "holds a tuning of another recipe settings and seed" in err
        _, err = call(*command(dataset, tuned[0], model__dim=8), code=2)
        assert "holds a tuning of another recipe settings and settings" in err
        assert (tuned[0] / "trials.parquet").read_bytes() == before

    def test_a_folder_of_something_else(self, call, dataset: Path, tmp_path: Path):
        (tmp_path / "letter.txt").write_text("mine")
        _, err = call(*command(dataset, tmp_path), code=2)
        assert "holds no tuning" in err


def test_a_dry_run_prints_the_space_and_makes_nothing(call, dataset: Path, tmp_path: Path):
    out = tmp_path / "out"
    printed, _ = call("tune", dataset, "--model", "ease", "--out", out, "--dry-run")
    assert not out.exists()
    assert tomllib.loads(printed)["model.baselines.ease.regularisation"]["log"] is True
