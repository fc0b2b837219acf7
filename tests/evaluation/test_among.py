"""A part of the catalogue as if there were nothing else: by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import EvaluationConfig
from recmind.evaluation.among import Unplaced, only_items, only_targets
from recmind.evaluation.evaluate import evaluate
from recmind.model.views import VectorScorer

CONFIG = EvaluationConfig(cutoffs=(1, 2), bootstrap=0)
SCORES = [[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 5.0, 2.0, 3.0, 4.0]]
COLD = np.array([False, False, True, True, True])


@pytest.fixture
def split(make_split):
    """Items 2, 3 and 4 have no training edge."""
    return make_split(2, 5, train=[(0, 0), (1, 1)], test=[(0, 1), (0, 2), (1, 3)])


def scorers(dense):
    """The same scores as a table and as inner products."""
    matrix = torch.tensor(SCORES)
    return {"dense": dense(matrix), "vectors": VectorScorer(torch.eye(2), matrix.T.contiguous())}


def metrics(scorer, split, **options):
    return evaluate(scorer, split, "test", CONFIG, show_progress=False, **options)


@pytest.mark.parametrize("kind", ["dense", "vectors"])
class TestGroups:
    def test_cold_targets_among_cold_items(self, dense, split, kind):
        # User 0: the target's 3 beats 2 and 1. User 1: the target's 3 stands behind the 4 of item 4.
        found = metrics(*only_items(scorers(dense)[kind], split, COLD))
        assert found.n_users == 2
        assert found.metrics["recall@1"] == pytest.approx((1 + 0) / 2)
        assert found.metrics["recall@2"] == pytest.approx((1 + 1) / 2)
        assert found.metrics["ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 2)

    def test_warm_targets_among_warm_items(self, dense, split, kind):
        # Only user 0 has a warm target; item 0 is seen, so item 1 is all there is.
        found = metrics(*only_items(scorers(dense)[kind], split, ~COLD))
        assert found.n_users == 1
        assert found.metrics["recall@1"] == 1

    def test_all_targets_among_all_items(self, dense, split, kind):
        # User 0: item 1, then item 2. User 1: items 4, 3, 2 and 0 in this order.
        found = metrics(scorers(dense)[kind], split)
        assert found.metrics["recall@1"] == pytest.approx((1 / 2 + 0) / 2)
        assert found.metrics["recall@2"] == pytest.approx((1 + 1) / 2)

    def test_cold_targets_among_all_items(self, dense, split, kind):
        # User 0's item 1 is no target here and stands above.
        found = metrics(scorers(dense)[kind], only_targets(split, COLD))
        assert found.n_users == 2
        assert found.metrics["recall@1"] == 0
        assert found.metrics["recall@2"] == pytest.approx((1 + 1) / 2)


def test_interactions_with_other_items_do_not_count(dense, split):
    scorer, smaller = only_items(dense(SCORES), split, ~COLD)
    assert (smaller.n_users, smaller.n_items, scorer.n_items) == (2, 2, 2)
    assert smaller.train.items.tolist() == [0, 1]
    assert smaller.test.items.tolist() == [1]
    assert smaller.train.items.dtype == np.int32
    assert only_items(dense(SCORES), split, COLD)[1].train.items.tolist() == []
    assert split.test.items.tolist() == [1, 2, 3]


class TestUnplaced:
    def test_has_what_chance_gives_among_them(self, dense, split):
        found = metrics(*only_items(Unplaced(dense(SCORES), COLD), split, COLD))
        assert found.metrics["recall@1"] == pytest.approx(1 / 3)
        assert found.metrics["recall@2"] == pytest.approx(2 / 3)

    def test_stands_below_the_others(self, dense, split):
        # User 0: item 1 first, then three alike. User 1: item 0 first, then three alike.
        found = metrics(Unplaced(dense(SCORES), COLD), split)
        assert found.metrics["recall@1"] == pytest.approx((1 / 2 + 0) / 2)
        assert found.metrics["recall@2"] == pytest.approx(((1 + 1 / 3) / 2 + 1 / 3) / 2)

    def test_leaves_the_others_as_they_are(self, dense, split):
        plain = metrics(*only_items(dense(SCORES), split, ~COLD))
        assert metrics(*only_items(Unplaced(dense(SCORES), COLD), split, ~COLD)).metrics == plain.metrics

    @pytest.mark.parametrize("size", [1e-6, 1.0, 1e8])
    def test_whatever_the_size_of_the_scores(self, dense, size):
        scores = Unplaced(dense(-size * np.array(SCORES)), COLD).scores(torch.arange(2))
        assert (scores[:, COLD].amax(1) < scores[:, ~COLD].amin(1)).all()
        assert (scores[:, COLD] == scores[:, [2]]).all()

    def test_all_or_none_of_the_items(self, dense):
        assert Unplaced(dense(SCORES), np.ones(5, bool)).scores(torch.arange(2)).unique().numel() == 1
        assert torch.equal(Unplaced(dense(SCORES), np.zeros(5, bool)).scores(torch.arange(2)), torch.tensor(SCORES))
