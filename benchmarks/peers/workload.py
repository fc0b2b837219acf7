"""The data of a benchmark as one file of arrays that every contender reads, whatever its environment."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from peers.environment import BENCH, keep_out_of_git

if TYPE_CHECKING:  # peers have no RecMind in their environment
    from recmind.data.dataset import Dataset
    from recmind.data.splitting import Split


@dataclass(frozen=True)
class Workload:
    """Training pairs, one held-out pair for some users, and sizes.

    Attributes
    ----------
    users, items:
        Codes of the training pairs, int32 ``(n,)``, sorted by user.
    valid_users, valid_items:
        Held-out pairs, int32 ``(m,)``.
    """

    users: np.ndarray
    items: np.ndarray
    valid_users: np.ndarray
    valid_items: np.ndarray
    n_users: int
    n_items: int

    def __len__(self) -> int:
        return len(self.users)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **asdict(self))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read the file."""
        with np.load(path) as arrays:
            pairs = [arrays[name] for name in ("users", "items", "valid_users", "valid_items")]
            return cls(*pairs, n_users=int(arrays["n_users"]), n_items=int(arrays["n_items"]))


def generate(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> Workload:
    """A bipartite graph of distinct pairs whose degrees follow power laws on both sides.

    Users' and items' weights are (rank + offset)^-exponent in random order of
    the codes, so that no contender gains from their order. Every user and every
    item has a pair: libraries that learn of nodes from the pairs then have the
    same sizes as the others. One pair of nearly every user is held out on top,
    so the training pairs are ``n_interactions`` and a few.
    """
    rng = np.random.default_rng(seed)
    wanted = n_interactions + n_users
    user_shares, item_shares = _power_law(n_users, rng), _power_law(n_items, rng)
    # Each side once with a random partner, so that nobody is left out.
    keys = np.concatenate(
        [
            np.arange(n_users, dtype=np.int64) * n_items + _draw(item_shares, n_users, rng),
            _draw(user_shares, n_items, rng) * n_items + np.arange(n_items, dtype=np.int64),
        ]
    )
    keys = np.unique(keys)
    while len(keys) < wanted:
        n = int((wanted - len(keys)) * 1.3) + 1000
        drawn = _draw(user_shares, n, rng) * n_items + _draw(item_shares, n, rng)
        keys = _union(keys, drawn, wanted, rng)
    users, items = (keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32)
    return _hold_out(users, items, n_users, n_items, rng)


def _power_law(n: int, rng: np.random.Generator, exponent: float = 0.7, offset: float = 10.0) -> np.ndarray:
    """Cumulative shares of n nodes in random order."""
    weights = (np.arange(n) + offset) ** -exponent
    shares = np.cumsum(rng.permutation(weights))
    return shares / shares[-1]


def _draw(shares: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.minimum(np.searchsorted(shares, rng.random(n), side="right"), len(shares) - 1).astype(np.int64)


def _union(keys: np.ndarray, drawn: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """``keys`` and as many of the new ones as there is room for, sorted."""
    new = np.setdiff1d(drawn, keys)
    if len(keys) + len(new) > limit:
        new = rng.permutation(new)[: limit - len(keys)]
    return np.sort(np.concatenate([keys, new]))


def _hold_out(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, rng: np.random.Generator) -> Workload:
    """Hold one pair out of each user with two or more, where it leaves the item another one."""
    counts = np.bincount(users, minlength=n_users)
    picked = np.cumsum(counts) - 1 - np.floor(rng.random(n_users) * counts).astype(np.int64)
    picked = picked[counts > 1]
    taken = np.bincount(items[picked], minlength=n_items)
    picked = picked[taken[items[picked]] < np.bincount(items, minlength=n_items)[items[picked]]]
    train = np.ones(len(users), dtype=bool)
    train[picked] = False
    return Workload(users[train], items[train], users[picked], items[picked], n_users, n_items)


def generated_file(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> Path:
    """The file of a generated workload, kept for the next run."""
    folder = BENCH / "data"
    keep_out_of_git(BENCH)
    folder.mkdir(exist_ok=True)
    path = folder / f"generated-{n_users}-{n_items}-{n_interactions}-{seed}.npz"
    if not path.exists():
        generate(n_users, n_items, n_interactions, seed).save(path)
    return path


def workload_file(dataset: Dataset, split: Split) -> Path:
    """The file of a data set's training and validation pairs, kept for the next run."""
    folder = BENCH / "data"
    keep_out_of_git(BENCH)
    folder.mkdir(exist_ok=True)
    path = folder / f"{dataset.info.get('name', 'dataset')}-{dataset.hash[:12]}-{split.kind}.npz"
    if not path.exists():
        train, valid = split.train, split.valid
        Workload(train.users, train.items, valid.users, valid.items, split.n_users, split.n_items).save(path)
    return path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which data."""
    parser.add_argument("--data", type=Path, help="dataset folder instead of generated data")
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--interactions", type=int, default=1_350_000, help="training interactions")


def chosen_file(args: argparse.Namespace) -> Path:
    """The file of what the options say."""
    if args.data is None:
        return generated_file(args.users, args.items, args.interactions)
    from recmind.config import SplitConfig
    from recmind.data.dataset import Dataset
    from recmind.data.splitting import split_dataset

    dataset = Dataset.load(args.data)
    return workload_file(dataset, split_dataset(dataset, SplitConfig()))
