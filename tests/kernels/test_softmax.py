from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn import functional

from recmind import kernels
from recmind.training.losses import sampled_softmax


def in_float64(logits: torch.Tensor, positive: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss of each row and gradients of the mean, by torch's own cross-entropy."""
    x = torch.cat([positive[:, None], logits], dim=1).double().requires_grad_()
    loss = functional.cross_entropy(x, torch.zeros(len(x), dtype=torch.int64), reduction="none")
    loss.mean().backward()
    assert x.grad is not None
    return loss.detach().numpy(), x.grad[:, 1:].numpy(), x.grad[:, 0].numpy()


def random_logits(rows: int, n: int, scale: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows * 1000 + n)
    return tuple(torch.randn(shape, generator=generator) * scale for shape in ((rows, n), (rows,)))  # type: ignore[return-value]


@pytest.mark.parametrize("n", [1, 3, 4, 8, 15, 16, 17, 37, 64, 513])
@pytest.mark.parametrize("rows", [1, 5, 130])
def test_equals_cross_entropy(body, rows: int, n: int):
    logits, positive = random_logits(rows, n)
    loss, by_logits, by_positive = in_float64(logits, positive)
    found = kernels.softmax_rows(logits.clone(), positive)
    np.testing.assert_allclose(found[0].numpy(), loss, rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(found[1].numpy(), by_logits, rtol=1e-5, atol=1e-7 / rows)
    np.testing.assert_allclose(found[2].numpy(), by_positive, rtol=1e-5, atol=2e-6 / rows)


def test_minus_infinity_leaves_an_entry_out(body):
    logits, positive = random_logits(6, 40)
    kept = torch.arange(40) % 3 != 0
    alone = kernels.softmax_rows(logits[:, kept].contiguous(), positive)
    found = kernels.softmax_rows(logits.masked_fill(~kept, -torch.inf), positive)
    np.testing.assert_allclose(found[0].numpy(), alone[0].numpy(), rtol=1e-6)
    assert bool((found[1][:, ~kept] == 0).all())
    np.testing.assert_allclose(found[1][:, kept].numpy(), alone[1].numpy(), rtol=1e-5, atol=1e-9)


def test_nothing_but_the_positive_left(body):
    loss, by_logits, by_positive = kernels.softmax_rows(torch.full((2, 20), -torch.inf), torch.tensor([3.0, -90.0]))
    assert loss.tolist() == [0, 0]
    assert bool((by_logits == 0).all())
    assert by_positive.tolist() == [0, 0]


@pytest.mark.parametrize("gap", [80.0, 87.5, 104.0, 1e4, 3e38])
def test_far_apart_logits_stay_finite(body, gap: float):
    logits = torch.tensor([[0.0, -gap, -gap] * 7])
    for positive in (torch.tensor([-gap]), torch.tensor([0.0])):
        found = kernels.softmax_rows(logits.clone(), positive)
        expected = in_float64(logits, positive)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine.numpy(), other, rtol=1e-5, atol=1e-30)


def test_no_rows(body):
    loss, by_logits, by_positive = kernels.softmax_rows(torch.empty(0, 5), torch.empty(0))
    assert (len(loss), by_logits.shape, len(by_positive)) == (0, (0, 5), 0)


def test_a_nan_stays_in_its_row(body):
    logits, positive = random_logits(3, 20)
    logits[1, 7] = torch.nan
    loss, by_logits, _ = kernels.softmax_rows(logits, positive)
    assert loss.isnan().tolist() == [False, True, False]
    assert by_logits.isnan().any(1).tolist() == [False, True, False]


def test_same_bits_with_any_number_of_threads(compiled, with_threads):
    logits, positive = random_logits(1000, 100)
    found = []
    for threads in (1, 2, 5):
        with_threads(threads)
        found.append(kernels.softmax_rows(logits.clone(), positive))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_values_for_each_row_are_asked_for(compiled):
    with pytest.raises(ValueError, match="one value for each row"):
        kernels.softmax_rows(torch.zeros(3, 4), torch.zeros(2))


@given(st.integers(0, 10_000), st.sampled_from([1.0, 30.0]))
def test_gradients_of_a_row_sum_to_zero(seed: int, scale: float):
    generator = torch.Generator().manual_seed(seed)
    logits, positive = torch.randn(4, 33, generator=generator) * scale, torch.randn(4, generator=generator)
    _, by_logits, by_positive = kernels.softmax_rows(logits, positive)
    assert float((by_logits.sum(1) + by_positive).abs().max()) < 1e-6


def test_the_loss_has_the_gradient_of_its_value():
    generator = torch.Generator().manual_seed(1)
    draw = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in ((5,), (5, 7))]
    assert gradcheck(lambda positive, negative: sampled_softmax(positive, negative) * 3, draw)


def test_the_loss_leaves_its_input_alone_unless_told_otherwise():
    logits, positive = random_logits(4, 9)
    before = logits.clone()
    first = sampled_softmax(positive, logits)
    assert torch.equal(logits, before)
    assert torch.equal(sampled_softmax(positive, logits, overwrite=True), first)
    assert not torch.equal(logits, before)
