"""Recommendation losses as pure functions of scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recmind import kernels


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009): mean of -log σ(s(u,i) - s(u,j)).

    Parameters
    ----------
    positive:
        s(u, i), ``(b,)``.
    negative:
        s(u, j) of n negatives each, ``(b, n)``; averaged over the negatives.
    """
    return functional.softplus(negative - positive[:, None]).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, *, overwrite: bool = False) -> Tensor:
    """Softmax cross-entropy of the positive against sampled negatives (Wu et al. 2024, SSM).

    ℓ = -log( exp(s(u,i)) / (exp(s(u,i)) + Σ_j exp(s(u,j))) )

    Parameters
    ----------
    positive:
        ``(b,)``, already divided by the temperature.
    negative:
        ``(b, n)``; -inf leaves an entry out.
    overwrite:
        Whether the memory of ``negative`` may be used for its gradient, which saves a copy.
    """
    return _SampledSoftmax.apply(positive, negative, overwrite)


class _SampledSoftmax(Function):
    """The gradient is made together with the value."""

    @staticmethod
    def forward(ctx, positive: Tensor, negative: Tensor, overwrite: bool) -> Tensor:
        logits = negative.detach().contiguous() if overwrite else negative.detach().clone()
        loss, by_negative, by_positive = kernels.softmax_rows(logits.contiguous(), positive.detach())
        ctx.save_for_backward(by_positive, by_negative)
        return loss.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        by_positive, by_negative = ctx.saved_tensors
        return by_positive * grads[0], by_negative if _is_one(grads[0]) else by_negative * grads[0], None


def _is_one(x: Tensor) -> bool:
    # Saves a pass over the logits in the usual case; on a GPU looking would cost more than multiplying.
    return x.device.type == "cpu" and float(x) == 1.0


def l2(*blocks: Tensor) -> Tensor:
    """Ω: half the squared norm of the given rows, divided by the number of rows of the first block."""
    return torch.stack([block.square().sum() for block in blocks]).sum() / (2 * max(1, len(blocks[0])))
