from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmind.data import ordering

users = st.lists(st.integers(0, 5), min_size=1, max_size=50)
# Numbers over the whole range of each type, and few enough of them that some are equal.
CLOCKS = {
    pl.Int64: st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
    pl.UInt64: st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 3)),
    pl.Int8: st.integers(-128, 127),
    pl.Float64: st.floats(allow_nan=False),
    pl.Float32: st.floats(allow_nan=False, width=32),
}


@given(users, st.sampled_from(list(CLOCKS)), st.data())
def test_rows_by_user_then_time_then_as_they_come(codes: list[int], dtype, data: st.DataObject) -> None:
    times = data.draw(st.lists(CLOCKS[dtype], min_size=len(codes), max_size=len(codes)))
    expected = sorted(range(len(codes)), key=lambda row: (codes[row], times[row]))
    order = ordering.by_user_and_time(np.array(codes, dtype=np.int32), pl.Series(times, dtype=dtype), 6)
    assert (list(range(len(codes))) if order is None else order.tolist()) == expected
    assert (order is None) == (expected == list(range(len(codes))))


@given(users)
def test_without_times_rows_keep_their_order_within_a_user(codes: list[int]) -> None:
    order = ordering.by_user_and_time(np.array(codes, dtype=np.int32), None, 6)
    expected = sorted(range(len(codes)), key=lambda row: codes[row])
    assert (list(range(len(codes))) if order is None else order.tolist()) == expected


@pytest.mark.parametrize(
    "times", [[dt.datetime(2020, 1, 1, microsecond=m) for m in (5, 4)], [dt.date(2020, 1, d) for d in (2, 1)]]
)
def test_dates(times: list) -> None:
    order = ordering.by_user_and_time(np.zeros(2, dtype=np.int32), pl.Series(times), 1)
    assert order is not None
    assert order.tolist() == [1, 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_repeats_are_all_but_the_first_of_equal_pairs(pairs: list[tuple[int, int]]) -> None:
    pairs = sorted(pairs, key=lambda pair: pair[0])
    codes = np.array(pairs, dtype=np.int32)
    # Two items more than occur, one of them in the middle.
    found = ordering.later_repeats(codes[:, 0].copy(), codes[:, 1] * 2, 11)
    assert sorted(found.tolist()) == [row for row, pair in enumerate(pairs) if pair in pairs[:row]]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 7))
def test_counts_in_blocks_are_the_counts(codes: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "_BLOCK", block)
        counts = ordering.counts_of(np.array(codes, dtype=np.int32), 10)
    assert counts.tolist() == [codes.count(code) for code in range(10)]


def test_counting_order_of_nothing() -> None:
    starts, order = ordering.counting_order(np.zeros(0, dtype=np.int32), 3)
    assert (starts.tolist(), len(order)) == ([0, 0, 0, 0], 0)


def test_positions_need_64_bits_only_from_2_to_the_31_on() -> None:
    assert (ordering.index_type(2**31 - 1), ordering.index_type(2**31)) == (np.int32, np.int64)
