"""The generated folders of the graph-building benchmark, and its measurement of one."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("order", ["random", "time", "user"])
def test_generated_folders_are_in_the_order_asked_for(tmp_path: Path, monkeypatch, order: str) -> None:
    import graph_building

    monkeypatch.setattr(graph_building, "ROW_GROUP", 700)
    size = graph_building.generate(tmp_path, 5000, order, seed=1)
    path = tmp_path / "interactions.parquet"
    frame = pl.read_parquet(path)
    assert (frame.height, path.stat().st_size) == (5000, size)
    assert frame["timestamp"].is_sorted() == (order != "random")
    assert frame["user_id"].is_sorted() == (order == "user")
    # Of 384 users the 32 most active have the integral of k^-0.7 from 1 to 33 over that from 1 to 385.
    counts = frame["user_id"].value_counts()["count"].sort(descending=True)
    assert counts[:32].sum() / 5000 == pytest.approx((33**0.3 - 1) / (385**0.3 - 1), abs=0.03)


def test_ids_are_as_many_as_codes() -> None:
    import graph_building
    import numpy as np

    codes = np.arange(40_000)
    for mixed in (True, False):
        texts = pl.Series(graph_building.ids(codes, b"B0", 8, mixed=mixed))
        assert texts.n_unique() == len(codes)
        assert texts.is_sorted() == (not mixed)
        assert set(texts.str.len_bytes()) == {10}


def test_a_measurement_tells_of_every_stage(tmp_path: Path) -> None:
    import graph_building

    graph_building.generate(tmp_path, 3000, "random", seed=0)
    row = graph_building.in_new_process(tmp_path, threads=1)
    assert row["interactions"] + row["repeats"] == 3000
    assert set(row["stages"]) == {"imports", "load", "hash", "split", "graph", "sampler", "first batch"}
    # Bytes of offsets, of both directions' neighbours and of degrees.
    nodes = row["users"] + row["items"]
    assert row["graph_bytes"] == 8 * (nodes + 1) + 2 * 4 * row["edges"] + 4 * nodes
    assert row["total"]["peak"] == max(s["peak"] for name, s in row["stages"].items() if name != "imports")
