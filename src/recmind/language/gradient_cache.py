"""A large contrastive batch in the memory of a small one (Gao et al. 2021, arXiv 2101.06983)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


def backward_in_parts(
    parts: Sequence[Part], encode: Callable[[Part], Tensor], loss_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Loss over the vectors of all parts, with its gradient added to every parameter's ``grad``.

    A contrastive loss looks at all vectors of a batch at once, but the gradient
    of the encoder's parameters θ is a sum over parts once the gradient of each
    vector is known:

    ∂ℓ/∂θ = Σ_k (∂ℓ/∂V_k)ᵀ ∂V_k/∂θ

    1. encode every part without a graph;
    2. take the loss of all vectors and the gradient of each, ∂ℓ/∂V_k;
    3. encode every part once more, with a graph and the same random numbers,
       so that dropout drops the same, and go backward from ∂ℓ/∂V_k.

    Value and gradient are those of the plain step; memory is that of one part;
    the time is that of one more pass forward. A single part takes the plain
    step.

    Parameters
    ----------
    parts:
        What is encoded at once.
    encode:
        Vectors ``(b, d)`` of a part; may draw random numbers from torch's
        global generators.
    loss_of:
        Scalar loss of the vectors ``(n, d)`` of all parts in order; other
        parameters in it get their gradient as well.

    Returns
    -------
    Tensor
        The loss, detached.
    """
    if len(parts) == 1:
        loss = loss_of(encode(parts[0]))
        loss.backward()
        return loss.detach()
    vectors, states = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            vectors.append(encode(part))
    leaf = torch.cat(vectors).requires_grad_()
    loss = loss_of(leaf)
    loss.backward()
    assert leaf.grad is not None
    gradients = leaf.grad.split([len(vector) for vector in vectors])
    for part, state, gradient in zip(parts, states, gradients, strict=True):
        with _random_numbers(state):
            torch.autograd.backward(encode(part), gradient)
    return loss.detach()


_State = tuple[Tensor, list[Tensor]]


def _random_state() -> _State:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


@contextmanager
def _random_numbers(state: _State) -> Iterator[None]:
    """The random numbers that followed ``state``; afterwards the generators stand where they stood."""
    before = _random_state()
    _set(state)
    try:
        yield
    finally:
        _set(before)


def _set(state: _State) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
