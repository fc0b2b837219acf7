from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recmind.errors import DataError
from recmind.evaluation.significance import (
    bootstrap_intervals,
    compare,
    compare_runs,
    holm,
    paired_bootstrap,
    relative_gain,
    wilcoxon,
)


def frame(values, users=None):
    users = range(len(values)) if users is None else users
    return pl.DataFrame({"user": users, "ndcg@20": values}, schema_overrides={"user": pl.Int32})


class TestHolm:
    def test_by_hand(self):
        assert holm([0.04, 0.01, 0.03]) == pytest.approx([max(0.01 * 3, 0.03 * 2, 0.04), 0.01 * 3, 0.03 * 2])

    def test_never_above_1_and_nothing_from_nothing(self):
        assert holm([0.9, 0.8]) == [1.0, 1.0]
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
    def test_keeps_the_order_and_never_lowers_a_p_value(self, p):
        corrected = holm(p)
        assert all(after >= before for after, before in zip(corrected, p, strict=True))
        assert all(corrected[i] <= corrected[j] for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


class TestBootstrap:
    def test_interval_of_a_small_sample_equals_the_full_enumeration(self):
        """Three users: the 27 resamples can be listed."""
        values = np.array([0.0, 1.0, 4.0])
        means = [np.mean(draw) for draw in product(values, repeat=3)]
        expected = np.quantile(means, [0.2, 0.8], method="inverted_cdf")
        got = bootstrap_intervals({"m": values}, n=20_000, seed=0, level=0.6)["m"]
        assert got == pytest.approx(expected, abs=1e-9)

    def test_width_is_that_of_the_normal_law_on_many_users(self):
        values = np.random.default_rng(0).random(5000)
        low, high = bootstrap_intervals({"m": values}, n=2000, seed=0)["m"]
        assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(5000), rel=0.1)

    def test_no_resamples_no_intervals(self):
        assert bootstrap_intervals({"m": np.ones(3)}, n=0, seed=0) == {}

    def test_p_value_by_hand(self):
        """Every resample mean of a constant gain is above 0."""
        interval, p = paired_bootstrap(np.full((10, 1), 0.5), n=99, seed=0)
        assert interval.tolist() == [[0.5, 0.5]]
        assert p.tolist() == [2 * (1 + 0) / (99 + 1)]

    def test_no_difference_gives_p_1(self):
        assert paired_bootstrap(np.zeros((10, 1)), n=99, seed=0)[1].tolist() == [1.0]

    def test_p_values_of_pure_noise_are_spread_over_the_unit_interval(self):
        rng = np.random.default_rng(0)
        p = [paired_bootstrap(rng.normal(size=(200, 1)), n=200, seed=i)[1][0] for i in range(200)]
        assert stats.kstest(p, "uniform").pvalue > 0.001


class TestCompare:
    def test_rows_are_matched_by_user(self):
        model, baseline = frame([0.6, 0.2, 0.4], users=[2, 0, 1]), frame([0.2, 0.1, 0.6], users=[0, 1, 2])
        [result] = compare(model, baseline, n=99)
        assert result.mean == pytest.approx((0.6 + 0.2 + 0.4) / 3)
        assert result.baseline == pytest.approx((0.2 + 0.1 + 0.6) / 3)
        assert result.relative_gain == pytest.approx((1.2 - 0.9) / 0.9)
        assert (result.wins, result.losses, result.n_users) == (1, 0, 3)

    def test_a_clear_gain_is_found_and_its_mirror_too(self):
        rng = np.random.default_rng(0)
        base = rng.random(300)
        better = base + rng.normal(0.1, 0.2, 300)
        [gain] = compare(frame(better), frame(base))
        [loss] = compare(frame(base), frame(better))
        assert gain.p_bootstrap < 0.01
        assert gain.p_wilcoxon < 0.01
        assert 0 < gain.interval[0] < gain.mean - gain.baseline < gain.interval[1]
        assert loss.interval == pytest.approx((-gain.interval[1], -gain.interval[0]), abs=1e-12)
        assert loss.p_wilcoxon == pytest.approx(gain.p_wilcoxon)

    def test_identical_models(self):
        [result] = compare(frame([0.1, 0.5]), frame([0.1, 0.5]), n=50)
        assert (result.p_bootstrap, result.p_wilcoxon, result.relative_gain) == (1.0, 1.0, 0.0)

    def test_other_users_are_refused(self):
        with pytest.raises(DataError, match=r"not of the same users(.|\n)*2 and 3 users"):
            compare(frame([0.1, 0.5]), frame([0.1, 0.5, 0.2]))
        with pytest.raises(DataError, match="not of the same users"):
            compare(frame([0.1, 0.5]), frame([0.1, 0.5], users=[0, 2]))

    def test_an_unknown_metric_is_refused(self):
        with pytest.raises(DataError, match=r"mrr@20(.|\n)*accepted: ndcg@20"):
            compare(frame([0.1]), frame([0.1]), metrics=["mrr@20"])


def test_wilcoxon_without_zeros_is_scipys():
    differences = np.random.default_rng(0).normal(0.2, 1, 50)
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue)


def test_relative_gain():
    assert relative_gain(0.06, 0.05) == pytest.approx(0.01 / 0.05)
    assert relative_gain(0.06, 0.0) is None


def runs_of(*columns: list[float]) -> list[pl.DataFrame]:
    """Tables per user, one per seed."""
    return [pl.DataFrame({"user": list(range(len(values))), "ndcg@20": values}) for values in columns]


class TestCompareRuns:
    def test_single_runs_are_compared_as_compare_does(self):
        rng = np.random.default_rng(0)
        a, b = rng.random(50).tolist(), rng.random(50).tolist()
        [[found]] = compare_runs({"a": runs_of(a), "b": runs_of(b)}, [("a", "b")], metrics=["ndcg@20"], n=400, seed=3)
        [expected] = compare(*runs_of(a), *runs_of(b), n=400, seed=3)
        assert found.p_bootstrap == expected.p_bootstrap
        assert found.p_wilcoxon == expected.p_wilcoxon
        assert found.interval == pytest.approx(expected.interval, rel=1e-12)
        assert (found.mean, found.wins, found.losses) == (expected.mean, expected.wins, expected.losses)

    def test_means_are_over_the_seeds(self):
        models = {"a": runs_of([0.2, 0.4], [0.4, 0.8]), "b": runs_of([0.1, 0.1])}
        [[found]] = compare_runs(models, [("a", "b")], metrics=["ndcg@20"], n=20)
        assert found.mean == pytest.approx((0.3 + 0.6) / 2)
        assert found.relative_gain == pytest.approx((0.45 - 0.1) / 0.1)
        assert (found.wins, found.losses, found.n_users) == (2, 0, 2)

    def test_seeds_that_disagree_widen_the_interval_by_their_standard_error(self):
        # Users are all alike, so the seeds alone vary: sd 0.01 over 5 seeds.
        seeds = np.array([-0.01264911, -0.00632456, 0.0, 0.00632456, 0.01264911]) + 0.5
        models = {"a": runs_of(*([value] * 40 for value in seeds)), "b": runs_of([0.4] * 40)}
        [[found]] = compare_runs(models, [("a", "b")], metrics=["ndcg@20"], n=20_000)
        low, high = found.interval
        # Four draws of five: variance of the mean = (0.01^2 * 4/5) / 4 = 0.01^2 / 5.
        assert (high - low) / (2 * 1.96) == pytest.approx(0.01 / 5**0.5, rel=0.15)
        [[alike]] = compare_runs({**models, "a": runs_of(*[[0.5] * 40] * 5)}, [("a", "b")], metrics=["ndcg@20"], n=100)
        assert alike.interval == pytest.approx((0.1, 0.1))

    def test_noise_of_seeds_alone_is_not_significant(self):
        rng = np.random.default_rng(1)
        users = rng.random(200)
        one, other = ([(users + shift).tolist() for shift in rng.normal(0, 0.02, 5)] for _ in range(2))
        [[found]] = compare_runs({"a": runs_of(*one), "b": runs_of(*other)}, [("a", "b")], metrics=["ndcg@20"], n=2000)
        assert found.p_bootstrap > 0.05

    def test_five_runs_against_one_of_the_same_model_are_not_significant(self):
        """Whoever is rarely hit has a mean that is a little above one run often, and far below it seldom."""
        rng = np.random.default_rng(2)
        of_means, of_pairs = [], []
        for _ in range(40):
            chance = rng.beta(0.5, 4, (1, 2000))
            hits = np.where(rng.random((6, 2000)) < chance, 1 / np.log2(1 + rng.integers(1, 41, (6, 2000))), 0.0)
            models = {"five": runs_of(*hits[:5].tolist()), "one": runs_of(hits[5].tolist())}
            [[found]] = compare_runs(models, [("five", "one")], metrics=["ndcg@20"], n=20)
            assert found.mean == pytest.approx(hits[:5].mean())
            of_pairs.append(found.p_wilcoxon)
            of_means.append(wilcoxon(hits[:5].mean(0) - hits[5]))
        assert np.mean(np.array(of_pairs) < 0.05) <= 0.1
        assert np.mean(np.array(of_means) < 0.05) > 0.5  # what ranks of unequal means would say

    def test_ranks_are_of_as_many_runs_as_both_have(self):
        one, other = (
            runs_of([0.1, 0.5, 0.3], [0.2, 0.1, 0.4], [0.9, 0.9, 0.9]),
            runs_of([0.2, 0.2, 0.2], [0.3, 0.1, 0.2]),
        )
        [[found]] = compare_runs({"a": one, "b": other}, [("a", "b")], metrics=["ndcg@20"], n=20)
        [[same]] = compare_runs({"a": one[:2], "b": other}, [("a", "b")], metrics=["ndcg@20"], n=20)
        assert (found.p_wilcoxon, found.wins, found.losses) == (same.p_wilcoxon, same.wins, same.losses) != (1.0, 3, 0)
        assert found.mean > same.mean

    def test_other_users_are_refused(self):
        other = pl.DataFrame({"user": [0, 2], "ndcg@20": [0.1, 0.2]})
        with pytest.raises(DataError, match="not of the same users"):
            compare_runs({"a": runs_of([0.1, 0.2]), "b": [other]}, [("a", "b")], metrics=["ndcg@20"])
