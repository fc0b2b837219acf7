from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import HISTORY_LENGTHS, WHOLE, kept_histories, split_dataset
from recmind.errors import DataError

KINDS = ["leave-one-out", "temporal", "ratio", "cold-items", "cold-and-warm", "valid-only"]
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


@given(pairs, st.integers(0, 5))
def test_cold_and_warm_holds_out_the_last_two_of_what_cold_items_leaves(rows, seed) -> None:
    dataset = make(rows)
    shares = {"seed": seed, "valid_fraction": 0.2, "test_fraction": 0.3}
    cold = split_or_skip(dataset, SplitConfig(kind="cold-items", **shares))
    split = split_or_skip(dataset, SplitConfig(kind="cold-and-warm", **shares))
    assert set(cold.test.rows) <= set(split.test.rows)
    assert set(cold.valid.rows) <= set(split.valid.rows)
    warm: dict[int, list[int]] = {}
    for user, row in zip(cold.train.users.tolist(), cold.train.rows.tolist(), strict=True):
        warm.setdefault(user, []).append(row)
    long = {user: held for user, held in warm.items() if len(held) >= 3}
    for part, known, at in ((split.test, cold.test, -1), (split.valid, cold.valid, -2)):
        assert set(part.rows) - set(known.rows) == {held[at] for held in long.values()}
    left = [row for user, held in warm.items() for row in (held[:-2] if user in long else held)]
    assert split.train.rows.tolist() == sorted(left)


def test_cold_and_warm_by_hand() -> None:
    # Of 5 items one is tested and one validates: a seed that draws 4 and 2.
    seed = next(seed for seed in range(1000) if np.random.default_rng(seed).permutation(5)[:2].tolist() == [4, 2])
    rows = [(0, 0), (0, 4), (0, 1), (0, 3), (1, 2), (1, 0), (1, 4)]
    events = {"user_id": [f"u{u}" for u, _ in rows], "item_id": [f"i{i}" for _, i in rows], "timestamp": range(7)}
    dataset = Dataset.from_frames(pl.DataFrame(events))
    config = SplitConfig(kind="cold-and-warm", valid_fraction=0.2, test_fraction=0.2, seed=seed)
    split = split_dataset(dataset, config)
    pairs_of = {
        name: list(zip(split.part(name).users.tolist(), split.part(name).items.tolist(), strict=True))
        for name in ("train", "valid", "test")
    }
    # Of user 0's warm items 0, 1, 3 the last two; user 1 has one warm item, too few to hold any out.
    assert pairs_of == {"train": [(0, 0), (1, 0)], "valid": [(0, 1), (1, 2)], "test": [(0, 4), (0, 3), (1, 4)]}


def long_and_short() -> Dataset:
    """40 users with 3 to 12 interactions."""
    return make([(user, item) for user in range(40) for item in range(3 + user % 10)])


def test_short_histories_keep_the_last_and_hold_out_what_leave_one_out_does() -> None:
    dataset = long_and_short()
    config = SplitConfig(kind="short-histories", seed=3)
    whole, cut = split_dataset(dataset, SplitConfig()), split_dataset(dataset, config)
    kept = kept_histories(dataset, config)
    for part in ("valid", "test"):
        assert cut.part(part).rows.tolist() == whole.part(part).rows.tolist()
    for user in range(dataset.n_users):
        before = whole.train.rows[whole.train.users == user].tolist()
        after = cut.train.rows[cut.train.users == user].tolist()
        assert after == (before if kept[user] in (-1, WHOLE) else before[-kept[user] :])
    n_cut, n_users = len(whole.train) - len(cut.train), int(np.isin(kept, HISTORY_LENGTHS).sum())
    assert cut.notes == (f"{n_cut} training interactions of {n_users} users whose histories are cut",)


def test_short_histories_are_drawn_from_long_ones_in_groups_of_one_size() -> None:
    dataset = long_and_short()
    kept = kept_histories(dataset, SplitConfig(kind="short-histories"))
    counts = np.bincount(dataset.user_codes)
    assert counts[kept > 0].min() == 7  # 5 to train on and 2 held out
    # 4 of 10 users are too short; of the 24 others half is drawn, and 12 in five groups are 3, 3, 2, 2, 2.
    sizes = [int((kept == length).sum()) for length in (*HISTORY_LENGTHS, WHOLE)]
    assert sizes == [3, 3, 2, 2, 2]
    again, other = (kept_histories(dataset, SplitConfig(kind="short-histories", seed=seed)) for seed in (0, 1))
    assert (again == kept).all()
    assert (other != kept).any()


def test_short_histories_need_long_ones() -> None:
    with pytest.raises(DataError, match=r"long enough to be cut(.|\n)*7 interactions or more"):
        split_dataset(make([(0, item) for item in range(6)]), SplitConfig(kind="short-histories"))


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


@given(pairs, st.sampled_from(KINDS), st.sampled_from([("valid",), ("test",), ("valid", "test"), ("test", "valid")]))
def test_what_has_become_known_is_behind_what_was(rows, kind, names) -> None:
    split = split_or_skip(make(rows), SplitConfig(kind=kind, valid_fraction=0.2, test_fraction=0.2))
    known = split.knowing(*names)
    parts = [split.train, *(split.part(name) for name in names)]
    for user in range(split.n_users):
        expected = [(part.items[part.users == user], part.rows[part.users == user]) for part in parts]
        own = known.train.users == user
        assert known.train.items[own].tolist() == [item for items, _ in expected for item in items]
        assert known.train.rows[own].tolist() == [row for _, rows in expected for row in rows]
    assert (np.diff(known.train.users) >= 0).all()
    for name in ("valid", "test"):
        assert len(known.part(name)) == (0 if name in names else len(split.part(name)))
    assert known.knowing(*names) is known


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


@pytest.mark.parametrize("kind", [*KINDS, "short-histories"])
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
    # Where what is held out is a set of items, the other item comes from the same set.
    cold = split_dataset(before, config.model_copy(update={"kind": "cold-items"}))
    drawn = np.zeros(60, dtype=int)
    drawn[cold.valid.items], drawn[cold.test.items] = 1, 2
    taken = {user: set(before.item_codes[before.user_codes == user].tolist()) for user in range(30)}
    new_items, times = before.item_codes.copy(), before.interactions["timestamp"].to_numpy().copy()
    for row in held.tolist():
        user = int(before.user_codes[row])
        same = drawn == drawn[before.item_codes[row]]
        choices = np.flatnonzero(same) if kind.startswith("cold") else np.arange(60)
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
