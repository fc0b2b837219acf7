"""From token vectors to one vector per text: pure functions on tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens that are no padding (and none of a prompt that is not pooled).

    Parameters
    ----------
    hidden:
        Token vectors, ``(batch, tokens, d)``.
    mask:
        1 for a token, 0 for padding and for what is read but not pooled, ``(batch, tokens)``.
    """
    weights = mask.to(hidden.dtype).unsqueeze(-1)  # (batch, tokens, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def cls_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Vector of the first token that is no padding; arguments as in :func:`mean_pool`."""
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.argmax(1)]


def last_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Vector of the last token that is no padding, wherever the padding is; arguments as in :func:`mean_pool`."""
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


POOLINGS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": mean_pool,
    "cls": cls_pool,
    "last": last_pool,
}
"""Pooling functions by the name in ``language.pooling``."""
