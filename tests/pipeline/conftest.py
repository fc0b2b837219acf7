"""A small shop, a run trained on it, and what the tests of the whole way do again and again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind.config import Config, load_config
from recmind.pipeline import train_run

WORDS = "red blue green small large soft hard round flat warm cold old new light heavy".split()

FAST = {
    "threads": 1,
    "model.dim": 8,
    "model.sequence.optional": False,
    "model.precision": "float32",
    "training.batch_size": 32,
    "training.max_epochs": 2,
    "training.eval_every": 1,
    "training.n_negatives": 4,
    "training.warmup_epochs": 0,
    "evaluation.bootstrap": 10,
}


class Way:
    """What the tests of the whole way do again and again."""

    WORDS = WORDS
    FAST = FAST

    @staticmethod
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

    @staticmethod
    def write(folder: Path, interactions: pl.DataFrame, items: pl.DataFrame | None = None) -> Path:
        folder.mkdir()
        interactions.write_parquet(folder / "interactions.parquet")
        if items is not None:
            items.write_parquet(folder / "items.parquet")
        return folder

    @staticmethod
    def config(model: str = "lightgcn", recipe: str = "paper", **overrides: Any) -> Config:
        changes = {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config(recipe, model=model, overrides={**FAST, **changes})

    @staticmethod
    def train(dataset: Path, out: Path, settings: Config, **options: bool) -> dict[str, Any]:
        return train_run(dataset, settings, out, show_progress=False, **options)

    @staticmethod
    def flags(overrides: dict[str, Any]) -> list[str]:
        return [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]

    @staticmethod
    def recmind(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recmind", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    @staticmethod
    def refused(*arguments: str | Path) -> str:
        """What a command that must exit with 2 and without a traceback says on stderr."""
        process = Way.recmind(*arguments)
        _, stderr = process.communicate(timeout=250)
        assert process.returncode == 2, stderr
        assert "Traceback" not in stderr
        return stderr

    @staticmethod
    def content(run: Path) -> dict[str, bytes]:
        return {entry.name: entry.read_bytes() for entry in run.iterdir() if entry.name != ".lock"}

    @staticmethod
    def comparable(run: Path) -> dict[str, Any]:
        """Metrics and history without what depends on the clock and the machine's load."""
        metrics = json.loads((run / "metrics.json").read_text())
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        clock = ("seconds", "peak_memory_mb")
        for one in metrics.get("tried", []):
            del one["seconds"]
        return {
            "metrics": {key: value for key, value in metrics.items() if key not in clock},
            "history": [{key: value for key, value in row.items() if key not in clock} for row in history],
        }


@pytest.fixture(scope="session")
def way() -> type[Way]:
    return Way


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Way.write(tmp_path_factory.mktemp("data") / "shop", *Way.tables())


@pytest.fixture(scope="session")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    Way.train(dataset, out, Way.config())
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
