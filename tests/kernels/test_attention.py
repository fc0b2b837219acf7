"""Attention within pieces: every body against the definition in float64, piece by piece and head by head."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recmind import kernels
from recmind.kernels.reference import alike

LENGTHS = {
    "none": [],
    "one row": [1],
    "empty ones": [0, 3, 0, 0, 2, 0],
    "about a register": [15, 16, 17, 31, 32, 33, 7, 8, 9, 3, 4, 5],
    "several chunks": [k % 23 for k in range(70)],
    "a long one": [2, 150],
}
SHAPES = [(64, 1), (64, 2), (6, 2), (5, 1), (33, 3), (1, 1)]
"""d and heads."""


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS.keys())
def starts(request) -> Tensor:
    return starts_of(request.param)


def starts_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def by_definition(mixed: Tensor, starts: Tensor, heads: int) -> Tensor:
    rows = [mixed[:0, : mixed.shape[1] // 3].double()]
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        query, key, value = mixed[begin:end].double().chunk(3, dim=1)
        parts = []
        for q, k, v in zip(*(x.chunk(heads, dim=1) for x in (query, key, value)), strict=True):
            logits = q @ k.T / q.shape[1] ** 0.5
            later = torch.ones_like(logits).triu(1).bool()
            parts.append(logits.masked_fill(later, -torch.inf).softmax(1) @ v)
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)


@pytest.mark.parametrize(("d", "heads"), SHAPES)
def test_equals_the_definition(body, normal, starts, d: int, heads: int):
    mixed = normal(int(starts[-1]), 3 * d)
    found = kernels.attend(mixed, starts, heads)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), by_definition(mixed, starts, heads), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("d", "heads"), SHAPES)
def test_the_gradient_is_that_of_the_definition(body, normal, starts, d: int, heads: int):
    n = int(starts[-1])
    mixed, grad = normal(n, 3 * d), normal(n, d, seed=1)
    exact = mixed.double().requires_grad_()
    (expected,) = torch.autograd.grad(by_definition(exact, starts, heads), exact, grad.double(), materialize_grads=True)
    found = kernels.attend_backward(mixed, starts, heads, grad)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_numbers_in_bfloat16(body, normal):
    starts = starts_of([5, 40, 1])
    mixed, grad = normal(46, 24).bfloat16(), normal(46, 8, seed=1).bfloat16()
    expected = by_definition(mixed, starts, 2)
    torch.testing.assert_close(kernels.attend(mixed, starts, 2).double(), expected, rtol=2e-2, atol=2e-2)
    slopes = kernels.attend_backward(mixed, starts, 2, grad)
    assert slopes.dtype == torch.bfloat16
    exact = mixed.double().requires_grad_()
    (expected,) = torch.autograd.grad(by_definition(exact, starts, 2), exact, grad.double())
    torch.testing.assert_close(slopes.double(), expected, rtol=5e-2, atol=5e-2)


def test_nothing_is_seen_of_later_rows_and_of_other_pieces(body, normal):
    starts = starts_of([20, 9, 30])
    mixed = normal(59, 48)
    before = kernels.attend(mixed, starts, 1)
    mixed[:20], mixed[40:] = 100.0, -1e4
    after = kernels.attend(mixed, starts, 1)
    assert torch.equal(after[20:40], before[20:40])
    assert bool((after[:20] != before[:20]).any())


def test_not_a_number_spoils_only_what_sees_it(compiled, normal):
    mixed = normal(40, 48)
    mixed[12, 20] = torch.nan  # a key
    found = kernels.attend(mixed, starts_of([30, 10]), 1)
    assert found.isnan().any(1).nonzero().flatten().tolist() == list(range(12, 30))


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_logits_that_are_far_apart(body, normal, scale: float):
    mixed, starts = normal(40, 48), starts_of([25, 15])
    mixed[:, :32] *= scale**0.5
    torch.testing.assert_close(
        kernels.attend(mixed, starts, 1).double(), by_definition(mixed, starts, 1), rtol=1e-2, atol=1e-2
    )
    assert bool(kernels.attend_backward(mixed, starts, 1, normal(40, 16, seed=1)).isfinite().all())


def test_same_bits_with_any_number_of_threads(compiled, normal, with_threads):
    starts = starts_of([k % 37 for k in range(200)])
    n = int(starts[-1])
    mixed, grad = normal(n, 96), normal(n, 32, seed=1)
    found = []
    for threads in (1, 2, 5):
        with_threads(threads)
        found.append((kernels.attend(mixed, starts, 2), kernels.attend_backward(mixed, starts, 2, grad)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_tables_that_are_views(body, normal):
    starts = starts_of([4, 6])
    mixed, grad = normal(10, 12), torch.ones(()).expand(10, 4)
    views = mixed.T.contiguous().T, starts.repeat_interleave(2)[::2].contiguous()
    assert torch.equal(kernels.attend(*views, 2), kernels.attend(mixed, starts, 2))
    alone = kernels.attend_backward(mixed, starts, 2, torch.ones(10, 4))
    assert torch.equal(kernels.attend_backward(*views, 2, grad), alone)


@pytest.mark.parametrize("starts", [[], [0], [0, 9], [1, 10], [0, 11, 10], [0, 6, 3, 10], [-1, 10]])
def test_pieces_that_are_not_those_of_the_rows_are_refused(body, starts: list[int]):
    for call in (
        lambda at: kernels.attend(torch.zeros(10, 6), at, 1),
        lambda at: kernels.attend_backward(torch.zeros(10, 6), at, 1, torch.zeros(10, 2)),
    ):
        with pytest.raises(ValueError, match="from 0 to 10, the number of rows"):
            call(torch.tensor(starts, dtype=torch.int64))


def test_columns_that_are_not_queries_keys_and_values_are_refused(body):
    with pytest.raises(ValueError, match="12 columns are not queries, keys and values of 3 heads"):
        kernels.attend(torch.zeros(4, 12), torch.tensor([0, 4]), 3)
    with pytest.raises(ValueError, match="grad has 3 rows, not 4"):
        kernels.attend_backward(torch.zeros(4, 12), torch.tensor([0, 4]), 1, torch.zeros(3, 4))


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 2000))
def test_groups_are_alike_and_small(lengths: list[int], places: int):
    groups = list(alike(torch.tensor(lengths, dtype=torch.int64), places))
    there = [at for at, length in enumerate(lengths) if length]
    assert sorted(int(i) for group in groups for i in group) == there
    for group in groups:
        own = torch.tensor(lengths)[group]
        assert own.max() <= 1.26 * own.min() + 1
        assert len(group) == 1 or len(group) * int(own.max()) <= places
