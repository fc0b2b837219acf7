from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmind.data.filtering import NO_TIME, Keys, exact_repeats, filter_keys, k_core, repeated_pairs
from recmind.errors import DataError


def keys(rows: list[tuple], digests: list[int] | None = None) -> Keys:
    """Rows of (user, item, time, rating); equal rows have equal digests unless given."""
    users, items, times, ratings = (list(column) for column in zip(*rows, strict=True))
    return Keys(
        np.array(users, np.uint32),
        np.array(items, np.uint32),
        np.array(times, np.int64),
        np.array(ratings, np.float32),
        np.array(digests if digests is not None else [hash(row) % 2**63 for row in rows], np.uint64),
    )


def test_exact_repeats_keep_the_first_and_ask_for_the_whole_row() -> None:
    rows = [(0, 0, 5, 1.0), (1, 0, 5, 1.0), (0, 0, 5, 1.0), (0, 0, 6, 1.0), (0, 0, 5, 1.0)]
    assert exact_repeats(keys(rows)).tolist() == [False, False, True, False, True]


def test_an_equal_digest_of_another_pair_is_no_repeat() -> None:
    assert not exact_repeats(keys([(0, 0, 5, 1.0), (0, 1, 5, 1.0)], digests=[7, 7])).any()


@pytest.mark.parametrize(("keep", "left"), [("first", [1, 3]), ("last", [2, 3])])
def test_repeated_pairs_keep_one_in_time(keep, left: list[int]) -> None:
    rows = keys([(0, 0, 9, 1.0), (0, 0, 3, 2.0), (0, 0, 9, 3.0), (0, 1, 1, 1.0)])
    mask = repeated_pairs(rows, np.ones(4, dtype=bool), keep)
    assert np.flatnonzero(~mask).tolist() == left


def test_repeats_among_removed_rows_do_not_count() -> None:
    rows = keys([(0, 0, 1, 1.0), (0, 0, 2, 1.0)])
    assert not repeated_pairs(rows, np.array([False, True])).any()


def test_k_core_removes_in_turn() -> None:
    # User 2 has one row; without it item 1 has one; without that user 1 has one; users 0 and item 0 ... fall in turn.
    users = np.array([0, 0, 1, 1, 2, 3, 3, 4, 4])
    items = np.array([0, 2, 0, 1, 1, 5, 6, 5, 6])
    mask, rounds = k_core(users, items, np.ones(9, dtype=bool), 2, 2)
    assert users[mask].tolist() == [3, 3, 4, 4]
    assert rounds > 2


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40, unique=True)


@given(pairs, st.integers(1, 4), st.integers(1, 4))
def test_k_core_equals_removing_one_at_a_time(rows: list[tuple[int, int]], min_user: int, min_item: int) -> None:
    users, items = np.array(rows).T
    mask, _ = k_core(users, items, np.ones(len(rows), dtype=bool), min_user, min_item)
    left = list(rows)
    while True:
        bad = next(
            (
                (u, i)
                for u, i in left
                if sum(v == u for v, _ in left) < min_user or sum(j == i for _, j in left) < min_item
            ),
            None,
        )
        if bad is None:
            break
        left.remove(bad)
    assert [row for row, stays in zip(rows, mask, strict=True) if stays] == left


def test_steps_tell_what_was_removed() -> None:
    rows = [(0, 0, 1, 5.0), (0, 0, 1, 5.0), (0, 1, NO_TIME, 5.0), (0, 2, 2, 1.0), (0, 3, 3, np.nan), (0, 0, 4, 5.0)]
    digests = [1, 1, 2, 3, 4, 5]
    alive, steps = filter_keys(keys(rows, digests), min_rating=3)
    assert np.flatnonzero(alive).tolist() == [0]
    assert [(step.name, step.removed, step.left) for step in steps] == [
        ("exact repeats", 1, 5),
        ("no time, where others have one", 1, 4),
        ("no rating", 1, 3),
        ("rating below 3", 1, 2),
        ("repeated pairs, first kept", 1, 1),
    ]


def test_a_pair_rated_low_first_counts_from_its_good_rating() -> None:
    alive, _ = filter_keys(keys([(0, 0, 1, 1.0), (0, 0, 2, 5.0)]), min_rating=4)
    assert alive.tolist() == [False, True]


def test_no_times_at_all_are_fine() -> None:
    alive, _ = filter_keys(keys([(0, 0, NO_TIME, 1.0), (0, 1, NO_TIME, 1.0)]))
    assert alive.all()


def test_a_rating_threshold_without_ratings() -> None:
    with pytest.raises(DataError, match="no interaction has a rating"):
        filter_keys(keys([(0, 0, 1, np.nan)]), min_rating=3)


def test_nothing_left_says_what_took_it() -> None:
    with pytest.raises(DataError, match=r"(?s)leaves no interaction.*users with fewer than 5.*1 removed"):
        filter_keys(keys([(0, 0, 1, 5.0)]), min_user_interactions=5)
