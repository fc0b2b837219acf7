"""What is left of each model when texts are missing: runs, a table with intervals, and a plot.

    python benchmarks/quality/missing_text.py --data DATA --out runs/missing-text --write docs/studies.md \
        --datasets amazon-beauty-2014:0,0.25,0.5,0.75 amazon-electronics-2014-partial-text --seeds 0

For every dataset folder, share of texts removed, model and seed there is one
``train_run``; what is finished is not run again, so the script can be stopped
and started. Texts are removed from the items in memory, chosen by the seed: the
items that lose theirs at one share also lose it at every larger one. A model
that reads no text is trained once per dataset and seed. The folder gets
``missing_text.json``, ``missing_text.md`` and ``missing_text.png``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.evaluation.significance import compare
from recmind.model.registry import needs_text
from recmind.pipeline import train_run
from recmind.schema import ITEM_TEXT_FIELDS, Columns, Files
from recmind.studies.suites.ablation import NO_TEXTS
from recmind.text.profiles import item_texts

RIVAL = "LightGCN tuned"
WITHOUT_TEXTS = "RecMind without texts"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    RIVAL: ("lightgcn", {}),
    "text-only": ("text", {}),
    "RecMind default": ("recmind", {}),
    "RecMind, one alpha": ("recmind", {"model.alpha_by_text": False}),
    "RecMind, texts guessed": ("recmind", {"model.alpha_by_text": False, "model.missing_text": "fallback"}),
    WITHOUT_TEXTS: ("recmind", dict(NO_TEXTS)),
}
"""Name in the table: model and changes to the recipe; a tuned model's recipe comes from ``--recipes``."""

METRICS = ("recall@40", "ndcg@40")
BEGIN, END = "<!-- missing text: begin -->", "<!-- missing text: end -->"


@dataclass(frozen=True)
class Trial:
    """One training: a dataset folder, the share of its texts removed, a model of ``MODELS`` and a seed."""

    data: Path
    removed: float
    model: str
    seed: int

    @property
    def reads_text(self) -> bool:
        """Whether it makes a difference to the model how many texts there are."""
        return needs_text(MODELS[self.model][0]) and self.model != WITHOUT_TEXTS

    def folder(self, out: Path) -> Path:
        """Where its run is."""
        texts = f"removed-{round(100 * self.removed)}" if self.reads_text else "any"
        name = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")
        return out / self.data.name / texts / name / f"seed-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the dataset folders")
    parser.add_argument(
        "--datasets", nargs="+", required=True, help="dataset folders, with the shares of texts to remove: NAME:0,0.5"
    )
    parser.add_argument("--models", nargs="+", default=[RIVAL, "RecMind default"], choices=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of removal and training")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the report")
    parser.add_argument(
        "--recipes", type=Path, default=Path(__file__).with_name("tuned"), help="tuned recipes, DATASET/MODEL.toml"
    )
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key=value for every run")
    parser.add_argument("--write", type=Path, help="Markdown file whose table is replaced")
    parser.add_argument("--report-only", action="store_true", help="train nothing; report what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args()
    trials = [
        Trial(args.data / dataset, removed, model, seed)
        for dataset, shares in map(_named, args.datasets)
        for removed in shares
        for seed in args.seeds
        for model in args.models
    ]
    rows = []
    for trial in trials:
        if not args.report_only:
            _run(trial, args)
        if (trial.folder(args.out) / Files.METRICS).exists():
            rows.append(measured(trial, args.out))
    report(rows, args.out, args.write)


def without_texts(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The dataset with every text field of a share of the items that have any set to null.

    The order in which items lose their texts depends on the seed alone.
    """
    known = has_text(dataset)
    lost = np.random.default_rng(seed).permutation(np.flatnonzero(known))
    gone = np.zeros(len(known), dtype=bool)
    gone[lost[: round(share * len(lost))]] = True
    if not gone.any():
        return dataset
    here = [field for field in ITEM_TEXT_FIELDS if field in dataset.items.columns]
    mark = pl.Series("gone", gone)
    items = dataset.items.with_columns(pl.when(mark).then(None).otherwise(pl.col(f)).alias(f) for f in here)
    name = f"{dataset.info.get('name', 'dataset')}, {share:.0%} of the texts removed"
    return replace(dataset, items=items, info={**dataset.info, "name": name})


def has_text(dataset: Dataset) -> np.ndarray:
    """Whether an item has any text as a model with the recipe's settings reads it, bool ``(n_items,)``."""
    texts = item_texts(dataset.items, load_config("default").text, lambda texts, tokens: list(texts))
    return np.array([text is not None for text in texts], dtype=bool)


def _named(dataset: str) -> tuple[str, list[float]]:
    """A dataset's name and the shares of its texts that are removed: none of them, unless said otherwise."""
    name, _, shares = dataset.partition(":")
    return name, [float(share) for share in shares.split(",")] if shares else [0.0]


def _run(trial: Trial, args: argparse.Namespace) -> None:
    model, settings = MODELS[trial.model]
    recipe = args.recipes / trial.data.name / f"{model}.toml" if trial.model.endswith("tuned") else "default"
    if isinstance(recipe, Path) and not recipe.exists():
        print(f"{trial.data.name} | {trial.model} | there is no {recipe}: run recmind tune first", flush=True)
        return
    chosen = [*(f"{key}={json.dumps(value)}" for key, value in settings.items()), *args.settings, f"seed={trial.seed}"]
    dataset = Dataset.load(trial.data)
    if trial.reads_text:
        dataset = without_texts(dataset, trial.removed, trial.seed)
    config = load_config(recipe, model=model, overrides=chosen)
    found = train_run(dataset, config, trial.folder(args.out), resume=True, show_progress=not args.quiet)
    print(f"{trial} | validation ndcg@40 {found['valid']['ndcg@40']:.4f}", flush=True)


def measured(trial: Trial, out: Path) -> dict[str, Any]:
    """What a finished run found, in all and apart for targets with and without a text."""
    run = trial.folder(out)
    document = json.loads((run / Files.METRICS).read_text())
    dataset = without_texts(Dataset.load(trial.data), trial.removed, trial.seed)
    known = has_text(dataset)
    split = pl.read_parquet(run / Files.SPLIT).filter(pl.col(Columns.PART) == "test")
    targets = split.with_columns(known=pl.Series(known)[split[Columns.ITEM_CODE]])
    users = pl.read_parquet(run / Files.PER_USER.format(split="test"))
    sides = users.join(targets, on=Columns.USER_CODE).group_by("known").agg(pl.len(), *(pl.mean(m) for m in METRICS))
    return {
        "dataset": trial.data.name,
        "removed": trial.removed,
        "with_text": round(float(known.mean()), 4),
        "model": trial.model,
        "seed": trial.seed,
        "valid": {metric: document["valid"][metric] for metric in METRICS},
        "test": {metric: document["test"][metric] for metric in METRICS},
        "targets": {("with" if row.pop("known") else "without"): row for row in sides.to_dicts()},
        "best_epoch": document["best_epoch"],
        "seconds": document["seconds"].get("train", 0),
        "run": str(run.relative_to(out)),
    }


def report(rows: list[dict[str, Any]], out: Path, write: Path | None) -> None:
    """Write what was measured as JSON, as a Markdown table and as a plot."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "missing_text.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = table(rows, out)
    (out / "missing_text.md").write_text(text, encoding="utf-8")
    print(text)
    plot(rows, out / "missing_text.png")
    if write:
        before, _, rest = write.read_text(encoding="utf-8").partition(BEGIN)
        write.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def table(rows: list[dict[str, Any]], out: Path) -> str:
    """A line per dataset, share and model: means over the seeds, and the differences from the models without texts."""
    rivals = [model for model in (RIVAL, WITHOUT_TEXTS) if any(row["model"] == model for row in rows)]
    lines = [
        "| dataset | items with text | model | seeds | valid ndcg@40 | recall@40 | ndcg@40 | recall@40, with text "
        f"| without |{''.join(f' ndcg@40 against {rival} (95%) |' for rival in rivals)}",
        f"|---|---:|---|---:|---:|---:|---:|---:|---:|{'---|' * len(rivals)}",
    ]
    for (dataset, _), here in _grouped(rows, "dataset", "removed").items():
        models = _grouped(here, "model")
        share = f"{statistics.mean(row['with_text'] for row in here):.0%}"
        for (model,), runs in models.items():
            cells = [
                _mean([row["valid"]["ndcg@40"] for row in runs]),
                *(_mean([row["test"][metric] for row in runs]) for metric in METRICS),
                *(_mean([row["targets"].get(s, {}).get("recall@40") for row in runs]) for s in ("with", "without")),
                *(_against(runs, models.get((rival,), []), out) if model != rival else "" for rival in rivals),
            ]
            lines.append(f"| {dataset} | {share} | {model} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _against(runs: list[dict[str, Any]], rival: list[dict[str, Any]], out: Path) -> str:
    """The difference in NDCG@40 user by user, metrics averaged over the seeds that both have."""
    seeds = {row["seed"] for row in runs} & {row["seed"] for row in rival}
    if not seeds:
        return "-"
    ours, theirs = (_per_user([r for r in side if r["seed"] in seeds], out) for side in (runs, rival))
    found = compare(ours, theirs, metrics=["ndcg@40"])[0]
    low, high = found.interval
    gain = "-" if found.relative_gain is None else f"{found.relative_gain:+.1%}"
    return f"{gain}, {found.mean - found.baseline:+.4f} ({low:+.4f} to {high:+.4f})"


def _per_user(rows: list[dict[str, Any]], out: Path) -> pl.DataFrame:
    frames = [pl.read_parquet(out / row["run"] / Files.PER_USER.format(split="test")) for row in rows]
    return pl.concat(frames).group_by(Columns.USER_CODE).mean().sort(Columns.USER_CODE)


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Test NDCG@40 over the share of items with a text, a panel per dataset, a line per model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = _grouped(rows, "dataset")
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), squeeze=False)
    for axis, ((dataset,), here) in zip(axes[0], panels.items(), strict=True):
        for (model,), runs in _grouped(here, "model").items():
            by_share = _grouped(runs, "with_text")
            shares = sorted(by_share)
            means = [statistics.mean(row["test"]["ndcg@40"] for row in by_share[share]) for share in shares]
            axis.plot([100 * share for (share,) in shares], means, marker="o", label=model)
        axis.set(title=dataset, xlabel="items with text, %", ylabel="NDCG@40, test", xlim=(-4, 104))
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _grouped(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _mean(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    spread = f" ± {statistics.stdev(numbers):.4f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.4f}{spread}"


if __name__ == "__main__":
    main()
