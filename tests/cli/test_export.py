"""`recmind export` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.cli import main
from recmind.config import load_config
from recmind.pipeline import train_run
from recmind.serving.live import LiveRecommender


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{i}", t) for u in range(12) for t, i in enumerate(rng.permutation(10)[:5])]
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "run"
    columns = ["user_id", "item_id", "timestamp"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(data / "interactions.parquet")
    settings = {"model.dim": 4, "training.max_epochs": 1, "evaluation.bootstrap": 0, "threads": 1}
    train_run(data, load_config("default", model="lightgcn", overrides=settings), out, show_progress=False)
    return out


def test_a_run_becomes_a_bundle(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(run), "--out", str(tmp_path / "bundle")]) == 0
    printed = capsys.readouterr().out
    assert "12 users, 10 items, exact search, recall@20 1.0000" in printed
    assert str(tmp_path / "bundle") in printed
    with LiveRecommender.open(tmp_path / "bundle") as live:
        assert len(live.recommend("u3", 2)) == 2


def test_an_index_can_be_chosen(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(run), "--out", str(tmp_path / "bundle"), "--index", "hnsw"]) == 0
    assert "hnsw search" in capsys.readouterr().out
    assert json.loads((tmp_path / "bundle" / "model.json").read_text())["index"]["kind"] == "hnsw"
    with LiveRecommender.open(tmp_path / "bundle") as live:
        assert len(live.recommend("u3", 2)) == 2


def test_what_is_wrong_is_said_without_a_traceback(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", str(tmp_path / "nothing"), "--out", str(tmp_path / "bundle")]) == 2
    assert "there is no run in this folder" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    assert main(["export", str(run), "--out", str(tmp_path / "full")]) == 2
    assert "not empty" in capsys.readouterr().err
