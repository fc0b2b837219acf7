from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from recmind.data.splitting import Part, Split

Pairs = Iterable[tuple[int, int]]


class DenseScorer:
    """A model that is nothing but its matrix of scores."""

    def __init__(self, matrix: object) -> None:
        self.matrix = torch.as_tensor(np.asarray(matrix), dtype=torch.float32)

    @property
    def n_users(self) -> int:
        return self.matrix.shape[0]

    @property
    def n_items(self) -> int:
        return self.matrix.shape[1]

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        return self.matrix[users].clone()


def part_of(pairs: Pairs) -> Part:
    ordered = sorted(pairs)
    users, items = (np.array([pair[i] for pair in ordered], dtype=np.int32) for i in (0, 1))
    return Part(users, items, np.arange(len(ordered)))


def split_of(n_users: int, n_items: int, train: Pairs = (), valid: Pairs = (), test: Pairs = ()) -> Split:
    return Split("ratio", n_users, n_items, part_of(train), part_of(valid), part_of(test))


def random_split_of(n_users: int, n_items: int, sizes: tuple[int, int, int], seed: int = 0) -> Split:
    """Disjoint random pairs, ``sizes`` of them in training, validation and test."""
    cells = np.random.default_rng(seed).choice(n_users * n_items, sum(sizes), replace=False)
    parts = np.split(cells, np.cumsum(sizes)[:2])
    return split_of(n_users, n_items, *([(int(c) // n_items, int(c) % n_items) for c in part] for part in parts))


@pytest.fixture(scope="session")
def dense() -> type[DenseScorer]:
    return DenseScorer


@pytest.fixture(scope="session")
def make_part() -> Callable[..., Part]:
    return part_of


@pytest.fixture(scope="session")
def make_split() -> Callable[..., Split]:
    return split_of


@pytest.fixture(scope="session")
def random_split() -> Callable[..., Split]:
    return random_split_of
