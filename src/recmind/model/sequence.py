"""Histories read in order: a causal Transformer (Kang and McAuley 2018, arXiv 1808.09781)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from recmind import kernels
from recmind.errors import ConfigError
from recmind.model.graph import BipartiteGraph
from recmind.model.node_texts import in_precision
from recmind.model.propagation import gather_rows

_TOGETHER = 2**14
"""Places in histories that are read at once."""

VectorsOf = Callable[[Tensor], Tensor]
"""From codes of items, int64 ``(n,)``, to what is read of them, ``(n, d)``."""


class SequenceEncoder(nn.Module):
    """What a user is about to look for at some point of the history, by the items before it and their order.

    ==========  ===============================================================================
    input       x_t = v_{j_{t-1}} + p_t: the item before the one that is looked for, and its place.
                Before a user's first item is nothing, v = 0
    block       x ← x + A(LN(x)), then x ← x + W_2 relu(W_1 LN(x) + b_1) + b_2
    A           causal attention: no row sees a later one
    dropout     of x and of what is added to it, in training
    state       LN(x_t) after the last block
    ==========  ===============================================================================

    A history longer than ``length`` is cut into pieces, where the paper keeps the
    last one: so all interactions are learnt from. Attention weights are not dropped.

    Parameters
    ----------
    length:
        n, how many of a user's latest items are read.
    from_end:
        Count places from the end of a piece, as the paper does: in use the last place
        is the same for all users, whose histories are long and short. From the start,
        a state in training is the one that the user had then, and a user without a
        history is given what comes first in others.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        *,
        dim: int,
        blocks: int,
        heads: int,
        length: int,
        dropout: float,
        init_std: float,
        precision: str,
        from_end: bool = False,
    ) -> None:
        super().__init__()
        self.graph, self.length, self.dropout, self.precision = graph, length, dropout, precision
        self.from_end = from_end
        self.places = nn.Parameter(torch.randn(length, dim) * init_std)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)

    def after(self, users: Tensor, vectors_of: VectorsOf) -> Tensor:
        """States after the whole history of each of the users, ``(b, d)``, as in use."""
        had = self.graph.degrees[users].long()
        first = (had + 1 - self.length).clamp_min(0)
        lengths = had + 1 - first
        some = torch.unique_consecutive((lengths.cumsum(0) - 1) // _TOGETHER, return_counts=True)[1].tolist()
        found = [self.places.new_empty(0, self.places.shape[1])]
        for whose, begin, long in zip(users.split(some), first.split(some), lengths.split(some), strict=True):
            found.append(self._read(whose, begin, long, vectors_of, None)[long.cumsum(0) - 1])
        return torch.cat(found)

    def before(self, users: Tensor, vectors_of: VectorsOf, generator: torch.Generator | None = None) -> Tensor:
        """States right before each interaction, ``(b, d)``.

        Parameters
        ----------
        users:
            int64 ``(b,)``, each as often as the user has interactions, one after the other.
        """
        distinct, counts = torch.unique_consecutive(users, return_counts=True)
        whose, first, lengths = pieces(counts, self.length)
        return self._read(distinct[whose], first, lengths, vectors_of, generator)

    def _read(
        self, users: Tensor, first: Tensor, lengths: Tensor, vectors_of: VectorsOf, generator: torch.Generator | None
    ) -> Tensor:
        """Read m pieces of histories.

        Parameters
        ----------
        users:
            Whose, int64 ``(m,)``.
        first, lengths:
            From which place of the history on how many items are looked for, int64 ``(m,)`` each.

        Returns
        -------
        Tensor
            The states from which they are looked for, one piece behind the other, ``(n, d)``.
        """
        starts = functional.pad(lengths.cumsum(0), (1, 0))
        steps = torch.arange(int(starts[-1]), device=users.device) - torch.repeat_interleave(starts[:-1], lengths)
        places = torch.repeat_interleave(first, lengths) + steps
        there = places > 0
        sold = (torch.repeat_interleave(self.graph.offsets[users], lengths) + places - 1)[there]
        rows = vectors_of(self.graph.in_time[sold].long())
        x = rows.new_zeros(len(steps), rows.shape[1]).index_copy(0, there.nonzero().squeeze(1), rows)
        counted = torch.repeat_interleave(lengths - 1, lengths) - steps if self.from_end else steps
        return self._encode(x + gather_rows(self.places, counted), starts, generator)

    def _encode(self, x: Tensor, starts: Tensor, generator: torch.Generator | None) -> Tensor:
        """LN of what the last block makes of ``(n, d)``; where the pieces begin is told by ``starts``."""
        rate = 0.0 if generator is None else self.dropout
        with in_precision(self.precision, x):
            x = x * kept(x, rate, generator) if rate else x
            for block in self.blocks:
                x = block(x, starts, rate, generator)
        return self.norm(x.to(self.places.dtype))


class Block(nn.Module):
    """x + A(LN(x)), and then x + F(LN(x)): attention with an output projection, and two layers of the same width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_layers = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, starts: Tensor, rate: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """``(n, d)`` to the same, pieces behind each other from ``starts`` on; of what is added a share is dropped."""
        attended = _Attend.apply(self.attend(self.before_attention(x)), starts, self.heads)
        x = _plus(x, self.project(attended), rate, generator)
        return _plus(x, self.outer(self.inner(self.before_layers(x)).relu()), rate, generator)


class _Attend(Function):
    """:func:`recmind.kernels.attend`. Nothing is kept for the gradient but what was given."""

    @staticmethod
    def forward(ctx, mixed: Tensor, starts: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(mixed, starts)
        ctx.heads = heads
        return kernels.attend(mixed, starts, heads)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        mixed, starts = ctx.saved_tensors
        return kernels.attend_backward(mixed, starts, ctx.heads, grads[0]), None, None


def _plus(x: Tensor, added: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    added = added.to(x.dtype)
    return torch.addcmul(x, added, kept(x, rate, generator)) if rate else x + added


def kept(like: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Dropout as a factor: 0 for a share of the numbers and 1 / (1 - rate) for the others, ``like`` in shape and type.

    16 random bits decide on a number, so that a rate is one of 65,536 and four numbers cost one draw.
    """
    # Drawn on the CPU, so that a seed means the same on every device.
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    drawn = words.view(torch.int16)[: like.numel()].view(like.shape).to(like.device)
    dropped = min(round(rate * 2**16), 2**16 - 1)
    return (drawn >= dropped - 2**15).to(like.dtype).mul_(2**16 / (2**16 - dropped))


def checked_heads(heads: int, dim: int, where: str) -> int:
    """``heads`` as they are.

    Raises
    ------
    ConfigError
        If they do not divide the dimensions.
    """
    if dim % heads:
        raise ConfigError(
            "the heads do not share the dimensions evenly",
            where=where,
            got=heads,
            accepted=f"a divisor of model.dim = {dim}",
        )
    return heads


def pieces(counts: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut histories of ``counts`` interactions, each above 0, into pieces of at most ``longest``, the short one first.

    Returns
    -------
    Tensor, Tensor, Tensor
        Of each piece, in the order of histories and time: whose it is, where it begins and how long it is, int64.
    """
    n_pieces = (counts + longest - 1) // longest
    whose = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), n_pieces)
    ends = n_pieces.cumsum(0)
    to_come = ends[whose] - 1 - torch.arange(len(whose), device=counts.device)
    ends_at = counts[whose] - to_come * longest
    first = (ends_at - longest).clamp_min(0)
    return whose, first, ends_at - first
