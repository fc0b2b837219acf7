"""`prepare` killed with SIGKILL before each rename and each removed folder: the old or the new dataset is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recmind.config import PrepareConfig
from recmind.data.dataset import Dataset
from recmind.data.prepare import prepare
from recmind.errors import DataError

NEW = PrepareConfig(min_rating=3)
CHILD = """
import os, signal, sys
from pathlib import Path
from recmind.config import PrepareConfig
from recmind.data.prepare import prepare

fatal, calls = int(sys.argv[2]), 0

def deadly(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.rename, os.replace, os.rmdir = deadly(os.rename), deadly(os.replace), deadly(os.rmdir)
folder = Path(sys.argv[1])
prepare("table", [folder / "interactions.csv"], folder / "out", PrepareConfig(min_rating=3), show_progress=False)
print(calls)
"""


def start(folder: Path, fatal: int) -> subprocess.Popen[str]:
    """Prepare in a process that is killed at its ``fatal``-th rename or removal of a folder; 0 lets it live."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    arguments = [sys.executable, "-c", CHILD, str(folder), str(fatal)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def n_rows(folder: Path) -> int:
    return Dataset.load(folder / "out").n_interactions


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Four interactions, and a dataset of them; three of them with the settings of ``NEW``."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "interactions.csv").write_text("user,item,rating\nu1,a,5\nu1,b,2\nu2,a,4\nu2,b,3\n")
    prepare("table", [folder / "interactions.csv"], folder / "out", show_progress=False)
    assert n_rows(folder) == 4
    return folder


def refused(folder: Path) -> None:
    with pytest.raises(DataError, match="leaves no interaction"):
        config = PrepareConfig(min_user_interactions=99)
        prepare("table", [folder / "interactions.csv"], folder / "out", config, show_progress=False)


@pytest.mark.slow
def test_killed_at_any_rename(shop: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(shop, tmp_path / "whole")
    n_calls = int(start(whole, 0).communicate()[0])
    assert n_calls >= 4  # the files of the dataset, the old folder, the new folder
    folders = [shutil.copytree(shop, tmp_path / f"killed-{fatal}") for fatal in range(1, n_calls + 1)]
    seen, missing = [], 0
    for first in range(0, n_calls, 2):
        children = [start(folder, int(folder.name.partition("-")[2])) for folder in folders[first : first + 2]]
        assert [child.wait() for child in children] == [-signal.SIGKILL] * len(children)
    for folder in folders:
        missing += not (folder / "out").exists()
        refused(folder)
        assert hidden(folder) == []
        seen.append(n_rows(folder))
        report = prepare("table", [folder / "interactions.csv"], folder / "out", NEW, show_progress=False)
        assert report.unchanged == (seen[-1] == 3)
        assert n_rows(folder) == 3
    # The old one up to some call, the new one from there on; between two calls there was none in place.
    assert seen == sorted(seen, reverse=True)
    assert (set(seen), missing) == ({4, 3}, 1)


@pytest.mark.parametrize("name", ["out", "a [*] shop"])
def test_a_dead_process_with_the_number_of_this_one(shop: Path, name: str) -> None:
    prepare("table", [shop / "interactions.csv"], shop / "made", NEW, show_progress=False)
    workplace = shop / f".{name}.preparing-{os.getpid()}"
    workplace.mkdir()
    (shop / "made").rename(workplace / "new")
    (shop / "out").rename(workplace / "old")
    with pytest.raises(DataError, match="there is no such file"):
        prepare("table", [shop / "none.csv"], shop / name, show_progress=False)
    assert pl.read_parquet(shop / name / "interactions.parquet", glob=False).height == 3
    assert hidden(shop) == []


def test_half_of_an_old_dataset_is_never_put_back(shop: Path) -> None:
    """Killed while the old one was removed, and then the new one removed by hand."""
    workplace = shop / ".out.preparing-999999999"
    workplace.mkdir()
    (shop / "out").rename(workplace / "old")
    (workplace / "old" / "interactions.parquet").unlink()
    refused(shop)
    assert not (shop / "out").exists()
    assert hidden(shop) == []


def test_what_a_living_process_is_about_to_put_in_place_is_left_to_it(shop: Path) -> None:
    workplace = shop / f".out.preparing-{os.getppid()}"
    shutil.copytree(shop / "out", workplace / "new")
    (shop / "out").rename(workplace / "old")
    refused(shop)
    assert sorted(path.name for path in workplace.iterdir()) == ["new", "old"]


def test_a_link_to_a_folder_stays_one(shop: Path, tmp_path: Path) -> None:
    elsewhere = (shop / "out").rename(tmp_path / "elsewhere")
    (shop / "out").symlink_to(elsewhere)
    prepare("table", [shop / "interactions.csv"], shop / "out", NEW, show_progress=False)
    assert (shop / "out").is_symlink()
    assert (n_rows(shop), Dataset.load(elsewhere).n_interactions) == (3, 3)
