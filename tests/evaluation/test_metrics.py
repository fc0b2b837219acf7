import itertools
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.evaluation.metrics import (
    ACCURACY,
    Ranks,
    average_precision,
    discounted_gain,
    hit_probability,
    hit_rate,
    mrr,
    ndcg,
    recall,
)


def one_user(above, tied=None):
    """One user whose targets have these counts."""
    tied = [1] * len(above) if tied is None else tied
    return Ranks(np.zeros(len(above), dtype=np.int64), np.array(above), np.array(tied), 1)


def by_permutation(level_sizes, targets_in_level, k):
    """Mean of every metric over all orders within tied levels: the definition, without any shortcut.

    ``level_sizes`` items share each score, from the highest score down, and
    ``targets_in_level`` of them are targets.
    """
    n_targets = sum(targets_in_level)
    per_level = []
    for size, n in zip(level_sizes, targets_in_level, strict=True):
        # Which places of the level hold its targets: every subset is equally likely.
        per_level.append([set(places) for places in itertools.combinations(range(size), n)])
    starts = np.cumsum([0, *level_sizes[:-1]])
    totals = dict.fromkeys(ACCURACY, 0.0)
    cases = list(itertools.product(*per_level))
    for case in cases:
        ranks = sorted(int(start) + place + 1 for start, places in zip(starts, case, strict=True) for place in places)
        hits = [r for r in ranks if r <= k]
        totals["recall"] += len(hits) / n_targets
        totals["hit_rate"] += bool(hits)
        totals["mrr"] += 1 / hits[0] if hits else 0
        totals["map"] += sum((i + 1) / r for i, r in enumerate(hits)) / n_targets
        totals["ndcg"] += sum(1 / log2(r + 1) for r in hits) / sum(
            1 / log2(r + 1) for r in range(1, min(k, n_targets) + 1)
        )
    return {name: total / len(cases) for name, total in totals.items()}


class TestByHand:
    def test_recall(self):
        assert recall(one_user([0, 5, 7]), 6).tolist() == [2 / 3]
        assert recall(one_user([0, 5, 7]), 5).tolist() == [1 / 3]

    def test_recall_divides_by_all_targets_even_beyond_k(self):
        assert recall(one_user([0, 1, 2]), 2).tolist() == [2 / 3]

    def test_ndcg(self):
        expected = (1 / log2(2) + 1 / log2(5)) / (1 / log2(2) + 1 / log2(3))
        assert ndcg(one_user([0, 3]), 10)[0] == pytest.approx(expected, rel=1e-12)

    def test_ndcg_cuts_the_ideal_list_at_k(self):
        assert ndcg(one_user([0, 1, 2]), 2)[0] == pytest.approx(1.0, rel=1e-12)

    def test_hit_rate(self):
        assert hit_rate(one_user([4, 9]), 5).tolist() == [1.0]
        assert hit_rate(one_user([5, 9]), 5).tolist() == [0.0]

    def test_mrr_takes_the_first_target(self):
        assert mrr(one_user([7, 2]), 5).tolist() == [1 / 3]

    def test_average_precision(self):
        expected = (1 / 2 + 2 / 3 + 3 / 6) / 4  # the fourth target stands outside
        assert average_precision(one_user([1, 2, 5, 10]), 10)[0] == pytest.approx(expected, rel=1e-12)

    def test_users_are_kept_apart(self):
        ranks = Ranks(np.array([0, 1, 1, 2]), np.array([0, 50, 3, 50]), np.array([1, 1, 1, 1]), 3)
        assert recall(ranks, 10).tolist() == [1.0, 0.5, 0.0]
        assert mrr(ranks, 10).tolist() == [1.0, 1 / 4, 0.0]
        assert hit_rate(ranks, 10).tolist() == [1.0, 1.0, 0.0]


class TestTies:
    def test_one_target_across_the_cutoff(self):
        """On one of the positions 2..5 with the same probability, K = 3."""
        ranks = one_user([1], [4])
        assert recall(ranks, 3).tolist() == [2 / 4]
        assert hit_rate(ranks, 3)[0] == pytest.approx(2 / 4)
        assert mrr(ranks, 3)[0] == pytest.approx((1 / 2 + 1 / 3) / 4)
        assert ndcg(ranks, 3)[0] == pytest.approx((1 / log2(3) + 1 / log2(4)) / 4)
        assert average_precision(ranks, 3)[0] == pytest.approx((1 / 2 + 1 / 3) / 4)

    @pytest.mark.parametrize("name", ["recall", "hit_rate"])
    def test_a_constant_scorer_gets_what_chance_gives(self, name):
        assert ACCURACY[name](one_user([0], [500]), 20)[0] == pytest.approx(20 / 500, rel=1e-12)

    @given(
        levels=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=4).filter(
            lambda levels: any(min(n, size) for size, n in levels)
        ),
        k=st.integers(1, 12),
    )
    @settings(max_examples=200, deadline=None)
    def test_equals_the_mean_over_all_orders_of_tied_items(self, levels, k):
        sizes = [size for size, _ in levels]
        targets = [min(n, size) for size, n in levels]
        starts = np.cumsum([0, *sizes[:-1]])
        ranks = one_user(np.repeat(starts, targets), np.repeat(sizes, targets))
        for name, expected in by_permutation(sizes, targets, k).items():
            assert ACCURACY[name](ranks, k)[0] == pytest.approx(expected, rel=1e-9, abs=1e-12), name


class TestProperties:
    counts = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=20, unique=True)

    @given(counts=counts, k=st.integers(1, 50))
    def test_a_metric_is_between_0_and_1_and_order_of_targets_does_not_matter(self, counts, k):
        owner, above = np.array(sorted(counts)).T
        users, owner = np.unique(owner, return_inverse=True)
        ranks = Ranks(owner, above, np.ones_like(above), len(users))
        backwards = np.lexsort((-above, owner))
        mirrored = Ranks(owner[backwards], above[backwards], np.ones_like(above), len(users))
        for name, metric in ACCURACY.items():
            values = metric(ranks, k)
            assert (values >= 0).all(), name
            assert (values <= 1 + 1e-12).all(), name
            np.testing.assert_allclose(metric(mirrored, k), values, rtol=1e-12)

    @given(above=st.integers(1, 60), tied=st.integers(1, 30), k=st.integers(1, 50))
    def test_a_better_place_or_a_longer_list_is_never_worse(self, above, tied, k):
        for name, metric in ACCURACY.items():
            value = metric(one_user([above], [tied]), k)[0]
            assert metric(one_user([above - 1], [tied]), k)[0] >= value - 1e-12, name
            assert metric(one_user([above], [tied]), k + 1)[0] >= value - 1e-12, name

    @given(above=st.integers(0, 60), tied=st.integers(1, 30), k=st.integers(1, 50))
    def test_with_one_target_the_metrics_agree_with_their_per_target_form(self, above, tied, k):
        ranks = one_user([above], [tied])
        assert recall(ranks, k) == hit_probability(ranks, k)
        assert hit_rate(ranks, k)[0] == pytest.approx(recall(ranks, k)[0], abs=1e-12)
        assert ndcg(ranks, k) == pytest.approx(discounted_gain(ranks, k))
        assert mrr(ranks, k)[0] == pytest.approx(average_precision(ranks, k)[0], abs=1e-12)
