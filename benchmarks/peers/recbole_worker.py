"""RecBole's LightGCN as a contender: its data set, its loader, its Trainer, its full-sort evaluation."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers import shims
from peers.process import Operation, serve
from peers.workload import Workload

shims.apply()

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.general_recommender import LightGCN  # noqa: E402
from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

NAME = "benchmark"


def write_atomic_files(workload: Workload, folder: Path) -> None:
    """The workload as RecBole's own files; the parts are given and not drawn again.

    RecBole asks for a test part too, which is not looked at: it gets the
    held-out pairs once more, and a pair for every user and item that is in no
    other one, so that the tables have the same rows as ours.
    """
    target = folder / NAME
    target.mkdir(parents=True)
    parts = {
        "train": (workload.users, workload.items),
        "valid": (workload.valid_users, workload.valid_items),
        "test": _with_everybody(workload),
    }
    for part, (users, items) in parts.items():
        rows = np.stack([users, items], axis=1)
        with (target / f"{NAME}.{part}.inter").open("w") as out:
            out.write("user_id:token\titem_id:token\n")
            np.savetxt(out, rows, fmt="%d", delimiter="\t")


def _with_everybody(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    in_users = np.concatenate([workload.users, workload.valid_users])
    in_items = np.concatenate([workload.items, workload.valid_items])
    users = np.setdiff1d(np.arange(workload.n_users), in_users)
    items = np.setdiff1d(np.arange(workload.n_items), in_items)
    return (
        np.concatenate([workload.valid_users, users, np.zeros_like(items)]),
        np.concatenate([workload.valid_items, np.zeros_like(users), items]),
    )


def recbole_config(settings: dict[str, Any], folder: Path, n_items: int) -> Config:
    """RecBole's settings: its defaults but for what the benchmark holds equal."""
    given = {
        "data_path": str(folder),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(folder / "saved"),
        "embedding_size": settings["dim"],
        "n_layers": settings["layers"],
        "train_batch_size": settings["batch"],
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": settings["negatives"],
            "alpha": 1.0,
            "dynamic": False,
            "candidate_num": 0,
        },
        "learning_rate": settings["learning_rate"],
        # The squared norm of LightGCN's own paper, which RecMind uses too.
        "reg_weight": settings["weight_decay"],
        "require_pow": True,
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "topk": [settings.get("k", 20)],
        "valid_metric": f"NDCG@{settings.get('k', 20)}",
        # RecBole ranks eval_batch_size / n_items users at once: as many as were asked for.
        "eval_batch_size": settings.get("block", 128) * (n_items + 1),
    }
    arguments, sys.argv = sys.argv, sys.argv[:1]  # RecBole reads the command line too
    try:
        return Config(model="LightGCN", dataset=NAME, config_dict=given)
    finally:
        sys.argv = arguments


class Batches:
    """RecBole's loader, n batches at a time, as the iterable that its Trainer takes."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.n = loader, 0
        self.shuffle = loader.shuffle
        self._stream = self._endless()

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._stream, self.n)

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.loader


class Peer:
    """Model, loaders and trainer."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.workload = Workload.load(Path(settings["data"]))
        # RecBole writes logs into the current folder, whatever it is told.
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write_atomic_files(self.workload, Path(folder))
            self.config = recbole_config(settings, Path(folder), self.workload.n_items)
            logging.getLogger().setLevel(logging.ERROR)
            init_seed(self.config["seed"], self.config["reproducibility"])
            dataset = create_dataset(self.config)
            self.train, self.valid, _ = data_preparation(self.config, dataset)
            self.model = LightGCN(self.config, self.train.dataset).to("cpu")
            self.trainer = Trainer(self.config, self.model)
        # Row of RecBole for every code of ours; its row 0 is padding.
        ids = dataset.field2token_id
        self.user_rows = _rows(ids["user_id"], self.workload.n_users)
        self.item_rows = _rows(ids["item_id"], self.workload.n_items)
        self.batches = Batches(self.train)

    def step(self, n: int) -> dict[str, Any]:
        """n steps of RecBole's own training loop."""
        self.batches.n = n
        return {"loss": self.trainer._train_epoch(self.batches, 0) / n}

    def epoch(self, n: int) -> dict[str, Any]:
        """n epochs of RecBole's own training loop."""
        losses = [self.trainer._train_epoch(self.train, 0) for _ in range(n)]
        return {"loss": losses[-1] / len(self.train)}

    def rank(self, n: int) -> dict[str, Any]:
        """n full-sort evaluations of the held-out pairs."""
        results = [self.trainer.evaluate(self.valid, load_best_model=False) for _ in range(n)]
        return {"result": {key: float(value) for key, value in results[-1].items()}}

    def use_factors(self, path: str) -> None:
        """Rank with the given vectors instead of the model's."""
        with np.load(path) as factors:
            self.model.restore_user_e = _placed(factors["users"], self.user_rows)
            self.model.restore_item_e = _placed(factors["items"], self.item_rows)


def _rows(token_ids: dict[str, int], n: int) -> np.ndarray:
    """RecBole's row of each code; 0, its padding, for a code that it has never seen."""
    return np.array([token_ids.get(str(code), 0) for code in range(n)])


def _placed(vectors: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    placed = np.zeros((int(rows.max()) + 1, vectors.shape[1]), dtype=np.float32)
    placed[rows] = vectors
    return torch.from_numpy(placed)


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """Operations: ``step``, ``epoch``, ``rank``."""
    torch.set_num_threads(settings["threads"])
    peer = Peer(settings)
    if "factors" in settings:
        peer.use_factors(settings["factors"])
    operations: dict[str, Operation] = {"step": peer.step, "epoch": peer.epoch, "rank": peer.rank}
    if "exchange" in settings:
        from peers.recbole_exchange import exchange_operations

        operations |= exchange_operations(peer, Path(settings["exchange"]))
    about = {
        "versions": {name: version(name) for name in ("recbole", "torch", "numpy", "scipy", "pandas")},
        "threads": torch.get_num_threads(),
        "notes": [],
        "steps_per_epoch": len(peer.train),
    }
    return operations, about


if __name__ == "__main__":
    serve(build)
