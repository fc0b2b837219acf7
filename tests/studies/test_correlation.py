from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recmind.studies.correlation import spearman


@pytest.mark.parametrize("levels", [3, 1000])
def test_is_scipys_with_ties_and_without(levels: int):
    rng = np.random.default_rng(0)
    x = rng.integers(0, levels, 200)
    y = x + rng.integers(0, levels, 200)
    found = spearman(x, y, n=0)
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found["low"] is None


def test_interval_is_the_percentile_bootstrap_of_scipys():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 6, 80).astype(float)
    y = x + rng.normal(size=80)
    found = spearman(x, y, n=200, seed=7)
    again, drawn = np.random.default_rng(7), []
    for _ in range(200):
        rows = again.integers(0, 80, 80)
        drawn.append(stats.spearmanr(x[rows], y[rows]).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


@pytest.mark.parametrize(("x", "y"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1], [2]), ([], [])])
def test_without_spread_there_is_none(x: list[int], y: list[int]):
    assert spearman(np.array(x), np.array(y)) == {"spearman": None, "low": None, "high": None}


def test_resamples_without_spread_are_left_out():
    found = spearman(np.array([0, 1]), np.array([0, 1]), n=50)
    assert found == {"spearman": pytest.approx(1.0), "low": pytest.approx(1.0), "high": pytest.approx(1.0)}
