"""The suite `drift`: which texts change and how, and what is measured on either side."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind.data.dataset import Dataset
from recmind.errors import DataError
from recmind.schema import ITEM_TEXT_FIELDS
from recmind.studies.drift import can_change, changed_items, with_changed_texts
from recmind.studies.report import write_report
from recmind.studies.study import run_study
from recmind.studies.suites import TextChange

N_ITEMS = 20


def items(**columns: Any) -> pl.DataFrame:
    usual: dict[str, Any] = {
        "title": [f"w{k} w{k + 20} w{2 * k}" for k in range(N_ITEMS)],
        "brand": [f"w{k % 4}" for k in range(N_ITEMS)],
        "categories": [["w50", f"w{51 + k % 3}"] for k in range(N_ITEMS)],
        "price": [1.5] * N_ITEMS,
    }
    known = {name: values for name, values in (usual | columns).items() if values is not None}
    return pl.DataFrame({"item_id": [f"i{k:02}" for k in range(N_ITEMS)], **known})


def shop(**columns: Any) -> Dataset:
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{item:02}", position)
        for user in range(30)
        for position, item in enumerate(rng.permutation(N_ITEMS)[: rng.integers(4, 8)])
    ]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return Dataset.from_frames(events, items(**columns), info={"name": "shop"})


class TestTexts:
    @pytest.mark.parametrize("kind", ["words", "titles"])
    @pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
    def test_the_share_of_the_items_changes_and_nothing_else(self, kind: Any, share: float):
        before = shop()
        after = with_changed_texts(before, TextChange(kind, share), seed=3)
        touched = changed_items(before, after)
        assert touched.sum() == round(share * N_ITEMS)
        assert after.items.filter(~touched).equals(before.items.filter(~touched))
        assert after.items.drop(ITEM_TEXT_FIELDS, strict=False).equals(
            before.items.drop(ITEM_TEXT_FIELDS, strict=False)
        )
        assert after.items.schema == before.items.schema
        assert after.interactions.equals(before.interactions)
        assert after.info["name"] == f"shop, {kind}-{round(100 * share)}"

    def test_a_larger_share_holds_the_smaller_one_and_the_seed_decides(self):
        dataset = shop()
        small, large = (with_changed_texts(dataset, TextChange("words", share), 3) for share in (0.3, 0.5))
        of_small = changed_items(dataset, small)
        assert (changed_items(dataset, large) >= of_small).all()
        assert large.items.filter(of_small).equals(small.items.filter(of_small))
        assert with_changed_texts(dataset, TextChange("words", 0.3), 3).hash == small.hash
        assert with_changed_texts(dataset, TextChange("words", 0.3), 4).hash != small.hash

    def test_words_go_and_the_others_keep_their_order(self):
        dataset = shop(title=[" ".join(f"w{j}" for j in range(40))] * N_ITEMS)
        after = with_changed_texts(dataset, TextChange("words", 1.0), 0)
        for title, categories in after.items.select("title", "categories").iter_rows():
            numbers = [int(word[1:]) for word in title.split()]
            assert numbers == sorted(set(numbers))
            assert 8 < len(numbers) < 32
            assert len(categories) == 2  # of one word there is nothing to leave out

    def test_titles_are_made_of_the_items_own_category_and_brand(self):
        dataset = shop(
            brand=["w1", None] * (N_ITEMS // 2), categories=[["w50", "w51"]] * (N_ITEMS - 2) + [None, ["w52 > w53"]]
        )
        titles = with_changed_texts(dataset, TextChange("titles", 1.0), 0).items["title"].to_list()
        assert titles[:2] == ["w51 by w1", "w51"]
        assert titles[-2:] == ["A product by w1", "w53"]

    def test_without_what_a_change_needs_it_is_refused(self):
        bare = shop(brand=None, categories=None)
        assert not can_change(bare, TextChange("titles", 0.5))
        assert can_change(bare, TextChange("words", 0.5))
        with pytest.raises(DataError, match=r"drift, titles-50(.|\n)*a category or brand"):
            with_changed_texts(bare, TextChange("titles", 0.5), 0)
        assert not can_change(shop(title=None, brand=None, categories=None), TextChange("words", 0.5))


def small(encoder: Path) -> list[str]:
    return [
        "threads=1",
        "model.dim=4",
        "model.sequence.optional=false",
        "model.precision=float32",
        f"language.encoder={encoder}",
        "language.device=cpu",
        "language.dtype=float32",
        "training.max_epochs=4",
        "training.temperature=0.2",
        "training.n_negatives=4",
        "evaluation.bootstrap=10",
    ]


@pytest.fixture(scope="module")
def study(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("drift")
    shop(brand=None, categories=None).save(folder / "shop")
    found = run_study(
        folder / "shop",
        "drift",
        folder / "study",
        settings=small(tiny_encoder),
        variants=["original", *(f"words-50-{what}" for what in ("stale", "refreshed", "retrained", "restored"))],
        show_progress=False,
    )
    assert not found.failed
    return folder / "study", found.results


@pytest.mark.slow
class TestStudy:
    def test_trains_two_runs_and_refreshes_each(self, study: tuple[Path, pl.DataFrame]):
        out, results = study
        states = dict(zip(results["state"], (Path(run).name for run in results["run"]), strict=True))
        assert states == {
            "original": "original-s0",
            "stale": "original-s0",
            "refreshed": "words-50-refreshed-s0",
            "retrained": "words-50-s0",
            "restored": "words-50-restored-s0",
        }
        titles = {
            state: pl.read_parquet(out / "runs" / run / "items.parquet")["title"] for state, run in states.items()
        }
        assert titles["refreshed"].equals(titles["retrained"])
        assert titles["restored"].equals(titles["original"])
        assert not titles["refreshed"].equals(titles["original"])
        for start, end in (("original", "refreshed"), ("retrained", "restored")):
            record = json.loads((out / "runs" / states[end] / "refresh.json").read_text())
            assert record[0]["items"] == {"given": N_ITEMS, "new": 0, "texts_changed": N_ITEMS // 2}
            assert not (out / "runs" / states[start] / "refresh.json").exists()

    def test_measures_targets_whose_text_changed_and_the_others(self, study: tuple[Path, pl.DataFrame]):
        out, results = study
        before, after = Dataset.load(out.parent / "shop"), Dataset.load(out / "data" / "words-50-s0")
        touched = changed_items(before, after)
        for row in results.filter(pl.col("state") != "original").iter_rows(named=True):
            run = out / row["run"]
            targets = pl.read_parquet(run / "split.parquet").filter(pl.col("part") == "test")
            per_user = pl.read_parquet(run / "per_user_test.parquet").join(targets, on="user")
            for side, mark in (("changed", touched), ("unchanged", ~touched)):
                here = per_user.filter(pl.Series(mark[per_user["item"].to_numpy()]))
                assert row[f"{side}.n"] == here.height > 0
                assert row[f"{side}.ndcg@10"] == pytest.approx(here["ndcg@10"].mean())
            assert row["test.ndcg@10"] == pytest.approx(per_user["ndcg@10"].mean())
        by_state = {row["state"]: row for row in results.iter_rows(named=True)}
        assert by_state["stale"]["test.ndcg@10"] == by_state["original"]["test.ndcg@10"]
        assert by_state["refreshed"]["valid.ndcg@10"] != by_state["stale"]["valid.ndcg@10"]
        assert by_state["refreshed"]["seconds.refresh"] > 0

    def test_reports_both_directions_and_what_was_left_out(self, study: tuple[Path, pl.DataFrame]):
        report = (study[0] / "report.md").read_text()
        table = [line.split(" | ") for line in report.partition("## Text drift")[2].splitlines() if "50%" in line]
        assert [(line[2], line[3]) for line in table] == [
            (direction, what)
            for direction in ("worse", "restored")
            for what in ("old vectors", "refreshed", "trained again")
        ]
        # What is new in one direction is old in the other.
        assert table[0][4:8] == table[5][4:8]
        assert table[2][4:8] == table[3][4:8]
        assert "recmind refresh" in report

    def test_without_matplotlib_there_is_no_figure_and_the_report_says_so(
        self, study: tuple[Path, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        out = Path(shutil.copytree(study[0], tmp_path / "study"))
        (out / "report.png").unlink(missing_ok=True)
        monkeypatch.delitem(sys.modules, "recmind.studies.report.drawing", raising=False)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        text = write_report(study[1], "drift", out, dataset="shop", failed={}, notes=[])
        assert "install matplotlib" in text
        assert "## Text drift" in text
        assert not (out / "report.png").exists()
        assert "install matplotlib" in (out / "report.html").read_text()

    def test_a_refreshed_run_that_was_lost_is_made_again_alone(
        self, study: tuple[Path, pl.DataFrame], tiny_encoder: Path
    ):
        out, results = study
        shutil.rmtree(out / "runs" / "words-50-refreshed-s0")
        kept = (out / "runs" / "original-s0" / "model.safetensors").stat().st_mtime_ns
        found = run_study(
            out.parent / "shop",
            "drift",
            out,
            settings=small(tiny_encoder),
            variants=["words-50-refreshed", "titles-10-stale"],
            show_progress=False,
        )
        expected = results.filter(pl.col("state") == "refreshed")
        for name in ("test.ndcg@40", "changed.recall@10", "unchanged.n"):
            assert found.results.filter(state="refreshed")[name].to_list() == expected[name].to_list()
        assert (out / "runs" / "original-s0" / "model.safetensors").stat().st_mtime_ns == kept
        assert found.notes == ["Left out: changes of the kind `titles`; no item has what they need."]
