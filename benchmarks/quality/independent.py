"""Baselines against other people's implementations of the same models, with the same settings, on the same split.

    python benchmarks/quality/independent.py DATASET --out runs/independent

LightGCN, item-kNN and EASE against RecBole, trained and evaluated by its own code; EASE and iALS against
LensKit. Every model's scores are ranked by RecMind's evaluation; RecBole's own evaluation stands beside it. A
matrix of all users and items is made, so this is for small sets. The environments of the peers are made when
they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCHMARKS))

from peers.environment import BENCH, ensure  # noqa: E402

from recmind.config import Config, load_config  # noqa: E402
from recmind.data.dataset import Dataset  # noqa: E402
from recmind.data.splitting import Split, split_dataset  # noqa: E402
from recmind.evaluation.evaluate import evaluate  # noqa: E402
from recmind.pipeline import train_run  # noqa: E402

LENSKIT = ("lenskit==2025.8.1",)
METRICS = ("recall@40", "ndcg@40")
DIM, LAYERS, BATCH, RATE, DECAY = 64, 3, 2048, 2e-3, 1e-4
K, SHRINK = 100, 50.0
LAMBDA_EASE = 500.0
ALPHA, LAMBDA_ALS, ITERATIONS = 10.0, 50.0, 15
OURS: dict[str, dict[str, Any]] = {
    "lightgcn": {
        "model.dim": DIM,
        "model.layers": LAYERS,
        "training.batch_size": BATCH,
        "training.learning_rate": RATE,
        "training.weight_decay": DECAY,
        "training.max_epochs": 500,
        "training.eval_every": 10,
        "training.patience": 5,
    },
    "item-knn": {"model.baselines.knn.neighbours": K, "model.baselines.knn.shrink": SHRINK},
    "ease": {"model.baselines.ease.regularisation": LAMBDA_EASE},
    "ials": {
        "model.dim": DIM,
        "model.baselines.ials.alpha": ALPHA,
        "model.baselines.ials.regularisation": LAMBDA_ALS,
        "model.baselines.ials.iterations": ITERATIONS,
    },
}
"""Settings of RecMind's baselines, by model."""


@dataclass(frozen=True)
class Peer:
    """Another implementation of one of our models."""

    model: str
    """Ours."""
    library: str
    name: str
    """What the library calls it."""
    settings: dict[str, Any]


_SAME_GRAPH = {
    "embedding_size": DIM,
    "n_layers": LAYERS,
    "train_batch_size": BATCH,
    "learning_rate": RATE,
    "reg_weight": DECAY,
    "require_pow": True,  # the squared norm, as in the paper
    "epochs": 500,
    "eval_step": 10,
    "stopping_step": 5,
}
PEERS = (
    Peer("lightgcn", "recbole", "LightGCN", _SAME_GRAPH),
    Peer("item-knn", "recbole", "ItemKNN", {"k": K, "shrink": SHRINK}),
    Peer("ease", "recbole", "EASE", {"reg_weight": LAMBDA_EASE}),
    Peer("ease", "lenskit", "EASE", {"regularization": LAMBDA_EASE}),
    Peer(
        "ials",
        "lenskit",
        "ImplicitMF",
        {
            "embedding_size": DIM,
            "epochs": ITERATIONS,
            "regularization": LAMBDA_ALS,
            "weight": ALPHA,
            "user_embeddings": "prefer",
        },
    ),
)


class Given:
    """Scores from elsewhere as a scorer, float32 ``(n_users, n_items)``."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = torch.from_numpy(np.maximum(scores, np.finfo(np.float32).min))
        self.n_users, self.n_items = scores.shape

    def scores(self, users: Tensor) -> Tensor:
        return self._scores[users].clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of the peers' scores")
    parser.add_argument("--models", nargs="+", choices=list(OURS), default=list(OURS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args()
    out = args.out.absolute() / args.dataset.name
    out.mkdir(parents=True, exist_ok=True)
    dataset = Dataset.load(args.dataset)
    split = split_dataset(dataset, Config().split)
    _write_split(split, out / "split.npz")
    lines = []
    for model in args.models:
        settings = {**OURS[model], "training.metric": "ndcg@40", "threads": args.threads}
        config = load_config("default", model=model, overrides=settings)
        metrics = train_run(args.dataset, config, out / model, resume=True, show_progress=not args.quiet)
        lines.append([model, "RecMind", *(f"{metrics['test'][name]:.4f}" for name in METRICS), "", ""])
        for peer in (peer for peer in PEERS if peer.model == model):
            said, scores = _ask(peer, out, args.threads)
            found = evaluate(Given(scores), split, "test", config.evaluation, show_progress=False).metrics
            own = [f"{said['test'][name]:.4f}" for name in METRICS] if "test" in said else ["", ""]
            library = " ".join(*said["versions"].items())
            lines.append([model, library, *(f"{found[name]:.4f}" for name in METRICS), *own])
    head = ["model", "implementation", *METRICS, *(f"{name} by its own evaluation" for name in METRICS)]
    for line in (head, ["---", "---", *["---:"] * 4], *lines):
        print(f"| {' | '.join(line)} |")


def _write_split(split: Split, path: Path) -> None:
    arrays = {}
    for name in ("train", "valid", "test"):
        part = split.part(name)
        arrays |= {f"{name}_users": part.users, f"{name}_items": part.items}
    np.savez(path, **arrays, n_users=split.n_users, n_items=split.n_items)


def _ask(peer: Peer, out: Path, threads: int) -> tuple[dict[str, Any], np.ndarray]:
    """What the peer says about itself, and its scores in our codes."""
    python = ensure() if peer.library == "recbole" else ensure(BENCH / "lenskit", LENSKIT)
    name = f"{peer.library}-{peer.name}".lower()
    settings = {
        "model": peer.name,
        "settings": peer.settings,
        "split": str(out / "split.npz"),
        "scores": str(out / f"{name}.npy"),
        "threads": threads,
        "k": 40,
    }
    file = out / f"{name}.json"
    file.write_text(json.dumps(settings, indent=1) + "\n")
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [str(python), "-m", f"peers.{peer.library}_models", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **limits, "PYTHONPATH": str(BENCHMARKS), "PYTHONWARNINGS": "ignore"},
    )
    return json.loads(done.stdout.splitlines()[-1]), np.load(out / f"{name}.npy")


if __name__ == "__main__":
    main()
