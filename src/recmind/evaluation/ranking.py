"""Exact ranking of the full catalogue, user block by user block.

Everything that evaluation and serving need of a ranking is read off the K best
items of a user, so no row is ever sorted and memory is one block of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recmind.errors import TrainingError
from recmind.evaluation.blocks import blocks
from recmind.evaluation.metrics import Ranks
from recmind.evaluation.seen import Interactions, Seen
from recmind.evaluation.selection import break_ties, count_ties
from recmind.model.scorer import Scorer
from recmind.progress import task


@dataclass(frozen=True)
class Ranked:
    """Where the targets ended up, and the lists that pushed them there.

    Attributes
    ----------
    users:
        Users that have a target, ascending, int32 ``(n_users,)``.
    targets:
        Item code of every target, int32 ``(n_targets,)``.
    ranks:
        Position of every target; its ``owner`` points into ``users``.
    lists:
        The K best items of every user, int32 ``(n_users, k)``, padded with -1;
        ``None`` if they were not asked for.
    """

    users: np.ndarray
    targets: np.ndarray
    ranks: Ranks
    lists: np.ndarray | None


def top_k(
    scorer: Scorer,
    users: np.ndarray | Sequence[int],
    k: int,
    seen: Seen | None,
    *,
    block_users: int,
    show_progress: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best items of each user, best first; exact.

    Items with equal scores stand in an order drawn from ``seed`` for each user
    apart, so that no item gains from its code or is favoured for everybody. The
    order depends on (user, item, seed) alone: neither ``k`` nor ``block_users``
    changes it. An item that is scored -inf is never listed.

    Parameters
    ----------
    scorer:
        Scores all items for a block of users.
    users:
        User codes, ``(n,)``, in any order; a code may repeat.
    k:
        Length of a list; where fewer items are left, the list is padded with
        -1 and -inf.
    seen:
        Items to leave out; ``None`` leaves out nothing.
    block_users:
        Bounds the memory: no more than about ``block_users x n_items x 4``
        bytes, the scores of so many users.

    Returns
    -------
    tuple of ndarray
        Items, int32 ``(n, k)``, and scores, float32 ``(n, k)``.

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    codes = np.array(users, dtype=np.int64)  # a copy: the caller's may be read-only or reversed, which torch refuses
    items = np.full((len(codes), k), -1, dtype=np.int32)
    scores = np.full((len(codes), k), -np.inf, dtype=np.float32)
    depth = min(k, scorer.n_items)
    if depth == 0:
        return items, scores
    with torch.inference_mode(), task("Ranking users", len(codes), show=show_progress) as advance:
        for rows, block in blocks(scorer, codes, depth, block_users):
            if seen is not None:
                block.leave_out(seen.of(codes[rows]))
            values, best = block.best(depth)
            _refuse_nan(values, codes[rows])
            values, best = break_ties(block.rows, values, best, codes[rows], depth, seed)
            scores[rows, :depth] = values.cpu().numpy()
            items[rows, :depth] = _listed(values, best)
            advance(rows.stop - rows.start)
    return items, scores


def rank_targets(
    scorer: Scorer,
    targets: Interactions,
    k: int,
    seen: Seen | None,
    *,
    block_users: int,
    lists: bool = True,
    show_progress: bool = False,
    seed: int = 0,
) -> Ranked:
    """Rank every target among all items that its user has not seen, down to position ``k``.

    A target is a candidate for its own user even where ``seen`` names it; the
    user's other targets are candidates too. Of a target scored -inf, which is
    never recommended, and of one outside the first ``k`` positions it is only
    known that at least ``k`` items stand above it.

    Raises
    ------
    TrainingError
        If a score is NaN.
    """
    order = np.argsort(targets.users, kind="stable")
    items = np.asarray(targets.items)[order].astype(np.int64)
    users, owner = np.unique(np.asarray(targets.users)[order], return_inverse=True)
    starts = np.searchsorted(owner, np.arange(len(users) + 1))
    depth = min(k, scorer.n_items)
    above = np.full(len(items), k, dtype=np.int64)
    tied = np.ones(len(items), dtype=np.int64)
    found = np.full((len(users), k), -1, dtype=np.int32)
    codes = users.astype(np.int64)
    with torch.inference_mode(), task("Ranking users", len(codes), show=show_progress) as advance:
        for rows, block in blocks(scorer, codes, depth, block_users):
            block_codes = codes[rows]
            part = slice(starts[rows.start], starts[rows.stop])
            kept = owner[part] - rows.start, items[part]
            at, which = (torch.from_numpy(codes).to(block.device) for codes in kept)
            score = block.pairs(at, which)
            _refuse_nan(score, users[owner[part]])
            if seen is not None:
                block.leave_out(seen.of(block_codes, kept))
            values, best = block.best(depth)
            _refuse_nan(values, block_codes)
            count = (values[at, :depth] > score[:, None]).sum(1)
            lost = (count >= depth) | (score == -torch.inf)
            above[part] = torch.where(lost, k, count).cpu().numpy()
            tied[part] = torch.where(lost, 1, count_ties(block.rows, values, at, score, depth)).cpu().numpy()
            if lists:
                values, best = break_ties(block.rows, values, best, block_codes, depth, seed)
                found[rows, :depth] = _listed(values, best)
            advance(rows.stop - rows.start)
    ranks = Ranks(owner, above, tied, len(users))
    return Ranked(users.astype(np.int32), items.astype(np.int32), ranks, found if lists else None)


def _listed(values: Tensor, items: Tensor) -> np.ndarray:
    """Item codes, -1 where nothing was left to list."""
    return torch.where(values == -torch.inf, -1, items).cpu().numpy()


def _refuse_nan(values: Tensor, users: np.ndarray) -> None:
    """Stop at a NaN among the best scores or the targets' scores; ``users`` names the rows of ``values``."""
    bad = torch.isnan(values)
    bad = bad.any(1) if bad.ndim == 2 else bad
    if bool(bad.any()):
        first = int(torch.nonzero(bad)[0, 0])
        raise TrainingError(
            "the model gives scores that are not a number",
            where=f"user code {int(users[first])}",
            got=float("nan"),
            hint="training has diverged: lower training.learning_rate, or go back to an earlier checkpoint",
        )
