from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from recmind.training.losses import bpr, l2, sampled_softmax

POSITIVE = torch.tensor([1.0, -0.5], dtype=torch.float64)
NEGATIVE = torch.tensor([[0.0, 2.0], [0.5, -1.0]], dtype=torch.float64)


def log1pexp(x: float) -> float:
    return np.log(1 + np.exp(x))


class TestBPR:
    def test_by_hand(self):
        expected = (log1pexp(0 - 1) + log1pexp(2 - 1) + log1pexp(0.5 + 0.5) + log1pexp(-1 + 0.5)) / 4
        assert float(bpr(POSITIVE, NEGATIVE)) == pytest.approx(expected, rel=1e-12)

    def test_equal_scores_give_log_two(self):
        assert float(bpr(torch.zeros(3), torch.zeros(3, 1))) == pytest.approx(np.log(2), rel=1e-6)

    def test_large_differences_stay_finite(self):
        assert float(bpr(torch.tensor([-500.0]), torch.tensor([[500.0]]))) == 1000
        assert float(bpr(torch.tensor([500.0]), torch.tensor([[-500.0]]))) == 0

    def test_gradient(self):
        assert gradcheck(bpr, (POSITIVE.clone().requires_grad_(), NEGATIVE.clone().requires_grad_()))


class TestSampledSoftmax:
    def test_by_hand(self):
        first = -np.log(np.exp(1) / (np.exp(1) + np.exp(0) + np.exp(2)))
        second = -np.log(np.exp(-0.5) / (np.exp(-0.5) + np.exp(0.5) + np.exp(-1)))
        expected = (first + second) / 2
        assert float(sampled_softmax(POSITIVE, NEGATIVE)) == pytest.approx(expected, rel=1e-12)

    def test_minus_infinity_leaves_an_entry_out(self):
        negative = NEGATIVE.clone()
        negative[0, 1] = -torch.inf
        first = -np.log(np.exp(1) / (np.exp(1) + np.exp(0)))
        second = -np.log(np.exp(-0.5) / (np.exp(-0.5) + np.exp(0.5) + np.exp(-1)))
        assert float(sampled_softmax(POSITIVE, negative)) == pytest.approx((first + second) / 2, rel=1e-12)

    def test_nothing_to_compete_with_gives_zero_and_no_gradient(self):
        positive = torch.tensor([3.0], requires_grad=True)
        loss = sampled_softmax(positive, torch.tensor([[-torch.inf]]))
        loss.backward()
        assert float(loss.detach()) == 0
        assert float(positive.grad) == 0

    def test_gradient(self):
        assert gradcheck(sampled_softmax, (POSITIVE.clone().requires_grad_(), NEGATIVE.clone().requires_grad_()))


def test_l2_by_hand():
    users, positives = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    negatives = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    expected = 0.5 * ((1 + 4 + 0 + 1) + (4 + 0 + 1 + 1) + (9 + 0 + 1 + 1)) / 2
    assert float(l2(users, positives, negatives)) == pytest.approx(expected, rel=1e-6)
