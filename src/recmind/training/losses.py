"""Recommendation losses as pure functions of scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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


def sampled_softmax(positive: Tensor, negative: Tensor) -> Tensor:
    """Softmax cross-entropy of the positive against sampled negatives (Wu et al. 2024, SSM).

    ℓ = -log( exp(s(u,i)) / (exp(s(u,i)) + Σ_j exp(s(u,j))) )

    Parameters
    ----------
    positive:
        ``(b,)``, already divided by the temperature.
    negative:
        ``(b, n)``; -inf leaves an entry out.
    """
    logits = torch.cat([positive[:, None], negative], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def l2(*blocks: Tensor) -> Tensor:
    """Ω: half the squared norm of the given rows, divided by the number of rows of the first block."""
    return torch.stack([block.square().sum() for block in blocks]).sum() / (2 * max(1, len(blocks[0])))
