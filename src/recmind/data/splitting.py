"""Splits of a dataset into training, validation and test interactions.

Every split is a pure function of the dataset, the settings and a seed. What is
held out is chosen by position, time or item code alone and never by the
contents of the held-out rows, so that nothing of validation or test reaches
training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.ordering import by_user_and_time, counts_of, index_type, take
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
        Row numbers in ``dataset.interactions``, shape ``(n,)``: int32, and
        int64 for 2^31 interactions or more.
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
    """What was left out, and why."""

    def part(self, name: str) -> Part:
        """The part called ``train``, ``valid`` or ``test``."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def knowing(self, *names: str) -> Split:
        """The same interactions with the parts ``names`` among those of the training part, behind a user's own.

        What is known by the time of the next interaction; nothing to train on.
        """
        if not any(len(self.part(name)) for name in names):
            return self
        parts = [self.train, *(self.part(name) for name in names)]
        users = np.concatenate([part.users for part in parts])
        order = np.argsort(users, kind="stable")
        items, rows = (np.concatenate([getattr(part, key) for part in parts])[order] for key in ("items", "rows"))
        none = Part(*(array[:0] for array in (users, items, rows)))
        emptied = dict.fromkeys(names, none)
        return replace(self, train=Part(users[order], items, rows), **emptied)

    def item_degrees(self) -> np.ndarray:
        """Training interactions per item, int64 ``(n_items,)``."""
        return counts_of(self.train.items, self.n_items)

    def user_degrees(self) -> np.ndarray:
        """Training interactions per user, int64 ``(n_users,)``."""
        return counts_of(self.train.users, self.n_users)


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
    if cut := np.count_nonzero(marks == _DROPPED):
        n = int(np.unique(users[marks == _DROPPED]).size)
        notes.append(f"{cut} training interactions of {n} users whose histories are cut")
    trained = np.zeros(dataset.n_users, dtype=bool)
    trained[users[marks == _TRAIN]] = True
    held_out = np.flatnonzero((marks == _VALID) | (marks == _TEST))
    orphans = held_out[~trained[users[held_out]]]
    if len(orphans):
        n = int(np.unique(users[orphans]).size)
        notes.append(f"{len(orphans)} held-out interactions of {n} users without any training interaction")
        marks[orphans] = _DROPPED
    if not (marks == _TRAIN).any():
        raise DataError(
            f"the split {config.kind!r} leaves no training interaction",
            got=f"{len(users)} interactions of {dataset.n_users} users",
            hint="use more data, a smaller held-out fraction, or another split",
        )
    if config.hide_test:
        marks[marks == _TEST] = _DROPPED
        notes.append("the test part, which is hidden")
    parts = [_part(dataset, marks == mark) for mark in (_TRAIN, _VALID, _TEST)]
    return Split(config.kind, dataset.n_users, dataset.n_items, *parts, notes=tuple(notes))


def _part(dataset: Dataset, mask: np.ndarray) -> Part:
    rows = np.arange(len(mask), dtype=index_type(len(mask)))[mask]
    return Part(dataset.user_codes[mask], dataset.item_codes[mask], rows)


def _leave_one_out(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """Last interaction to test, last but one to validation; users with fewer than 3 only train."""
    return _last_two_held_out(dataset.user_codes, dataset.n_users)


def _last_two_held_out(users: np.ndarray, n_users: int) -> np.ndarray:
    """Marks of a leave-one-out split of rows sorted by user and time, int8 ``(n,)``."""
    counts = counts_of(users, n_users)
    last = np.cumsum(counts)[counts >= 3] - 1
    marks = np.zeros(len(users), dtype=np.int8)
    marks[last] = _TEST
    marks[last - 1] = _VALID
    return marks


def _valid_only(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """Last interaction to validation, all others to training; no test part."""
    counts = counts_of(dataset.user_codes, dataset.n_users)
    marks = np.zeros(dataset.n_interactions, dtype=np.int8)
    marks[np.cumsum(counts)[counts >= 2] - 1] = _VALID
    return marks


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
    n = len(times)
    places = [1 - config.valid_fraction - config.test_fraction, 1 - config.test_fraction]
    places = [min(n - 1, int(n * place)) for place in places]
    valid_from, test_from = np.partition(times, places)[places]
    marks = np.zeros(n, dtype=np.int8)
    marks[times >= valid_from] = _VALID
    marks[times >= test_from] = _TEST
    return marks


def _ratio(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """A random share of each user's interactions to validation and test; one at least stays to train on.

    Shares that are no whole number are rounded up or down at random, so that
    users with few interactions hold something out as often as their share says.
    """
    users, n = dataset.user_codes, dataset.n_interactions
    rng = np.random.default_rng(config.seed)
    shuffled = by_user_and_time(users, pl.Series(rng.random(n)), dataset.n_users)
    counts = counts_of(users, dataset.n_users)
    # 0.29 * 100 is 28.999...: a hair is added so that it counts as 29.
    chance = rng.random((2, dataset.n_users)) * (1 - 1e-6)
    n_test = np.minimum(np.floor(counts * config.test_fraction + 1e-9 + chance[0]), counts - 1)
    n_valid = np.floor(counts * config.valid_fraction + 1e-9 + chance[1])
    n_valid = np.minimum(n_valid, counts - 1 - n_test)
    # Of each user's shuffled rows the last go to test, those before to validation.
    rows = np.arange(n, dtype=index_type(n))
    test_from = (np.cumsum(counts) - n_test).astype(rows.dtype)
    valid_from = (test_from - n_valid).astype(rows.dtype)
    marks = np.zeros(n, dtype=np.int8)
    marks[rows >= take(valid_from, users)] = _VALID
    marks[rows >= take(test_from, users)] = _TEST
    if shuffled is None:
        return marks
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


def _cold_and_warm(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """As `cold-items`, and of what is left each user's last two interactions are held out too.

    So the same model is measured on items without a training edge, on others,
    and on both at once.
    """
    marks = _cold_items(dataset, config)
    warm = np.flatnonzero(marks == _TRAIN)
    marks[warm] = _last_two_held_out(dataset.user_codes[warm], dataset.n_users)
    return marks


HISTORY_LENGTHS: Final = (1, 2, 3, 5)
"""To how many training interactions `short-histories` cuts."""
WHOLE: Final = 2**31 - 1
"""In :func:`kept_histories`: a user of the sample whose history is not cut."""


def kept_histories(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """To how many training interactions `short-histories` cuts each user, int64 ``(n_users,)``.

    The sample is a random half of the users with at least 5 training
    interactions. Each of them is given one of :data:`HISTORY_LENGTHS` or
    :data:`WHOLE` by lot, so that the five groups are alike but for what is left
    of their histories. Users outside the sample have -1 and are not cut. Only
    counts are looked at.
    """
    counts = counts_of(dataset.user_codes, dataset.n_users) - 2
    eligible = np.flatnonzero(counts >= max(HISTORY_LENGTHS))
    sample = np.random.default_rng(config.seed).permutation(eligible)[: (len(eligible) + 1) // 2]
    lengths = np.array([*HISTORY_LENGTHS, WHOLE])
    kept = np.full(dataset.n_users, -1, dtype=np.int64)
    kept[sample] = lengths[np.arange(len(sample)) % len(lengths)]
    return kept


def _short_histories(dataset: Dataset, config: SplitConfig) -> np.ndarray:
    """As `leave-one-out`, and of some users all but the last few training interactions are taken away."""
    marks = _leave_one_out(dataset, config)
    kept = kept_histories(dataset, config)
    if not (kept > 0).any():
        longest = int(counts_of(dataset.user_codes, dataset.n_users).max())
        raise DataError(
            "no user has a history long enough to be cut",
            where="the split 'short-histories'",
            got=f"{dataset.n_users} users with {longest} interactions at most",
            accepted=f"users with {max(HISTORY_LENGTHS) + 2} interactions or more",
        )
    users = dataset.user_codes
    # How many of the user's training interactions come after each row: the last two rows are held out.
    after = np.cumsum(counts_of(users, dataset.n_users))[users] - 3 - np.arange(len(users))
    limit = kept[users]
    marks[(marks == _TRAIN) & (limit > 0) & (after >= limit)] = _DROPPED
    return marks


_KINDS: dict[str, Callable[[Dataset, SplitConfig], np.ndarray]] = {
    "leave-one-out": _leave_one_out,
    "temporal": _temporal,
    "ratio": _ratio,
    "cold-items": _cold_items,
    "cold-and-warm": _cold_and_warm,
    "short-histories": _short_histories,
    "valid-only": _valid_only,
}
