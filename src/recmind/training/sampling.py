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


def epoch_generator(seed: int, phase: str, epoch: int) -> torch.Generator:
    """The random numbers of one epoch; independent between seeds, phases and epochs."""
    digest = hashlib.sha256(f"{seed}/{phase}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class InteractionSampler:
    """Shuffled batches of training interactions and negatives for them.

    Parameters
    ----------
    split:
        Only its training part is read.
    exponent:
        ρ: items are drawn ∝ degree^ρ; 0 draws every item alike.
    """

    _MAX_ROUNDS = 20

    def __init__(self, split: Split, *, exponent: float = 0.0) -> None:
        self.n_items = split.n_items
        self.users = torch.from_numpy(split.train.users.astype(np.int64))
        self.items = torch.from_numpy(split.train.items.astype(np.int64))
        self._keys = torch.sort(self.users * self.n_items + self.items).values
        degrees = torch.from_numpy(split.item_degrees()).double()
        weights = torch.ones_like(degrees) if exponent == 0 else degrees**exponent
        # A cumulative table and a binary search: torch.multinomial stops at 2^24 categories.
        self._cumulative = None if exponent == 0 else torch.cumsum(weights, 0) / weights.sum()
        self.log_probability = torch.log(weights / weights.sum()).float()

    def __len__(self) -> int:
        return len(self.users)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """(users, positives) of every training interaction once, shuffled, int64 ``(b,)`` each."""
        order = torch.randperm(len(self), generator=generator)
        for chunk in order.split(batch_size):
            yield self.users[chunk], self.items[chunk]

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Items from the sampling distribution, int64, without looking at any user."""
        if self._cumulative is None:
            return torch.randint(self.n_items, shape, generator=generator)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, uniform).clamp_max(self.n_items - 1)

    def negatives(self, users: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """For each user n items that the user has not interacted with in training.

        Rejected draws are drawn again. For users who have nearly everything a
        bounded number of rounds is tried; a user who has everything keeps its
        draw, and the loss has nothing to tell there.

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
        return drawn

    def is_positive(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each (user, item) is a training interaction; shapes broadcast."""
        keys = users * self.n_items + items
        at = torch.searchsorted(self._keys, keys).clamp_max(len(self._keys) - 1)
        return self._keys[at] == keys
