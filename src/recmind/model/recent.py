"""What a user's latest items say beyond the long-term taste."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.model.graph import BipartiteGraph

_BLOCK = 65536  # users whose items' vectors are gathered at once


def latest_items(graph: BipartiteGraph, users: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The last n training items of each user, the latest first.

    Parameters
    ----------
    users:
        int64 ``(b,)``.

    Returns
    -------
    tuple of Tensor
        Items, int64 ``(b, n)``, and which of them there are, bool ``(b, n)``.
    """
    places = graph.offsets[users + 1, None] - 1 - torch.arange(n, device=users.device)
    there = places >= graph.offsets[users, None]
    return graph.in_time[places.clamp_min(0)].long(), there


def weights_of(there: Tensor, decay: float) -> Tensor:
    """ω of the latest items, ∝ decay^m for the m-th before the latest, with sum 1 over those there are; ``(b, n)``."""
    shares = decay ** torch.arange(there.shape[1], device=there.device) * there
    return shares / shares.sum(1, keepdim=True).clamp_min(1e-12)


def add_recent(users: Tensor, items: Tensor, graph: BipartiteGraph, weight: float, decay: float, n: int) -> Tensor:
    """h_u + ρ Σ_m ω_m h_{j_m}, j_0 the user's latest training item, j_1 the one before, and so on.

    Graph and language views forget the order: a user is the same after a
    hundred books and one tent as after one tent and a hundred books. The next
    item is more like the latest ones. In training the sum is left out: the
    order says little about an item among others that came later too, and with
    the positive among them it would be learnt with the wrong sign. The paper's
    user prompts name recent items for the same reason (section 3.2).

    Parameters
    ----------
    users, items:
        h, ``(n_users, d)`` and ``(n_items, d)``.
    weight, decay, n:
        ρ, how ω falls, and how many items count; see :class:`~recmind.config.RecentConfig`.

    Returns
    -------
    Tensor
        ``(n_users, d)``, of any length; users without a training item keep theirs.
    """
    moved = torch.empty_like(users)
    for block in torch.arange(len(users), device=users.device).split(_BLOCK):
        latest, there = latest_items(graph, block, n)
        shares = weights_of(there, decay).to(users.dtype)
        moved[block] = users[block] + weight * torch.einsum("bm,bmd->bd", shares, items[latest])
    return moved
