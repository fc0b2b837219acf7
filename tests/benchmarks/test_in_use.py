"""The comparison of runs in use, on runs of a small shop."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.pipeline import evaluate_run, train_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "quality"


def test_a_row_per_model_and_ours_against_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from in_use import report

    rng = np.random.default_rng(0)
    rows = [(u, i, t) for u in range(30) for t, i in enumerate(rng.permutation(50)[: rng.integers(4, 9)])]
    shop = Dataset.from_frames(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))
    runs: dict[str, list[str | Path]] = {"LightGCN": [], "EASE": []}
    for name, model, seed in (("LightGCN", "lightgcn", 0), ("LightGCN", "lightgcn", 1), ("EASE", "ease", 0)):
        small = {"seed": seed, "model.dim": 4, "training.max_epochs": 2, "evaluation.bootstrap": 0, "threads": 1}
        runs[name].append(tmp_path / f"{model}-{seed}")
        train_run(shop, load_config("default", model=model, overrides=small), runs[name][-1], show_progress=False)
    before = [(Path(run) / "per_user_test.parquet").read_bytes() for run in runs["LightGCN"]]
    lines = report(runs).splitlines()
    protocol = [json.loads((Path(run) / "metrics.json").read_text())["test"] for run in runs["LightGCN"]]
    in_use = [evaluate_run(run, known="train+valid", show_progress=False)["test"] for run in runs["LightGCN"]]
    expected = [
        np.mean([found[name] for found in group]) for group in (protocol, in_use) for name in ("recall@40", "ndcg@40")
    ]
    assert f"| LightGCN | 2 | {' | '.join(f'{value:.4f}' for value in expected)} |" in lines
    ease = evaluate_run(runs["EASE"][0], known="train+valid", show_progress=False)["test"]
    gain = expected[3] / ease["ndcg@40"] - 1
    line = [line for line in lines if line.startswith("- against EASE, ndcg@40")][-1]
    assert f"ndcg@40: {gain:+.1%}, difference {expected[3] - ease['ndcg@40']:+.4f}" in line
    assert [(Path(run) / "per_user_test.parquet").read_bytes() for run in runs["LightGCN"]] == before
