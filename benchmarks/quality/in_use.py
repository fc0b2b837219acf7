"""How well finished runs rank in use: the test part, right after the validation interactions have become known.

    python benchmarks/quality/in_use.py "RecMind default=runs/a/seed-0,runs/a/seed-1" "EASE=runs/ease" "kNN=runs/knn"

The first model is compared with each of the others, user by user; of several
runs of a model (one per seed) the mean counts. Every model knows the validation
interactions too: trained ones have them in graph and histories and train on for
``training.catch_up_epochs``, the others are computed anew with the same settings
(:meth:`recmind.serving.recommender.Recommender.knowing`). Beside it stands what
the same runs have by the protocol in which they know the training part alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from recmind.evaluation.evaluate import evaluate
from recmind.evaluation.significance import compare_runs, holm
from recmind.serving.recommender import Recommender

METRICS = ("recall@40", "ndcg@40")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=RUN[,RUN]", help="a model and its runs; ours first")
    args = parser.parse_args()
    runs = {name: folders.split(",") for name, _, folders in (text.partition("=") for text in args.models)}
    print(report(runs))


def report(runs: Mapping[str, Sequence[str | Path]]) -> str:
    """The table and the comparisons, as Markdown; ``runs`` by the model's name, ours first."""
    found = {name: [per_user(run) for run in folders] for name, folders in runs.items()}
    lines = [
        f"| | seeds | {' | '.join(METRICS)} | {' | '.join(f'{name} in use' for name in METRICS)} |",
        f"|---|---:|{'---:|' * (2 * len(METRICS))}",
    ]
    for name, tables in found.items():
        means = [
            pl.concat(pair[known] for pair in tables)[metric].mean() for known in (False, True) for metric in METRICS
        ]
        lines.append(f"| {name} | {len(tables)} | {' | '.join(f'{value:.4f}' for value in means)} |")
    ours, *rivals = runs
    for known, words in ((False, "Knowing the training part alone"), (True, "In use")) if rivals else ():
        tables = {name: [pair[known] for pair in pairs] for name, pairs in found.items()}
        compared = compare_runs(tables, [(ours, rival) for rival in rivals], metrics=METRICS)
        told = [(rival, one) for rival, group in zip(rivals, compared, strict=True) for one in group]
        corrected = holm([one.p_wilcoxon for _, one in told])
        lines += ["", f"{words}, {ours}", ""]
        for (rival, one), p in zip(told, corrected, strict=True):
            low, high = one.interval
            lines.append(
                f"- against {rival}, {one.metric}: {one.relative_gain or 0:+.1%}, difference "
                f"{one.mean - one.baseline:+.4f} (95% {low:+.4f} to {high:+.4f}), Wilcoxon p {p:.2g} (Holm)"
            )
    return "\n".join(lines)


def per_user(run: str | Path) -> dict[bool, pl.DataFrame]:
    """Test metrics by user of a run: with the training part known, and with the validation part too."""
    recommender = Recommender.load(run)
    config = recommender.config.evaluation.model_copy(update={"bootstrap": 0})
    found = {}
    for known, model in ((False, recommender), (True, recommender.knowing("valid"))):
        found[known] = evaluate(model.scorer, model.split, "test", config, show_progress=False).per_user
    return found


if __name__ == "__main__":
    main()
