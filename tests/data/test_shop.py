"""The generated shop: sizes, gaps, structure in both views, raw files."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import sparse

from recmind.data.shop import Shop, ShopConfig, generate_shop, write_raw
from recmind.data.shop.customers import Market, activity
from recmind.data.shop.lexicon import fill, load_lexicon
from recmind.data.shop.tastes import draw_tastes, hidden_utility
from recmind.data.shop.world import build_world

SMALL = ShopConfig(n_users=300, n_items=400, mean_interactions=8)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return generate_shop(SMALL)


@pytest.fixture(scope="module")
def large() -> Shop:
    return generate_shop(ShopConfig())


def _codes(shop: Shop) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the interactions as numbers."""
    users = shop.interactions["user_id"].str.slice(1).cast(pl.Int64).to_numpy()
    return users, shop.interactions["item_id"].str.slice(2).cast(pl.Int64).to_numpy()


# -- Sizes, seeds, time ---------------------------------------------------------------------------


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path):
    first, again, other = (
        [path.read_bytes() for path in write_raw(generate_shop(config), tmp_path / name)]
        for name, config in (("a", SMALL), ("b", SMALL), ("c", SMALL.model_copy(update={"seed": 1})))
    )
    assert first == again
    assert first[0] != other[0] and first[1] != other[1]


@settings(max_examples=15, deadline=None)
@given(
    n_users=st.integers(1, 60),
    n_items=st.integers(80, 300),
    mean=st.floats(5, 10),
    seed=st.integers(0, 5),
)
def test_sizes_are_exact(n_users: int, n_items: int, mean: float, seed: int):
    config = ShopConfig(n_users=n_users, n_items=n_items, mean_interactions=mean, seed=seed)
    made = generate_shop(config)
    assert made.items.height == n_items
    assert made.interactions.height == max(round(n_users * mean), 5 * n_users)
    per_user = made.interactions.group_by("user_id").len()["len"]
    assert len(per_user) == n_users
    assert per_user.to_numpy().min() >= 5
    assert not made.interactions.select("user_id", "item_id").is_duplicated().any()


def test_nothing_is_bought_before_it_came_and_times_increase(shop: Shop):
    joined = shop.interactions.join(shop.items.select("item_id", "added"), on="item_id", how="left")
    assert (joined["timestamp"] < joined["added"]).sum() == 0
    steps = joined.group_by("user_id", maintain_order=True).agg(pl.col("timestamp").diff().min())
    assert steps["timestamp"].to_numpy().min() >= 0


def test_customers_beyond_one_block_differ_from_those_of_the_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recmind.data.shop.shop.CHUNK", 100)
    made = generate_shop(SMALL)
    baskets = made.interactions.group_by("user_id").agg(pl.col("item_id").sort())
    assert made.interactions["user_id"].n_unique() == 300
    assert baskets["item_id"].n_unique() == 300


def test_activity_sums_to_the_total_and_stays_within_bounds():
    config = ShopConfig(n_users=50, n_items=100, mean_interactions=12)
    counts = activity(config)
    assert counts.sum() == 600
    assert counts.min() >= 5 and counts.max() <= config.max_interactions
    assert counts.std() > 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_items": 20}, "too few"),
        ({"mean_interactions": 3.0}, "mean_interactions"),
        ({"share_no_text": 0.6, "share_no_description": 0.6}, "exceed 1"),
        ({"users": 3}, "users"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str):
    with pytest.raises(ValidationError, match=message):
        ShopConfig(**wrong)


# -- Gaps and dirt ----------------------------------------------------------------------------------


def test_new_items_have_no_interaction_and_came_last(shop: Shop):
    bought = set(shop.interactions["item_id"])
    new = shop.items.filter(pl.Series(shop.world.exposure == 0))
    assert new.height == round(0.03 * 400)
    assert not bought & set(new["item_id"])
    assert new["added"].to_numpy().min() > np.quantile(shop.items["added"].to_numpy(), 0.9)


def test_shares_of_missing_texts(shop: Shop):
    items = shop.items
    assert items["title"].null_count() == round(0.04 * 400)
    assert items["description"].null_count() == round(0.08 * 400) + round(0.04 * 400)
    blank = items.filter(pl.col("title").is_null())
    for column in ("categories", "features", "attributes"):
        assert (blank[column].list.len() == 0).all()
    assert blank["brand"].null_count() == blank.height
    html = items["description"].fill_null("").str.contains("<p>").sum() / 400
    assert 0.01 < html < 0.12


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_no_texts(share: float):
    made = generate_shop(SMALL.model_copy(update={"share_no_text": share, "share_no_description": 0.0}))
    assert made.items["title"].null_count() == share * 400
    assert made.items["description"].null_count() == share * 400


def test_no_slot_of_a_template_stays_open(shop: Shop):
    texts = [
        *shop.items["title"].drop_nulls(),
        *shop.items["description"].drop_nulls(),
        *shop.interactions["review_text"],
        *shop.interactions["review_title"],
    ]
    assert shop.interactions["review_text"].null_count() == 0
    assert not [text for text in texts if "{" in text or "}" in text or "null" in text or not text.strip()]


def test_products_of_one_kind_and_theme_share_few_sentences(large: Shop):
    """Wording differs: the same concepts in other sentences."""
    world, described = large.world, large.items["description"].to_list()
    overlaps = []
    for pair in (world.kind * 100 + world.theme)[:400]:
        twins = [described[i] for i in np.flatnonzero(world.kind * 100 + world.theme == pair) if described[i]][:2]
        if len(twins) == 2:
            one, two = (set(re.split(r"(?<=\.) ", text)) for text in twins)
            overlaps.append(len(one & two) / len(one | two))
    assert len(overlaps) > 100
    assert np.mean(overlaps) < 0.25


# -- Structure ----------------------------------------------------------------------------------------


def _gini(counts: np.ndarray) -> float:
    ordered = np.sort(counts)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def test_gini_by_hand():
    assert _gini(np.array([1, 1, 1])) == pytest.approx(0)
    assert _gini(np.array([0, 0, 3])) == pytest.approx(2 / 3)


def test_popularity_is_skewed_with_a_long_tail(large: Shop):
    degrees = np.bincount(_codes(large)[1], minlength=large.items.height)
    assert _gini(degrees) > 0.4
    assert degrees.max() > 5 * degrees.mean()
    assert (degrees <= 5).mean() > 0.1


def test_ratings_lean_to_five_stars_and_follow_satisfaction(large: Shop):
    config = large.config
    ratings = large.interactions["rating"].to_numpy()
    assert set(np.unique(ratings)) == {1, 2, 3, 4, 5}
    assert 0.4 < (ratings == 5).mean() < 0.6
    satisfaction = Market(config, large.world).simulate(activity(config), 0).satisfaction
    assert np.corrcoef(satisfaction, ratings)[0, 1] > 0.4


def _popularity(bought: Any) -> np.ndarray:
    return np.tile(bought.sum(0), (bought.shape[0], 1)).astype(float)


def _item_knn(bought: Any) -> np.ndarray:
    both = (bought.T @ bought).toarray()
    np.fill_diagonal(both, 0)
    degree = bought.sum(0) + 5
    return bought @ (both / np.sqrt(np.outer(degree, degree)))


def _text_knn(bought: Any, items: pl.DataFrame) -> np.ndarray:
    """Mean TF-IDF cosine to the products of the history."""
    parts = [pl.col(c).fill_null("") for c in ("title", "brand", "description")]
    lists = [pl.col(c).list.join(" ") for c in ("categories", "attributes")]
    texts = items.select(pl.concat_str(*parts, *lists, separator=" ").str.to_lowercase()).to_series()
    words = [set(re.findall(r"[a-z]+", text)) for text in texts]
    counts = Counter(word for row in words for word in row)
    column = {word: number for number, word in enumerate(counts)}
    rows = [number for number, row in enumerate(words) for _ in row]
    columns = [column[word] for row in words for word in row]
    weights = [np.log(len(words) / counts[word]) for row in words for word in row]
    table: Any = sparse.csr_array((weights, (rows, columns)), shape=(len(words), len(column)))
    lengths = np.sqrt(table.multiply(table).sum(1))
    table = sparse.diags_array(1 / np.maximum(lengths, 1e-9)) @ table
    return bought @ (table @ table.T).toarray()


def _z(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(1, keepdims=True)) / (scores.std(1, keepdims=True) + 1e-9)


def test_both_views_tell_something_and_together_more(large: Shop):
    users, items = _codes(large)
    shape = (large.config.n_users, large.config.n_items)
    from_end = np.cumsum(np.bincount(users))[users] - 1 - np.arange(len(users))
    train, test = from_end > 0, from_end == 0
    bought = sparse.csr_array((np.ones(train.sum()), (users[train], items[train])), shape=shape)
    target, noise = items[test], 1e-9 * np.random.default_rng(0).random(shape)

    def hits(scores: np.ndarray) -> np.ndarray:
        scores = scores + noise
        scores[users[train], items[train]] = -np.inf
        return (scores > scores[np.arange(shape[0]), target][:, None]).sum(1) < 40

    graph, text = _item_knn(bought), _text_knn(bought, large.items)
    recall = {
        "popularity": hits(_popularity(bought)),
        "graph": hits(graph),
        "text": hits(text),
        "both": hits(_z(graph) + _z(text)),
    }
    mean = {name: values.mean() for name, values in recall.items()}
    assert mean["graph"] > 1.3 * mean["popularity"]
    assert mean["text"] > 1.1 * mean["popularity"]
    assert mean["both"] > 1.08 * max(mean["graph"], mean["text"])
    rare = bought.sum(0)[target] <= 3
    assert rare.sum() > 50
    assert recall["text"][rare].mean() > 3 * recall["graph"][rare].mean()


def test_the_hidden_taste_is_in_no_text():
    """The look of a product is independent of everything that is written about it."""
    config = ShopConfig(n_users=10, n_items=20_000)
    world = build_world(config)
    tastes = draw_tastes(world, 50, np.random.default_rng(0))
    liking = hidden_utility(world, tastes, np.arange(50)[:, None], np.arange(config.n_items))  # (50, n_items)
    for told in (world.theme, world.department, world.purpose, world.facet):
        # Share of the variance between the groups of one concept; 0 in expectation.
        groups = np.stack([liking[:, told == code].mean(1) for code in np.unique(told)], axis=1)
        assert (groups.var(1) / liking.var(1)).mean() < 0.01


def test_without_taste_only_kind_and_popularity_are_left():
    keen = ShopConfig()
    blind = keen.model_copy(update={"visible_taste": 0.0, "hidden_taste": 0.0})
    world, counts = build_world(keen), activity(keen)
    # v + w has mean 0 and standard deviation √2 over all pairs of customers and products.
    assert abs(Market(blind, world).simulate(counts, 0).satisfaction.mean()) < 0.2
    assert Market(keen, world).simulate(counts, 0).satisfaction.mean() > 1.0


def test_departments_sell_more_in_their_season(large: Shop):
    months = large.interactions.select(
        pl.from_epoch("timestamp").dt.month().alias("month"), pl.col("item_id").str.slice(2).cast(pl.Int64)
    )
    garden = large.world.department[months["item_id"].to_numpy()] == load_lexicon().departments.index("Garden")
    share = [garden[(months["month"] == month).to_numpy()].mean() for month in range(1, 13)]
    assert np.mean(share[2:6]) > 1.4 * np.mean(share[7:12])


# -- Words ----------------------------------------------------------------------------------------------


def test_fill_replaces_names_row_by_row():
    columns = pl.DataFrame({"a": ["x", "y", "z"], "b": ["1", "2", "3"]})
    filled = fill(["{b} of {a}", "plain"], np.array([1, 0, -1]), columns)
    assert filled.to_list() == ["plain", "2 of y", None]


def test_every_concept_of_the_lexicon_has_several_wordings():
    for name, words in load_lexicon().words.items():
        assert words.lengths.min() >= 3, name
        assert words.flat.n_unique() == len(words.flat) or name in ("nouns", "sizes"), name


# -- Raw files --------------------------------------------------------------------------------------------

REVIEW_FIELDS = {
    "rating": float, "title": str, "text": str, "images": list, "asin": str, "parent_asin": str, "user_id": str,
    "timestamp": int, "helpful_vote": int, "verified_purchase": bool,
}  # fmt: skip
META_FIELDS = {
    "main_category": (str, type(None)), "title": str, "average_rating": (float, type(None)), "rating_number": int,
    "features": list, "description": list, "price": (float, type(None)), "images": list, "videos": list,
    "store": (str, type(None)), "categories": list, "details": dict, "parent_asin": str, "bought_together": type(None),
}  # fmt: skip


def _rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def test_raw_files_have_the_published_fields(shop: Shop, tmp_path: Path):
    paths = write_raw(shop, tmp_path)
    for path, fields in ((paths.reviews, REVIEW_FIELDS), (paths.meta, META_FIELDS)):
        for row in _rows(path):
            assert row.keys() == fields.keys()
            wrong = {name: value for name, value in row.items() if not isinstance(value, fields[name])}
            assert not wrong


def test_raw_files_hold_the_shop(shop: Shop, tmp_path: Path):
    paths = write_raw(shop, tmp_path)
    reviews, meta = _rows(paths.reviews), _rows(paths.meta)
    n = shop.interactions.height
    assert len(reviews) == n + round(0.005 * n)
    pairs = {(row["user_id"], row["parent_asin"], row["timestamp"] // 1000) for row in reviews}
    assert pairs == set(shop.interactions.select("user_id", "item_id", "timestamp").iter_rows())
    assert [row["parent_asin"] for row in meta] == shop.items["item_id"].to_list()
    assert sum(row["title"] == "" for row in meta) == shop.items["title"].null_count()
    assert sum(row["rating_number"] for row in meta) == n


def test_the_reader_of_the_published_format_reads_it(shop: Shop, tmp_path: Path):
    from recmind.data.dataset import Dataset
    from recmind.data.prepare import prepare

    paths = write_raw(shop, tmp_path / "raw")
    prepare("amazon-2023", list(paths), tmp_path / "dataset", show_progress=False)
    dataset = Dataset.load(tmp_path / "dataset")
    assert dataset.n_interactions == shop.interactions.height
    assert dataset.n_items == shop.items.height
    assert dataset.items["description"].str.contains("<p>|&#39;|&nbsp;").sum() == 0
    titles = dict(dataset.items.select("item_id", "title").iter_rows())
    assert titles == dict(shop.items.select("item_id", "title").iter_rows())
