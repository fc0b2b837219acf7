from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.errors import DataError

KINDS = ["leave-one-out", "temporal", "ratio", "cold-items", "valid-only"]
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=8, max_size=60, unique=True)


def make(rows: list[tuple[int, int]]) -> Dataset:
    users, items = zip(*rows, strict=True)
    events = {
        "user_id": [f"u{u}" for u in users],
        "item_id": [f"i{i:02d}" for i in items],
        "timestamp": range(len(rows)),
    }
    return Dataset.from_frames(pl.DataFrame(events), pl.DataFrame({"item_id": [f"i{i:02d}" for i in range(13)]}))


def split_or_skip(dataset: Dataset, config: SplitConfig):
    try:
        return split_dataset(dataset, config)
    except DataError as error:
        assume("leaves no training" not in str(error))
        raise


@given(pairs, st.sampled_from(KINDS), st.integers(0, 3))
def test_each_row_is_in_at_most_one_part_and_missing_ones_are_told(rows, kind, seed) -> None:
    dataset = make(rows)
    split = split_or_skip(dataset, SplitConfig(kind=kind, seed=seed, valid_fraction=0.2, test_fraction=0.2))
    used = np.concatenate([split.train.rows, split.valid.rows, split.test.rows])
    assert len(np.unique(used)) == len(used)
    missing = np.setdiff1d(np.arange(dataset.n_interactions), used)
    # Only held-out rows of users that have no training row are dropped, and a note says so.
    assert not np.isin(dataset.user_codes[missing], split.train.users).any()
    assert bool(len(missing)) == bool(split.notes)
    for part in (split.train, split.valid, split.test):
        assert (dataset.user_codes[part.rows] == part.users).all()
        assert (dataset.item_codes[part.rows] == part.items).all()
    assert split.item_degrees().sum() == split.user_degrees().sum() == len(split.train)


@given(pairs)
def test_leave_one_out_holds_out_the_last_two_of_users_with_three(rows) -> None:
    dataset = make(rows)
    split = split_or_skip(dataset, SplitConfig())
    last = {}
    for row, user in enumerate(dataset.user_codes.tolist()):
        last.setdefault(user, []).append(row)
    long = {user: held for user, held in last.items() if len(held) >= 3}
    assert dict(zip(split.test.users.tolist(), split.test.rows.tolist(), strict=True)) == {
        user: held[-1] for user, held in long.items()
    }
    assert dict(zip(split.valid.users.tolist(), split.valid.rows.tolist(), strict=True)) == {
        user: held[-2] for user, held in long.items()
    }


@given(pairs, st.integers(0, 5))
def test_cold_items_have_no_training_edge(rows, seed) -> None:
    split = split_or_skip(make(rows), SplitConfig(kind="cold-items", seed=seed, valid_fraction=0.2, test_fraction=0.3))
    degrees = split.item_degrees()
    assert (degrees[split.test.items] == 0).all()
    assert (degrees[split.valid.items] == 0).all()
    assert not np.isin(split.test.items, split.valid.items).any()


@given(pairs)
def test_temporal_parts_follow_each_other(rows) -> None:
    dataset = make(rows)
    split = split_or_skip(dataset, SplitConfig(kind="temporal", valid_fraction=0.2, test_fraction=0.2))
    times = dataset.interactions["timestamp"].to_numpy()
    for before, after in ((split.train, split.valid), (split.train, split.test), (split.valid, split.test)):
        if len(before) and len(after):
            assert times[before.rows].max() < times[after.rows].min()


def test_ratio_counts_per_user() -> None:
    dataset = make([(user, item) for user in range(3) for item in range(10)])
    split = split_dataset(dataset, SplitConfig(kind="ratio", valid_fraction=0.3, test_fraction=0.2))
    for part, n in ((split.train, 5), (split.valid, 3), (split.test, 2)):
        assert np.bincount(part.users).tolist() == [n, n, n]
    other = split_dataset(dataset, SplitConfig(kind="ratio", valid_fraction=0.3, test_fraction=0.2, seed=1))
    assert split.test.rows.tolist() != other.test.rows.tolist()


def test_ratio_holds_out_from_users_with_few_interactions_too() -> None:
    dataset = make([(user, item) for user in range(2000) for item in range(4)])
    split = split_dataset(dataset, SplitConfig(kind="ratio", valid_fraction=0.1, test_fraction=0.1))
    # 0.4 of 4 on average: within five standard deviations of a coin with that chance.
    for part in (split.valid, split.test):
        assert abs(len(part) - 2000 * 0.4) < 5 * np.sqrt(2000 * 0.4 * 0.6)
    assert np.bincount(split.train.users, minlength=2000).min() >= 1


def test_valid_only_trains_on_all_but_the_last() -> None:
    split = split_dataset(make([(0, 0), (0, 1), (0, 2), (1, 5)]), SplitConfig(kind="valid-only"))
    assert (split.train.rows.tolist(), split.valid.rows.tolist(), len(split.test)) == ([0, 1, 3], [2], 0)


@pytest.mark.parametrize("rows", [[(0, 0)], [(0, 0), (0, 1)]])
def test_short_users_only_train(rows) -> None:
    split = split_dataset(make(rows), SplitConfig())
    assert (len(split.train), len(split.valid), len(split.test)) == (len(rows), 0, 0)


def test_temporal_without_times() -> None:
    dataset = Dataset.from_frames(pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}))
    with pytest.raises(DataError, match="needs timestamps"):
        split_dataset(dataset, SplitConfig(kind="temporal"))


def test_nothing_to_train_on() -> None:
    dataset = Dataset.from_frames(pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "a"], "timestamp": [5, 5]}))
    with pytest.raises(DataError, match="leaves no training interaction"):
        split_dataset(dataset, SplitConfig(kind="temporal"))


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_rows_do_not_reach_the_training_part(kind: str) -> None:
    """Every held-out row gets another item, review, rating and time; the training part stays as it was."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(30), 12)
    items = np.concatenate([rng.choice(60, 12, replace=False) for _ in range(30)])
    events = pl.DataFrame(
        {
            "user_id": [f"u{u:02d}" for u in users],
            "item_id": [f"i{i:02d}" for i in items],
            "timestamp": 1000 * rng.permutation(len(users)),
            "rating": rng.integers(1, 6, len(users)).astype(float),
            "review_text": [f"text {n}" for n in range(len(users))],
        }
    ).sort("user_id", "timestamp")
    catalogue = pl.DataFrame({"item_id": [f"i{i:02d}" for i in range(60)]})
    config = SplitConfig(kind=kind, valid_fraction=0.2, test_fraction=0.2)
    before = Dataset.from_frames(events, catalogue)
    split = split_dataset(before, config)
    held = np.concatenate([split.valid.rows, split.test.rows])
    assert len(held)
    # Under cold-items what is held out is a set of items, so the other item comes from the same part.
    pool = {row: before.item_codes[part.rows] for part in (split.valid, split.test) for row in part.rows}
    taken = {user: set(before.item_codes[before.user_codes == user].tolist()) for user in range(30)}
    new_items, times = before.item_codes.copy(), before.interactions["timestamp"].to_numpy().copy()
    for row in held.tolist():
        user = int(before.user_codes[row])
        choices = np.unique(pool[row]) if kind == "cold-items" else np.arange(60)
        free = [int(item) for item in choices if int(item) not in taken[user]]
        if free:
            new_items[row] = free[0]
            taken[user].add(free[0])
        times[row] += 1
    is_held = np.isin(np.arange(before.n_interactions), held)
    changed = events.with_columns(
        pl.Series("item_id", [f"i{i:02d}" for i in new_items]),
        pl.Series("timestamp", times),
        pl.Series("rating", np.where(is_held, 6 - events["rating"].to_numpy(), events["rating"].to_numpy())),
        pl.when(pl.Series(is_held)).then(pl.lit("SECRET")).otherwise("review_text").alias("review_text"),
    )
    assert (new_items != before.item_codes)[held].mean() > 0.5
    after = Dataset.from_frames(changed, catalogue)
    again = split_dataset(after, config)
    assert again.train.rows.tolist() == split.train.rows.tolist()
    assert after.interactions[again.train.rows].equals(before.interactions[split.train.rows])
    assert again.item_degrees().tolist() == split.item_degrees().tolist()
    assert "SECRET" not in after.interactions[again.train.rows]["review_text"].to_list()
    assert set(after.interactions[np.concatenate([again.valid.rows, again.test.rows])]["review_text"]) == {"SECRET"}
