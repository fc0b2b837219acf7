"""Train the models of docs/results.md on real data and write its tables.

    python benchmarks/quality/results.py --data DATA --out runs/results --seeds 0 1 2 --write docs/results.md

For every dataset folder and every model each seed is one ``train_run``; what is
finished is not run again, so the script can be stopped and started. The tables
replace what stands between the two marks in the file given with ``--write``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

import polars as pl

from recmind.config import load_config
from recmind.evaluation.significance import Comparison, compare
from recmind.pipeline import train_run
from recmind.schema import Files

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "popularity": ("default", "popularity", {}),
    "LightGCN": ("default", "lightgcn", {}),
    "LightGCN softmax": (
        "default",
        "lightgcn",
        {
            "model.layers": 2,
            "model.score": "cosine",
            "training.loss": "softmax",
            "training.temperature": 0.15,
            "training.n_negatives": 512,
            "training.batch_size": 8192,
            "training.learning_rate": 0.003,
            "training.weight_decay": 0.0,
            "training.eval_every": 4,
        },
    ),
    "LightGCN tuned": ("default", "lightgcn", {}),
    "LightGCN tuned, latest items": ("default", "lightgcn", {"training.calibrate": True}),
    "LightGCN tuned, latest items, what came next": (
        "default",
        "lightgcn",
        {"training.calibrate": True, "model.transitions.weight": 16.0},
    ),
    "text-only": ("default", "text", {}),
    "RecMind paper": ("paper", "recmind", {}),
    "RecMind default": ("default", "recmind", {}),
    "RecMind default, order ignored": (
        "default",
        "recmind",
        {"model.recent.weight": 0.0, "model.transitions.weight": 0.0, "training.calibrate": False},
    ),
    "text-only, 40 epochs": ("default", "text", {"training.max_epochs": 40}),
    "RecMind paper, 40 epochs": ("paper", "recmind", {"training.max_epochs": 40}),
    "RecMind default, user reviews": ("default", "recmind", {"text.user_view": "reviews"}),
    "RecMind default, tau 0.15": ("default", "recmind", {"training.temperature": 0.15}),
    "default without gate": ("default", "recmind", {"model.gate.kind": "none"}),
    "default without alignment": ("default", "recmind", {"alignment.weight": 0.0}),
    "default without popularity": ("default", "recmind", {"model.popularity": False}),
    "default without text in E(0)": ("default", "recmind", {"model.initial": "free"}),
}
"""Name in the table: recipe, model, further settings; those of tuned models come from ``--tuned``."""

MAIN = ["popularity", "LightGCN", "LightGCN softmax", "LightGCN tuned", "text-only", "RecMind paper", "RecMind default"]
OURS = "RecMind default"
SHOWN = ("recall@20", "ndcg@20", "recall@40", "ndcg@40")
STRATA = ("items_degree_0", "items_degree_1_3", "items_degree_4_10", "items_degree_11_50", "items_degree_over_50")
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the dataset folders")
    parser.add_argument("--datasets", nargs="+", required=True, help="names of the dataset folders")
    parser.add_argument("--models", nargs="+", default=MAIN, choices=list(MODELS), help="models to run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds")
    parser.add_argument(
        "--tuned",
        type=Path,
        default=Path(__file__).with_name("tuned.json"),
        help="JSON file {dataset: {model: settings}}: what benchmarks/quality/tune.py found (default: %(default)s)",
    )
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key=value for every run")
    parser.add_argument("--write", type=Path, help="Markdown file whose tables are replaced")
    parser.add_argument("--report-only", action="store_true", help="train nothing; report what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args()
    tuned = json.loads(args.tuned.read_text())
    blocks = []
    for dataset in args.datasets:
        for seed in args.seeds:
            for name in args.models:
                if not args.report_only:
                    _run(args, tuned, dataset, name, seed)
        blocks.append(_report(args.out, dataset, args.models))
    text = "\n".join(blocks)
    print(text)
    if args.write:
        before, _, rest = args.write.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        args.write.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _run(args: argparse.Namespace, tuned: dict[str, Any], dataset: str, name: str, seed: int) -> None:
    recipe, model, settings = MODELS[name]
    base = name.partition(",")[0]
    if base.endswith("tuned") and base not in tuned.get(dataset, {}):
        print(f"{dataset} | {name} | no settings in {args.tuned}: run benchmarks/quality/tune.py first", flush=True)
        return
    given = dict(item.split("=", 1) for item in args.settings)
    overrides = {**settings, **tuned.get(dataset, {}).get(base, {}), **given, "seed": seed}
    config = load_config(recipe, model=model, overrides=overrides)
    run = _folder(args.out, dataset, name, seed)
    metrics = train_run(args.data / dataset, config, run, resume=True, show_progress=not args.quiet)
    found = metrics["test"]
    print(
        f"{dataset} | {name} | seed {seed} | recall@40 {found['recall@40']:.4f} ndcg@40 {found['ndcg@40']:.4f}",
        flush=True,
    )


def _folder(out: Path, dataset: str, name: str, seed: int) -> Path:
    return out / dataset / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") / f"seed-{seed}"


def _report(out: Path, dataset: str, models: list[str]) -> str:
    """Two tables of one dataset: the metrics, and Recall@40 by the target's training degree."""
    runs = {name: sorted(_folder(out, dataset, name, 0).parent.glob("seed-*")) for name in models}
    found = {
        name: [json.loads((run / Files.METRICS).read_text()) for run in folders if (run / Files.METRICS).exists()]
        for name, folders in runs.items()
    }
    found = {name: documents for name, documents in found.items() if documents}
    lines = [
        f"### {dataset}",
        "",
        f"| model | seeds | {' | '.join(SHOWN)} | best epoch | training s | peak MB |",
        f"|---|---:|{'---:|' * (len(SHOWN) + 3)}",
    ]
    for name, documents in found.items():
        cells = [_mean([d["test"][metric] for d in documents]) for metric in SHOWN]
        epochs = _middle([d["best_epoch"] for d in documents])
        seconds = _middle([d["seconds"].get("train", 0) for d in documents])
        memory = _middle([d["peak_memory_mb"] for d in documents])
        lines.append(f"| {name} | {len(documents)} | {' | '.join(cells)} | {epochs} | {seconds} | {memory} |")
    counts = next(iter(found.values()))[0]["strata"]
    heads = [f"{s.removeprefix('items_degree_').replace('_', ' ')} (n {counts[s]['n']})" for s in STRATA]
    lines += ["", f"| Recall@40 by training degree | {' | '.join(heads)} |", f"|---|{'---:|' * len(STRATA)}"]
    for name, documents in found.items():
        cells = [_mean([d["strata"][s]["recall@40"] for d in documents]) for s in STRATA]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, *_significance(runs, found), ""])


def _significance(runs: dict[str, list[Path]], found: dict[str, Any]) -> list[str]:
    """RecMind default against each rival, user by user, metrics averaged over the seeds."""
    lines = ["", f"{OURS}"]
    for rival in ("LightGCN", "LightGCN softmax", "LightGCN tuned", "LightGCN tuned, latest items", "text-only"):
        if {OURS, rival} <= found.keys():
            for result in compare(_per_user(runs[OURS]), _per_user(runs[rival]), metrics=["recall@40", "ndcg@40"]):
                lines.append(f"- against {rival}: {_sentence(result)}")
    return lines if len(lines) > 2 else []


def _sentence(result: Comparison) -> str:
    gain = "-" if result.relative_gain is None else f"{result.relative_gain:+.1%}"
    difference = result.mean - result.baseline
    low, high = result.interval
    return (
        f"{result.metric} {gain}, difference {difference:+.4f} (95% {low:+.4f} to {high:+.4f}), "
        f"Wilcoxon p {result.p_wilcoxon:.2g}; better for {result.wins} and worse for {result.losses} "
        f"of {result.n_users} users."
    )


def _per_user(runs: list[Path]) -> pl.DataFrame:
    files = [run / Files.PER_USER.format(split="test") for run in runs]
    frames = pl.concat([pl.read_parquet(file) for file in files if file.exists()])
    return frames.group_by("user").mean().sort("user")


def _mean(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread}"


def _middle(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    return f"{statistics.median(numbers):.0f}" if numbers else "-"


if __name__ == "__main__":
    main()
