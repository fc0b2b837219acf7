"""Histories read in order: a causal Transformer (Kang and McAuley 2018, arXiv 1808.09781)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind.errors import ConfigError
from recmind.model.graph import BipartiteGraph
from recmind.model.node_texts import in_precision
from recmind.model.propagation import gather_rows

_TOGETHER = 2**16
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
    last one: so all interactions are learnt from. Places are counted from the
    start, where the paper counts from the end: so a state in training is the one
    that the user had then. Attention weights are not dropped, and a user without a
    history is given what comes first in others.

    Parameters
    ----------
    length:
        n, how many of a user's latest items are read.
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
    ) -> None:
        super().__init__()
        self.graph, self.length, self.dropout, self.precision = graph, length, dropout, precision
        self.places = nn.Parameter(torch.randn(length, dim) * init_std)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)

    def after(self, users: Tensor, vectors_of: VectorsOf) -> Tensor:
        """States after the whole history of each of the users, ``(b, d)``, as in use."""
        had = self.graph.degrees[users].long()
        first = (had + 1 - self.length).clamp_min(0)
        lengths = had + 1 - first
        found = [
            (states[torch.arange(len(at), device=at.device), lengths[at] - 1], at)
            for states, at in self._read(users, first, lengths, vectors_of, None)
        ]
        return self._in_order(found)

    def before(self, users: Tensor, vectors_of: VectorsOf, generator: torch.Generator | None = None) -> Tensor:
        """States right before each interaction, ``(b, d)``.

        Parameters
        ----------
        users:
            int64 ``(b,)``, each as often as the user has interactions, one after the other.
        """
        distinct, counts = torch.unique_consecutive(users, return_counts=True)
        whose, first, lengths = pieces(counts, self.length)
        begins = counts.cumsum(0) - counts
        found = []
        for states, at in self._read(distinct[whose], first, lengths, vectors_of, generator):
            steps = torch.arange(states.shape[1], device=users.device)
            inside = steps < lengths[at][:, None]
            places = (begins[whose[at]] + first[at])[:, None] + steps
            found.append((states[inside], places[inside]))
        return self._in_order(found)

    def _read(
        self, users: Tensor, first: Tensor, lengths: Tensor, vectors_of: VectorsOf, generator: torch.Generator | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Read m pieces of histories, those of nearly the same length at once.

        Parameters
        ----------
        users:
            Whose, int64 ``(m,)``.
        first, lengths:
            From which place of the history on how many items are looked for, int64 ``(m,)`` each.

        Yields
        ------
        Tensor, Tensor
            The states from which they are looked for, ``(g, longest, d)``, meaningless behind the end of a piece, and
            which pieces these are, int64 ``(g,)``.
        """
        for at in alike(lengths, _TOGETHER):
            steps = torch.arange(int(lengths[at].max()), device=users.device)
            places = first[at][:, None] + steps
            there = (places > 0) & (steps < lengths[at][:, None])
            sold = (self.graph.offsets[users[at]][:, None] + places - 1)[there]
            rows = vectors_of(self.graph.in_time[sold].long())
            x = rows.new_zeros(there.numel(), rows.shape[1]).index_copy(0, there.flatten().nonzero().squeeze(1), rows)
            yield self._encode(x.view(*there.shape, -1) + self.places[: len(steps)], generator), at

    def _encode(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """LN of what the last block makes of ``(g, n, d)``."""

        def drop(x: Tensor) -> Tensor:
            rate = self.dropout
            if generator is None or not rate:
                return x
            # Drawn on the CPU, so that a seed means the same on every device.
            kept = torch.rand(x.shape, generator=generator) >= rate
            return x * kept.to(x) / (1 - rate)

        with in_precision(self.precision, x):
            x = drop(x)
            for block in self.blocks:
                x = block(x, drop)
        return self.norm(x.to(self.places.dtype))

    def _in_order(self, found: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Rows by the places that stand beside them."""
        if not found:
            return self.places.new_empty(0, self.places.shape[1])
        rows, places = (torch.cat(parts) for parts in zip(*found, strict=True))
        return gather_rows(rows, torch.argsort(places))


class Block(nn.Module):
    """x + A(LN(x)), and then x + F(LN(x)): attention with an output projection, and two layers of the same width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_layers = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend, self.project = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, drop: Callable[[Tensor], Tensor]) -> Tensor:
        """``(g, n, d)`` to the same; ``drop`` is given what is added."""
        split = self.attend(self.before_attention(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (g, heads, n, d / heads) each
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + drop(self.project(attended.transpose(1, 2).flatten(2)))
        return x + drop(self.outer(self.inner(self.before_layers(x)).relu()))


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


def alike(lengths: Tensor, places: int) -> Iterator[Tensor]:
    """Groups of nearly the same length, a quarter apart at most, of about so many places each: int64 indices."""
    if not len(lengths):
        return
    order = torch.argsort(lengths, stable=True)
    size = torch.ceil(3 * torch.log2(lengths[order].double())).long()
    for group in order.split(torch.unique_consecutive(size, return_counts=True)[1].tolist()):
        yield from group.split(max(1, places // int(lengths[group[-1]])))
