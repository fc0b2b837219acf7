"""A small shop with brands, categories and prices, runs trained on it, and their bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind.config import Config, load_config
from recmind.pipeline import train_run
from recmind.serving.export import export

N_USERS, N_ITEMS = 40, 30
SMALL = {
    "threads": 1,
    "model.dim": 8,
    "model.sequence.optional": False,
    "model.precision": "float32",
    "training.batch_size": 64,
    "training.max_epochs": 3,
    "training.n_negatives": 4,
    "evaluation.bootstrap": 0,
}
STILL = {"model.sequence.weight": 0.0}
"""Histories are not read in order."""
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "recmind": ("recmind", "default", {}),
    "by-text": ("recmind", "default", {"model.alpha_by_text": True, "model.missing_text": "free", **STILL}),
    "fallback": ("recmind", "default", {"model.missing_text": "fallback", "model.alpha_by_text": False}),
    "paper": ("recmind", "paper", {"training.warmup_epochs": 0}),
    "titles": ("recmind", "default", {"text.user_view": "titles"}),
    "no-gate": (
        "recmind",
        "default",
        {"model.gate.kind": "none", "model.score": "dot", "model.popularity": False, **STILL},
    ),
    "no-layer": ("recmind", "default", {"model.layers": 0}),
    "no-order": (
        "recmind",
        "default",
        {"model.recent.weight": 0.0, "model.transitions.weight": 0.0, "training.calibrate": False, **STILL},
    ),
    "latest": (
        "recmind",
        "default",
        {"model.recent.weight": 1.5, "model.recent.items": 3, "training.calibrate": False},
    ),
    "in-order": (
        "recmind",
        "default",
        {
            "model.sequence.weight": 2.0,
            "model.sequence.heads": 2,
            "model.sequence.length": 6,
            "model.sequence.own_items": False,
            "training.calibrate": False,
        },
    ),
    "in-order-dot": (
        "recmind",
        "default",
        {
            "model.sequence.weight": 0.5,
            "model.sequence.own_items": False,
            "model.score": "dot",
            "training.calibrate": False,
        },
    ),
    "in-order-own": (
        "recmind",
        "default",
        {
            "model.sequence.weight": 2.0,
            "model.sequence.length": 6,
            "model.sequence.own_items": True,
            "training.calibrate": False,
        },
    ),
    "in-order-own-dot": (
        "recmind",
        "default",
        {
            "model.sequence.weight": 0.5,
            "model.sequence.own_items": True,
            "model.score": "dot",
            "training.calibrate": False,
        },
    ),
    "sequence": ("recmind", "default", {"model.transitions.weight": 3.0, "training.calibrate": False, **STILL}),
    "sequence-lightgcn": ("lightgcn", "default", {"model.transitions.weight": 3.0}),
    "text": ("text", "default", {}),
    "lightgcn": ("lightgcn", "default", {}),
    "xsimgcl": ("xsimgcl", "default", {}),
    "bpr-mf": ("bpr-mf", "default", {}),
    "popularity": ("popularity", "default", {}),
    "ease": ("ease", "default", {}),
    "lightgcl": ("lightgcl", "default", {}),
    "ngcf": ("ngcf", "default", {}),
    "sasrec": ("sasrec", "default", {}),
    "sgl": ("sgl", "default", {}),
    "simgcl": ("simgcl", "default", {}),
    "alpharec": ("alpharec", "default", {}),
    "dropoutnet": ("dropoutnet", "default", {}),
    "kar": ("kar", "default", {}),
    "llm-init": ("llm-init", "default", {}),
    "rlmrec-con": ("rlmrec-con", "default", {}),
}
"""Runs by name: model, recipe, settings."""


def tables(seed: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Interactions, 4 to 8 a user, and items; the last two were never bought, every seventh has no text."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        for position, item in enumerate(rng.permutation(N_ITEMS - 2)[: rng.integers(4, 9)]):
            rows.append((f"u{user:02}", f"i{item:02}", 100 + 10 * position))
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    texts = [" ".join(f"w{w}" for w in rng.integers(0, 60, 4)) if item % 7 else None for item in range(N_ITEMS)]
    shelves = ["w1 > w2", "w1 > w3", "w4", "w1 > w2, w4"]
    items = pl.DataFrame(
        {
            "item_id": [f"i{item:02}" for item in range(N_ITEMS)],
            "title": texts,
            "brand": [[None, "w5", "w6"][item % 3] if item % 7 else None for item in range(N_ITEMS)],
            "categories": [shelves[item % 4] if item % 7 else None for item in range(N_ITEMS)],
            "price": [None if item % 5 == 0 else float(item) for item in range(N_ITEMS)],
        }
    )
    return interactions, items


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    folder.mkdir()
    for name, table in zip(("interactions", "items"), tables(), strict=True):
        table.write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="session")
def settings(tiny_encoder: Path) -> Callable[[str], Config]:
    """Settings of a run by its name in ``KINDS``."""

    def of(kind: str) -> Config:
        model, recipe, overrides = KINDS[kind]
        return load_config(recipe, model=model, overrides={**SMALL, "language.encoder": str(tiny_encoder), **overrides})

    return of


@pytest.fixture(scope="session")
def trained(
    shop: Path, settings: Callable[[str], Config], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A finished run by its name in ``KINDS``; trained once."""
    done: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in done:
            out = tmp_path_factory.mktemp("runs") / kind
            train_run(shop, settings(kind), out, show_progress=False)
            done[kind] = out
        return done[kind]

    return of


@pytest.fixture(scope="session")
def bundled(trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a run; made once and never to be changed."""
    done: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in done:
            done[kind] = tmp_path_factory.mktemp("bundles") / kind
            export(trained(kind), done[kind])
        return done[kind]

    return of
