"""Tune a model on the validation part of a dataset, with the same number of trials for every model.

    python benchmarks/quality/tune.py DATASET --model lightgcn --out runs/tune

Trains every setting of the model's grid through ``train_run`` (finished runs
are not repeated), ranks them by validation NDCG@40 and prints the table. The
test part is evaluated by every run but neither printed nor used here. The best
settings go into ``tuned.json`` beside this file with ``--write``, which results.py reads.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from recmind.config import load_config
from recmind.pipeline import train_run

_BPR = {"training.loss": "bpr", "model.score": "dot", "training.temperature": 1.0, "training.n_negatives": 1}
_SOFTMAX = {
    "training.loss": "softmax",
    "model.score": "cosine",
    "training.n_negatives": 512,
    "training.batch_size": 8192,
    "training.learning_rate": 0.003,
    "training.weight_decay": 0.0,
}
_SMALL = {**_BPR, "training.batch_size": 2048, "training.learning_rate": 0.002}
_LARGE = {**_BPR, "training.batch_size": 8192, "training.learning_rate": 0.006}

GRIDS: dict[str, list[dict[str, object]]] = {
    "lightgcn": [
        {**_SMALL, "model.layers": 3, "training.weight_decay": 1e-4},
        {**_LARGE, "model.layers": 3, "training.weight_decay": 1e-4},
        {**_LARGE, "model.layers": 2, "training.weight_decay": 1e-4},
        {**_LARGE, "model.layers": 3, "training.weight_decay": 1e-3},
        {**_SOFTMAX, "model.layers": 2, "training.temperature": 0.1},
        {**_SOFTMAX, "model.layers": 2, "training.temperature": 0.15},
        {**_SOFTMAX, "model.layers": 2, "training.temperature": 0.2},
        {**_SOFTMAX, "model.layers": 2, "training.temperature": 0.3},
        {**_SOFTMAX, "model.layers": 3, "training.temperature": 0.2},
    ],
}
"""The settings tried, as overrides of the recipe ``default``."""

TABLE_NAMES = {"lightgcn": "LightGCN tuned"}
"""What results.py calls the tuned model."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("--model", choices=GRIDS, default="lightgcn", help="model to tune")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trials' runs")
    parser.add_argument("--metric", default="ndcg@40", help="validation metric that ranks the trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="JSON file in which the best settings are noted, such as tuned.json")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args()
    rows = []
    for settings in GRIDS[args.model]:
        overrides = {**settings, "seed": args.seed, "training.metric": args.metric}
        name = hashlib.sha256(json.dumps(overrides, sort_keys=True).encode()).hexdigest()[:8]
        run = args.out / args.dataset.name / args.model / name
        config = load_config("default", model=args.model, overrides=overrides)
        metrics = train_run(args.dataset, config, run, resume=True, show_progress=not args.quiet)
        rows.append((metrics["valid"][args.metric], metrics["best_epoch"], metrics["seconds"]["train"], settings))
        print(f"{rows[-1][0]:.5f}  epoch {rows[-1][1]}  {rows[-1][2]:.0f} s  {json.dumps(settings)}", flush=True)
    rows.sort(key=lambda row: -row[0])
    print(f"\nbest on {args.dataset.name} by validation {args.metric}:")
    for value, epoch, seconds, settings in rows:
        print(f"{value:.5f}  epoch {epoch}  {seconds:.0f} s  {json.dumps(settings)}")
    if args.write:
        _note(args.write, args.dataset.name, TABLE_NAMES[args.model], {**rows[0][3], "training.metric": args.metric})


def _note(file: Path, dataset: str, model: str, settings: dict[str, object]) -> None:
    found = json.loads(file.read_text()) if file.exists() else {}
    found.setdefault(dataset, {})[model] = settings
    file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
