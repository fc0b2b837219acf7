"""Which interactions stay: by exact repeats, time, rating, repeated pairs and k-core.

Works on dense codes, 28 bytes per interaction, so that the texts stay on disk
until it is known which rows are kept. Each step is linear in the rows left,
but for one sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recmind.errors import DataError


@dataclass(frozen=True)
class Keys:
    """What filtering needs to know of each interaction, in input order.

    Attributes
    ----------
    users, items:
        Dense codes, uint32 ``(n,)``.
    times:
        Seconds or positions, int64 ``(n,)``; ``NO_TIME`` where unknown.
    ratings:
        float32 ``(n,)``; NaN where unknown.
    digests:
        Hash of the whole row, uint64 ``(n,)``.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    ratings: np.ndarray
    digests: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


NO_TIME = np.iinfo(np.int64).min
"""Stands for an unknown time."""


@dataclass(frozen=True)
class Step:
    """One step of filtering: what it removed and what was left."""

    name: str
    removed: int
    left: int
    note: str = ""

    def as_dict(self) -> dict[str, str | int]:
        """The step as ``dataset.json`` holds it."""
        note = {"note": self.note} if self.note else {}
        return {"step": self.name, "removed": self.removed, "left": self.left, **note}


def exact_repeats(keys: Keys) -> np.ndarray:
    """Rows equal to an earlier one in every column, as a mask ``(n,)``."""
    order = np.lexsort((keys.digests, _pairs(keys)))
    pairs, digests = _pairs(keys)[order], keys.digests[order]
    mask = np.zeros(len(keys), dtype=bool)
    # lexsort is stable, so the first of equal rows is the first in the input.
    mask[order[1:]] = (pairs[1:] == pairs[:-1]) & (digests[1:] == digests[:-1])
    return mask


def repeated_pairs(keys: Keys, alive: np.ndarray, keep: Literal["first", "last"] = "first") -> np.ndarray:
    """Rows of a (user, item) pair other than its first (or last) in time, as a mask ``(n,)``."""
    rows = np.flatnonzero(alive)
    pairs = _pairs(keys)[rows]
    order = np.lexsort((keys.times[rows], pairs))
    same = pairs[order][1:] == pairs[order][:-1]
    mask = np.zeros(len(keys), dtype=bool)
    mask[rows[order[1:] if keep == "first" else order[:-1]]] = same
    return mask


def k_core(
    users: np.ndarray, items: np.ndarray, alive: np.ndarray, min_user: int, min_item: int
) -> tuple[np.ndarray, int]:
    """The largest set of rows in which every user and every item has enough rows.

    Users and items below their minimum are removed in turn until none is left
    below; each round is linear in the rows left.

    Parameters
    ----------
    users, items:
        Dense codes ``(n,)``.
    alive:
        Rows to start from, bool ``(n,)``.
    min_user, min_item:
        Least number of rows of a user and of an item.

    Returns
    -------
    The rows that stay, bool ``(n,)``, and the number of rounds.
    """
    rows, rounds = np.flatnonzero(alive), 0
    u, i = users[rows], items[rows]
    while len(rows):
        rounds += 1
        stay = (np.bincount(u)[u] >= min_user) & (np.bincount(i)[i] >= min_item)
        if stay.all():
            break
        rows, u, i = rows[stay], u[stay], i[stay]
    mask = np.zeros(len(alive), dtype=bool)
    mask[rows] = True
    return mask, rounds


def filter_keys(
    keys: Keys,
    *,
    min_rating: float | None = None,
    min_user_interactions: int = 1,
    min_item_interactions: int = 1,
    keep: Literal["first", "last"] = "first",
) -> tuple[np.ndarray, list[Step]]:
    """Rows that stay, bool ``(n,)``, and what each step removed.

    Raises
    ------
    DataError
        If a rating is asked for and no row has one, or nothing is left.
    """
    alive, steps = np.ones(len(keys), dtype=bool), []

    def apply(name: str, removed: np.ndarray, note: str = "") -> None:
        before = int(alive.sum())
        alive[removed] = False
        steps.append(Step(name, before - int(alive.sum()), int(alive.sum()), note))

    apply("exact repeats", exact_repeats(keys))
    timeless = keys.times == NO_TIME
    if timeless.any() and not timeless.all():
        apply("no time, where others have one", timeless)
    if min_rating is not None:
        if np.isnan(keys.ratings).all():
            raise DataError("no interaction has a rating", where="min_rating", got=min_rating, hint="leave it out")
        apply("no rating", np.isnan(keys.ratings))
        apply(f"rating below {min_rating:g}", keys.ratings < min_rating)
    apply(f"repeated pairs, {keep} kept", repeated_pairs(keys, alive, keep))
    if min_user_interactions > 1 or min_item_interactions > 1:
        core, rounds = k_core(keys.users, keys.items, alive, min_user_interactions, min_item_interactions)
        name = f"users with fewer than {min_user_interactions} or items with fewer than {min_item_interactions}"
        apply(name, ~core, f"{rounds} rounds")
    if not alive.any():
        told = "; ".join(f"{step.name}: {step.removed} removed" for step in steps if step.removed)
        raise DataError("filtering leaves no interaction", got=told, hint="lower the thresholds")
    return alive, steps


def _pairs(keys: Keys) -> np.ndarray:
    return (keys.users.astype(np.uint64) << np.uint64(32)) | keys.items
