"""Splits of a dataset into training, validation and test interactions.

Every split is a pure function of the dataset, the settings and a seed. What is
held out is chosen by position, time or item code alone and never by the
contents of the held-out rows, so that nothing of validation or test reaches
training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.errors import DataError
from recmind.schema import Columns


@dataclass(frozen=True)
class Part:
    """Interactions of one part of a split, as parallel arrays.

    Attributes
    ----------
    users, items:
        Dense codes, int32, shape ``(n,)``, sorted by user and then by time.
    rows:
        Row numbers in ``dataset.interactions``, int64, shape ``(n,)``.
    """

    users: np.ndarray
    items: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Split:
    """Training, validation and test interactions of one dataset."""

    kind: str
    n_users: int
    n_items: int
    train: Part
    valid: Part
    test: Part
    notes: tuple[str, ...] = ()
    """What was left out of validation and test, and why."""

    def part(self, name: str) -> Part:
        """The part called ``train``, ``valid`` or ``test``."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def item_degrees(self) -> np.ndarray:
        """Training interactions per item, int64 ``(n_items,)``."""
        return np.bincount(self.train.items, minlength=self.n_items)

    def user_degrees(self) -> np.ndarray:
        """Training interactions per user, int64 ``(n_users,)``."""
        return np.bincount(self.train.users, minlength=self.n_users)


# Marks of a row: which part it goes to.
_TRAIN, _VALID, _TEST, _DROPPED = 0, 1, 2, 3


def split_dataset(dataset: Dataset, config: SplitConfig) -> Split:
    """Split ``dataset`` as ``config.kind`` says.

    Raises
    ------
    DataError
        If the split needs timestamps that the dataset lacks, or if nothing
        would be left to train on.
    """
    marks = _KINDS[config.kind](dataset, config)
    notes: list[str] = []
    users = dataset.user_codes
    trained = np.zeros(dataset.n_users, dtype=bool)
    trained[users[marks == _TRAIN]] = True
    orphans = ~trained[users] & (marks != _TRAIN)
    if orphans.any():
        n = int(np.unique(users[orphans]).size)
        notes.append(f"{int(orphans.sum())} held-out interactions of {n} users without any training interaction")
        marks = np.where(orphans, _DROPPED, marks)
    if not (marks == _TRAIN).any():
        raise DataError(
            f"the split {config.kind!r} leaves no training interaction",
            got=f"{len(users)} interactions of {dataset.n_users} users",
            hint="use more data, a smaller held-out fraction, or another split",
        )
    parts = [_part(dataset, marks == mark) for mark in (_TRAIN, _VALID, _TEST)]
    return Split(config.kind, dataset.n_users, dataset.n_items, *parts, notes=tuple(notes))


def _part(dataset: Dataset, mask: np.ndarray) -> Part:
    rows = np.flatnonzero(mask)
    return Part(dataset.user_codes[rows], dataset.item_codes[rows], rows)


def _positions_from_end(users: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """For rows sorted by user: distance to the user's last row, and the user's row count."""
    counts = np.bincount(users, minlength=n_users)
    ends = np.cumsum(counts)
    return ends[users] - 1 - np.arange(len(users)), counts[users]


def _leave_one_out(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """Last interaction to test, last but one to validation; users with fewer than 3 only train."""
    from_end, counts = _positions_from_end(dataset.user_codes, dataset.n_users)
    marks = np.zeros(len(from_end), dtype=np.int8)
    marks[(from_end == 0) & (counts >= 3)] = _TEST
    marks[(from_end == 1) & (counts >= 3)] = _VALID
    return marks


def _valid_only(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """Last interaction to validation, all others to training; no test part."""
    from_end, counts = _positions_from_end(dataset.user_codes, dataset.n_users)
    return np.where((from_end == 0) & (counts >= 2), _VALID, _TRAIN).astype(np.int8)


def _temporal(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """One cut in time for everybody: the oldest interactions train, the newest test."""
    if Columns.TIMESTAMP not in dataset.interactions.columns:
        raise DataError(
            "the temporal split needs timestamps",
            where=f"column {Columns.TIMESTAMP!r}",
            got=dataset.interactions.columns,
            hint="use the split 'leave-one-out', which needs only the order within each user",
        )
    times = dataset.interactions[Columns.TIMESTAMP].to_numpy()
    ordered = np.sort(times)
    n = len(ordered)
    valid_from = ordered[min(n - 1, int(n * (1 - config.valid_fraction - config.test_fraction)))]
    test_from = ordered[min(n - 1, int(n * (1 - config.test_fraction)))]
    return np.where(times >= test_from, _TEST, np.where(times >= valid_from, _VALID, _TRAIN)).astype(np.int8)


def _ratio(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """A random share of each user's interactions to validation and test; one at least stays to train on.

    Shares that are no whole number are rounded up or down at random, so that
    users with few interactions hold something out as often as their share says.
    """
    users, n = dataset.user_codes, len(dataset.user_codes)
    rng = np.random.default_rng(config.seed)
    shuffled = np.lexsort((rng.random(n), users))
    from_end, counts = _positions_from_end(users, dataset.n_users)
    # 0.29 * 100 is 28.999...: a hair is added so that it counts as 29.
    chance = rng.random((2, dataset.n_users)) * (1 - 1e-6)
    n_test = np.minimum(np.floor(counts * config.test_fraction + 1e-9 + chance[0][users]), counts - 1)
    n_valid = np.floor(counts * config.valid_fraction + 1e-9 + chance[1][users])
    n_valid = np.minimum(n_valid, counts - 1 - n_test)
    marks = np.where(from_end < n_test, _TEST, np.where(from_end < n_test + n_valid, _VALID, _TRAIN))
    result = np.empty(n, dtype=np.int8)
    result[shuffled] = marks
    return result


def _cold_items(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """A random share of the items loses every training edge and is all that is tested.

    The items are drawn from the whole catalogue by code, whether they were
    bought or not, so the draw does not depend on the interactions.
    """
    order = np.random.default_rng(config.seed).permutation(dataset.n_items)
    n_valid = max(1, int(dataset.n_items * config.valid_fraction))
    n_test = max(1, int(dataset.n_items * config.test_fraction))
    of_item = np.zeros(dataset.n_items, dtype=np.int8)
    of_item[order[:n_test]] = _TEST
    of_item[order[n_test : n_test + n_valid]] = _VALID
    return of_item[dataset.item_codes]


_KINDS: dict[str, Callable[[Dataset, SplitConfig], np.ndarray]] = {
    "leave-one-out": _leave_one_out,
    "temporal": _temporal,
    "ratio": _ratio,
    "cold-items": _cold_items,
    "valid-only": _valid_only,
}
