"""Batches and negatives, vectorised, without a Python loop over users or items.

Every epoch has a generator of its own, seeded from (seed, phase, epoch), so an
epoch draws the same numbers whether training ran through or was resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from recmind.data.splitting import Split
from recmind.model.graph import BipartiteGraph, build_graph


def epoch_generator(seed: int, phase: str, epoch: int) -> torch.Generator:
    """The random numbers of one epoch; independent between seeds, phases and epochs."""
    digest = hashlib.sha256(f"{seed}/{phase}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


_TABLE = 2**22


def cumulative(weights: Tensor) -> Tensor:
    """Running sums of weights along the last dimension, as shares that end in exactly 1.

    With :func:`pick` a draw from any number of categories; ``torch.multinomial`` stops at 2^24.
    """
    sums = torch.cumsum(weights, -1)
    return sums / sums[..., -1:]


def pick(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """For each number in [0, 1) the category whose stretch of the cumulative shares it falls into.

    A category of weight 0 has an empty stretch and is never picked.
    """
    return torch.searchsorted(cumulative, uniform, right=True)


class InteractionSampler:
    """Shuffled batches of training interactions and negatives for them.

    What a user has is looked up in the user's list in the graph. Interactions
    are shared with the split and the graph; the order of an epoch takes 4
    bytes each while its batches are given out.

    Parameters
    ----------
    split:
        Only its training part is read.
    exponent:
        ρ: items are drawn ∝ degree^ρ; 0 draws every item alike.
    cold:
        Whether items without a training interaction are drawn too. Where they
        are, the model learns that what nobody has bought is unwanted, and
        learns it about their texts.
    graph:
        The graph of the split's training part, where there is one already.
    """

    _MAX_ROUNDS = 20

    def __init__(
        self, split: Split, *, exponent: float = 0.0, cold: bool = True, graph: BipartiteGraph | None = None
    ) -> None:
        self.n_items, self.n_users = split.n_items, split.n_users
        train = split.train
        if graph is None:
            graph = build_graph(train.users, train.items, split.n_users, split.n_items)
        n = graph.n_interactions
        self._starts = graph.offsets[: self.n_users + 1].cpu()
        self._bought = graph.neighbours[:n].cpu()  # the users' lists: nodes of items, ascending
        self._in_time = graph.in_time.cpu()
        # A split's rows are sorted by user, as the lists are; the array is shared with it.
        is_sorted = not (train.users[1:] < train.users[:-1]).any()
        self.users = torch.from_numpy(train.users if is_sorted else np.sort(train.users))
        degrees = torch.from_numpy(split.item_degrees()).double()
        candidates = torch.ones_like(degrees) if cold else (degrees > 0).double()
        weights = candidates if exponent == 0 else degrees**exponent * candidates
        self.candidates = torch.nonzero(candidates).squeeze(1)
        self._cumulative = cumulative(weights)
        self._uniform = exponent == 0 and len(self.candidates) == self.n_items
        self.log_probability = torch.log(weights / weights.sum()).float()

    def __len__(self) -> int:
        return len(self.users)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """(users, positives) of every training interaction once, shuffled, int64 ``(b,)`` each."""
        index = torch.int32 if len(self) < 2**31 else torch.int64
        order = torch.randperm(len(self), generator=generator, dtype=index)
        for chunk in order.split(batch_size):
            yield self.users[chunk].long(), self._bought[chunk].long() - self.n_users

    def histories(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """The same with whole users: all interactions of a user are in one batch, one after the other as they came.

        Users are shuffled; a batch is full with the user who reaches ``batch_size``.
        """
        counts = self._starts.diff()
        order = torch.randperm(self.n_users, generator=generator)
        order = order[counts[order] > 0]
        batch = (counts[order].cumsum(0) - counts[order]) // batch_size
        for users in order.split(torch.unique_consecutive(batch, return_counts=True)[1].tolist()):
            n = counts[users]
            first = self._starts[users] - (n.cumsum(0) - n)
            at = torch.repeat_interleave(first, n) + torch.arange(int(n.sum()))
            yield torch.repeat_interleave(users, n), self._in_time[at].long()

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Items from the sampling distribution, int64, without looking at any user."""
        if self._uniform:
            return torch.randint(self.n_items, shape, generator=generator)
        return pick(self._cumulative, torch.rand(shape, generator=generator, dtype=torch.float64))

    def negatives(self, users: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """For each user n items that the user has not interacted with in training.

        Rejected draws are drawn again; for users who have nearly everything a
        few rounds are tried, then the draw is made among what they lack. A
        user who has everything that can be drawn keeps its draw, and the loss
        has nothing to tell there.

        Returns
        -------
        Tensor
            int64 ``(b, n)``.
        """
        drawn = self.draw((len(users), n), generator)
        rows, columns = torch.nonzero(self.is_positive(users[:, None], drawn), as_tuple=True)
        for _ in range(self._MAX_ROUNDS):
            if not len(rows):
                break
            again = self.draw((len(rows),), generator)
            drawn[rows, columns] = again
            still = self.is_positive(users[rows], again)
            rows, columns = rows[still], columns[still]
        # As many users at once as make a table of a few million entries.
        for some in torch.arange(len(rows)).split(max(1, _TABLE // self.n_items)):
            at = rows[some], columns[some]
            drawn[at] = self._among_lacking(users[at[0]], drawn[at], generator)
        return drawn

    def _among_lacking(self, users: Tensor, otherwise: Tensor, generator: torch.Generator) -> Tensor:
        """An item that each user lacks, drawn by weight; ``otherwise`` where there is none."""
        lacking = torch.ones(len(users), self.n_items, dtype=torch.bool)
        counts = self._starts[users + 1] - self._starts[users]
        rows = torch.repeat_interleave(torch.arange(len(users)), counts)
        begins = self._starts[users] - (counts.cumsum(0) - counts)
        bought = self._bought[begins[rows] + torch.arange(len(rows))]
        lacking[rows, bought.long() - self.n_users] = False
        weights = self.log_probability.double().exp() * lacking
        there = weights.sum(1) > 0
        uniform = torch.rand(len(users), 1, generator=generator, dtype=torch.float64)
        # The cumulative rows of users who lack nothing are not numbers, and what is found there is not used.
        found = pick(cumulative(weights), uniform).squeeze(1).clamp_max(self.n_items - 1)
        return torch.where(there, found, otherwise)

    def is_positive(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each (user, item) is a training interaction; shapes broadcast.

        A binary search in each user's list, all of them in step.
        """
        users, items = torch.broadcast_tensors(users, items)
        starts, bought = self._starts.numpy(), self._bought.numpy()
        wanted = (items.flatten() + self.n_users).to(torch.int32).numpy()
        user = users.flatten().numpy()
        # How many of the list are known to be smaller than what is wanted, found bit by bit.
        low, end = starts[user], starts[user + 1]
        longest = int((end - low).max(initial=0))
        for bit in reversed(range(longest.bit_length())):
            probe = low + (1 << bit)
            smaller = bought.take(probe - 1, mode="clip") < wanted
            low = np.where((probe <= end) & smaller, probe, low)
        found = (low < end) & (bought.take(low, mode="clip") == wanted)
        return torch.from_numpy(found).view(users.shape)
