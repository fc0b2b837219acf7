from math import log2

import numpy as np
import pytest

from recmind.evaluation.catalogue import (
    average_popularity,
    catalogue_metrics,
    coverage,
    gini,
    long_tail_share,
    novelty,
)

LISTS = np.array([[0, 1], [0, 2], [0, -1]])


def test_coverage():
    assert coverage(LISTS, n_items=6) == 3 / 6


def test_novelty_weighs_every_list_alike_and_takes_an_unknown_item_as_known_to_one():
    degrees = np.array([4, 2, 0])
    expected = ((log2(8 / 4) + log2(8 / 2)) / 2 + (log2(8 / 4) + log2(8 / 1)) / 2 + log2(8 / 4)) / 3
    assert novelty(LISTS, degrees, n_trained_users=8) == pytest.approx(expected)


def test_gini_by_pairwise_differences():
    counts = [3, 1, 1, 0, 0]
    expected = sum(abs(a - b) for a in counts for b in counts) / (2 * len(counts) * sum(counts))
    assert gini(LISTS, n_items=5) == pytest.approx(expected)


def test_gini_of_an_even_spread_is_0_and_of_one_item_1_minus_1_over_n():
    assert gini(np.array([[0, 1], [2, 3]]), n_items=4) == 0.0
    assert gini(np.array([[2], [2]]), n_items=10) == pytest.approx(1 - 1 / 10)


def test_average_popularity():
    assert average_popularity(LISTS, np.array([9, 3, 1])) == pytest.approx(((9 + 3) / 2 + (9 + 1) / 2 + 9) / 3)


class TestLongTail:
    def test_the_head_holds_80_percent(self):
        # 50 + 30 of 100: the first two are the head.
        assert long_tail_share(LISTS, np.array([50, 30, 15, 5])) == pytest.approx((0 + 1 / 2 + 0) / 3)

    def test_items_as_popular_as_the_last_of_the_head_belong_to_it(self):
        assert long_tail_share(LISTS, np.array([40, 30, 30])) == 0.0

    def test_items_without_training_are_tail(self):
        assert long_tail_share(np.array([[1, 2]]), np.array([10, 0, 0])) == 1.0


def test_lists_without_a_single_item_give_zeros():
    values = catalogue_metrics(np.full((3, 2), -1), np.array([5, 1]), 3, 2)
    assert values == dict.fromkeys(
        ["coverage@2", "novelty@2", "gini@2", "average_popularity@2", "long_tail_share@2"], 0.0
    )
