"""Splits and models of a few nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import Config, load_config
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part, Split, split_dataset
from recmind.language.training import TrainableTexts
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import build_model
from recmind.pipeline import text_inputs as inputs_of


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


@dataclass
class LanguageWorld:
    """A model with texts behind an encoder that can learn."""

    config: Config
    split: Split
    inputs: TextInputs
    model: RecMind
    texts: TrainableTexts


@pytest.fixture(scope="session")
def titled() -> Dataset:
    """Nine users, twelve items: 8 reads as 0, 10 has no text, 11 was never bought."""
    rng = np.random.default_rng(3)
    titles = [" ".join(f"w{k}" for k in rng.integers(0, 60, rng.integers(2, 6))) for _ in range(12)]
    titles[8] = titles[0]
    items = pl.DataFrame({"item_id": [f"i{k:02}" for k in range(12)], "title": [*titles[:10], None, titles[11]]})
    rows = [(f"u{u}", f"i{k:02}", 10 * u + n) for u in range(9) for n, k in enumerate(rng.permutation(11)[:6])]
    rows += [("u0", f"i{k:02}", 0) for k in range(11)]
    schema = ["user_id", "item_id", "timestamp"]
    return Dataset.from_frames(pl.DataFrame(rows, schema=schema, orient="row"), items)


@pytest.fixture
def language_world(settings, model_of, titled: Dataset, tiny_encoder: Path, tmp_path: Path):
    """Builds a :class:`LanguageWorld`; ``adapters__rank=1`` is ``language.adapters.rank``."""
    small = {
        "text__user_view": "titles",
        "language__encoder": str(tiny_encoder),
        "language__device": "cpu",
        "language__dtype": "float32",
        "language__cache_dir": str(tmp_path / "cache"),
        "adapters__rank": 2,
        "adapters__learning_rate": 0.02,
        "adapters__projection_learning_rate": 0.02,
        "adapters__batch_size": 6,
        "adapters__micro_tokens": 64,
        "alignment__queue_size": 0,
        "alignment__hard_negatives": 0,
    }

    def make(**changes: Any) -> LanguageWorld:
        own = {key.replace("adapters__", "language__adapters__"): value for key, value in (small | changes).items()}
        config = settings(**own)
        split = split_dataset(titled, config.split)
        inputs = inputs_of(titled, split, config, show_progress=False)
        texts = TrainableTexts(titled, split, config, tmp_path / "tables", show_progress=False)
        return LanguageWorld(config, split, inputs, model_of(split, inputs, config), texts)

    return make
