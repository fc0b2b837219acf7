"""`refresh` killed with SIGKILL before each rename and each removed folder: the old or the new run is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest
import torch

from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.pipeline import train_run
from recmind.serving.recommender import Recommender
from recmind.serving.refresh import refresh

CHANGED = pl.DataFrame({"item_id": ["i1", "i9"], "title": ["an elephant", "a new pan"]})
CHILD = """
import os, signal, sys
from pathlib import Path
from recmind.serving.refresh import refresh

calls = 0

def deadly(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.rename, os.replace, os.rmdir = deadly(os.rename), deadly(os.replace), deadly(os.rmdir)
# A child for each folder, which starts with everything imported and nothing computed.
for place in map(Path, sys.argv[2:]):
    if not (child := os.fork()):
        fatal = int(place.name.rpartition("-")[2])
        refresh(place / "run", place / "changed.parquet", out=place / "new" if sys.argv[1] == "out" else None)
        print(calls, flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def refreshed(kind: str, *folders: Path) -> list[int]:
    """Refresh the runs in the folders ``NAME-K``, each in a process that is killed at its K-th rename or removal of a
    folder; with K = 0 it lives. What they print: the calls of those that live, and every exit code."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", CHILD, kind, *map(str, folders)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, env=environment, timeout=250, check=True)
    return [int(line) for line in done.stdout.split()]


def state(run: Path) -> tuple[int, str, float]:
    """What tells the old run from the new one: items, a title, a number of the model."""
    found = Recommender.load(run)
    assert len(found.recommend(k=1)) == 3
    assert len(found.scorer.items) == found.items.height
    return found.items.height, found.items["title"][0], float(found.scorer.items[0, 0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    rows = [(f"u{u}", f"i{1 + (u + k) % 5}", k) for u in range(3) for k in range(4)]
    titles = ["a sock", "a table", "a pan", "green tea", "a bed"]
    dataset = Dataset.from_frames(
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"),
        pl.DataFrame({"item_id": [f"i{k}" for k in range(1, 6)], "title": titles}),
    )
    fast = {
        "model.dim": 4,
        "model.sequence.optional": False,
        "training.max_epochs": 1,
        "evaluation.bootstrap": 0,
        "threads": 1,
        "language.dtype": "float32",
    }
    train_run(
        dataset,
        load_config("default", overrides={**fast, "language.dtype": "float32"}),
        folder / "run",
        show_progress=False,
    )
    CHANGED.write_parquet(folder / "changed.parquet")
    with tempfile.TemporaryDirectory() as other:  # the store has every text from now on: children write the run alone
        refresh(folder / "run", CHANGED, out=Path(other) / "new")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("out", [False, True])
def test_killed_at_any_rename(trained: Path, tmp_path: Path, out: bool) -> None:
    kind = "out" if out else "in place"
    old = state(trained / "run")
    whole = shutil.copytree(trained, tmp_path / "whole-0")
    n_calls, code = refreshed(kind, whole)
    assert code == 0
    new = state(whole / ("new" if out else "run"))
    assert new[:2] == (6, "an elephant")
    assert old[:2] == (5, "a sock")
    assert n_calls >= 9  # four files written, the folder of them, four files moved, the folder removed
    folders = [shutil.copytree(trained, tmp_path / f"killed-{fatal}") for fatal in range(1, n_calls + 1)]
    assert refreshed(kind, *folders) == [-signal.SIGKILL] * n_calls
    seen = []
    for folder in folders:
        if out:
            assert state(folder / "run") == old
            assert not (folder / "new").exists()  # renaming it is the last call
            refresh(folder / "run", CHANGED, out=folder / "new")
            assert sorted(entry.name for entry in folder.iterdir()) == ["changed.parquet", "new", "run"]
            assert state(folder / "new") == pytest.approx(new)
            continue
        seen.append(state(folder / "run"))
        assert seen[-1] in (old, new)
        result = refresh(folder / "run", CHANGED)
        assert bool(result.moved.height) == (seen[-1] == old)
        assert state(folder / "run") == new
        # Nothing is left, and the same files as without a kill.
        names = {entry.name for entry in (folder / "run").iterdir()}
        assert names == {entry.name for entry in (whole / "run").iterdir()}
    if not out:
        # The old one up to some call, the new one from there on, and never none.
        assert seen == sorted(seen, key=lambda found: found != old)
        assert set(seen) == {old, new}


def test_a_run_that_nobody_may_write_to_is_read_as_it_will_be(trained: Path, tmp_path: Path) -> None:
    """Killed after the new files had arrived and before they were moved; a reader moves nothing."""
    folder = shutil.copytree(trained, tmp_path / "shop")
    after = shutil.copytree(trained, tmp_path / "after")
    refresh(after / "run", CHANGED)
    arrived = folder / "run" / ".arrived"
    arrived.mkdir()
    for name in ("model.safetensors", "items.parquet", "refresh.json"):
        shutil.copy(after / "run" / name, arrived / name)
    assert state(folder / "run") == state(after / "run")
    assert len(list(arrived.iterdir())) == 3
    again = refresh(folder / "run", CHANGED, out=tmp_path / "copy")  # and a copy is of the new one
    assert again.moved.height == 0
    assert state(tmp_path / "copy") == state(after / "run")
    # Training anew over it is not shadowed by what had arrived.
    found = Recommender.load(folder / "run")
    dataset = Dataset.from_frames(pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"]}))
    config = load_config("default", model="lightgcn", overrides={"model.dim": 4, "training.max_epochs": 1})
    train_run(dataset, config, folder / "run", overwrite=True, show_progress=False)
    assert Recommender.load(folder / "run").items["item_id"].to_list() == ["x", "y"] != found.items["item_id"].to_list()
    assert not arrived.exists()
    assert not (folder / "run" / "refresh.json").exists()


def test_a_reader_during_a_refresh_gets_files_of_one_time(trained: Path, tmp_path: Path, monkeypatch) -> None:
    folder = shutil.copytree(trained, tmp_path / "shop")
    from recmind.training.run_folder import RunFolder

    read_model, refreshed = RunFolder.read_model, []

    def then_refreshed(self: RunFolder) -> dict[str, torch.Tensor]:
        tensors = read_model(self)
        if not refreshed:
            refreshed.append(True)
            refresh(folder / "run", CHANGED)  # between reading the model and the tables
        return tensors

    monkeypatch.setattr(RunFolder, "read_model", then_refreshed)
    assert state(folder / "run")[:2] == (6, "an elephant")
