"""Splits and models of a few nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recmind.config import Config, load_config
from recmind.data.splitting import Part, Split
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model


def part_of(pairs: list[tuple[int, int]]) -> Part:
    users, items = (np.array([pair[k] for pair in pairs], dtype=np.int32) for k in (0, 1))
    return Part(users, items, np.arange(len(pairs)))


def make_split(
    train: list[tuple[int, int]],
    n_users: int,
    n_items: int,
    valid: list[tuple[int, int]] | None = None,
    test: list[tuple[int, int]] | None = None,
) -> Split:
    return Split("leave-one-out", n_users, n_items, part_of(sorted(train)), part_of(valid or []), part_of(test or []))


@pytest.fixture(scope="session")
def split_of():
    """Builds a split from (user, item) pairs."""
    return make_split


@pytest.fixture(scope="session")
def random_split() -> Split:
    """Twelve users, ten items, one validation item for each user with several."""
    rng = np.random.default_rng(0)
    train, valid = [], []
    for user in range(12):
        items = rng.permutation(9)[: rng.integers(3, 6)]  # item 9 stays without an edge
        train += [(user, int(item)) for item in items[1:]]
        valid.append((user, int(items[0])))
    return make_split(train, 12, 10, valid)


@pytest.fixture(scope="session")
def text_inputs() -> TextInputs:
    """Texts for the ten items of :func:`random_split`; item 3 has none."""
    vectors = np.random.default_rng(1).normal(size=(10, 6)).astype(np.float32)
    known = np.arange(10) != 3
    return TextInputs.from_arrays(np.where(known[:, None], vectors, 0), known)


@pytest.fixture(scope="session")
def settings():
    """A configuration of the paper's kind in a small size; dotted keys change it."""

    def make(**overrides: Any) -> Config:
        small: dict[str, Any] = {
            "threads": 1,
            "model.dim": 4,
            "model.layers": 2,
            "model.precision": "float32",
            "training.batch_size": 16,
            "training.max_epochs": 3,
            "training.eval_every": 1,
            "training.warmup_epochs": 0,
        }
        changes = {name.replace("__", "."): value for name, value in overrides.items()}
        return load_config("paper", model=changes.pop("model.name", None), overrides={**small, **changes})

    return make


@pytest.fixture(scope="session")
def model_of():
    """Builds the model of a configuration on a split, in float32 or another precision."""

    def make(split: Split, texts: TextInputs | None, config: Config, dtype: torch.dtype = torch.float32):
        graph = build_graph(split.train.users, split.train.items, split.n_users, split.n_items).to("cpu", dtype)
        inputs = texts.to("cpu", dtype) if texts else None
        return build_model(graph, inputs, config.model, seed=config.seed).to(dtype)

    return make
