"""The tables that every report has: results, strata, time and memory."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recmind.studies.measures import IN_USE
from recmind.studies.report.blocks import Cell, Table, Text, mean_of, middle, ranked, spread
from recmind.studies.report.columns import STRATA, Groups, groups, in_words, shown_metrics

_STAGES = ("encode", "graph", "train", "evaluate")


def scope(results: pl.DataFrame) -> Text:
    """How many runs, and what the numbers are."""
    seeds = results["seed"].unique().sort().to_list()
    counts = (
        "Means over the seeds ± standard deviation."
        if len(seeds) > 1
        else "One seed: in brackets the 95% bootstrap interval over the users, which says nothing about seeds."
    )
    return Text(
        f"{results.height} runs, seeds {', '.join(map(str, seeds))}. {counts} The epoch is chosen on validation, the "
        "test part read once at the end of each run. The best of a column is bold, the second best underlined."
    )


def main_table(results: pl.DataFrame) -> list[Table | Text]:
    """A line per variant: validation and test."""
    shown, by_variant = shown_metrics(results), groups(results)
    valid = [[row.get(f"valid.{row['metric']}") for row in rows] for rows in by_variant.values()]
    columns = [
        ranked([spread(values) for values in valid], [mean_of(values) for values in valid]),
        *_columns(by_variant, [f"test.{metric}" for metric in shown]),
    ]
    lines = [
        [label, str(len(rows)), *(column[at] for column in columns), middle([row["best_epoch"] for row in rows])]
        for at, (label, rows) in enumerate(by_variant.items())
    ]
    metrics = sorted({row["metric"] for rows in by_variant.values() for row in rows})
    head = ["variant", "seeds", "valid", *shown, "best epoch"]
    return [Table(head, lines), Text(f"The column valid is {', '.join(metrics)}.")]


def use_table(results: pl.DataFrame) -> Table:
    """A line per variant: the test part with the validation part known."""
    shown, by_variant = shown_metrics(results), groups(results)
    columns = _columns(by_variant, [f"{IN_USE}.{metric}" for metric in shown])
    lines = [
        [label, str(len(rows)), *(column[at] for column in columns)]
        for at, (label, rows) in enumerate(by_variant.items())
    ]
    return Table(["variant", "seeds", *(f"{metric} in use" for metric in shown)], lines)


def _columns(by_variant: Groups, names: Sequence[str]) -> list[list[Cell]]:
    """Each of the named columns of the results, a cell per variant."""
    columns = []
    for name in names:
        values = [[row[name] for row in rows] for rows in by_variant.values()]
        texts = [spread(of_one, rows[0], name) for of_one, rows in zip(values, by_variant.values(), strict=True)]
        columns.append(ranked(texts, [mean_of(of_one) for of_one in values]))
    return columns


def strata_table(results: pl.DataFrame, side: str = "items", strata: Sequence[str] = STRATA) -> Table:
    """Recall at the largest cutoff by training degree of the target, or with ``users`` of the user."""
    cutoff = max((int(metric.partition("@")[2]) for metric in shown_metrics(results)), default=0)
    named = {name: f"strata.{side}_degree_{name}.recall@{cutoff}" for name in strata}
    here = [name for name, column in named.items() if column in results.columns]
    counts, by_variant = results.row(0, named=True), groups(results)
    head = ["variant", *(f"{in_words(n)} (n {counts[f'strata.{side}_degree_{n}.n']})" for n in here)]
    columns = []
    for name in here:
        values = [[row[named[name]] for row in rows] for rows in by_variant.values()]
        columns.append(ranked([spread(v) for v in values], [mean_of(v) for v in values]))
    return Table(head, [[label, *(column[at] for column in columns)] for at, label in enumerate(by_variant)])


def cost_table(results: pl.DataFrame) -> list[Table | Text]:
    """Seconds by stage and peak memory, medians over the seeds."""
    here = [stage for stage in _STAGES if f"seconds.{stage}" in results.columns]
    lines = []
    for label, rows in groups(results).items():
        seconds = [middle([row[f"seconds.{stage}"] for row in rows], 1) for stage in here]
        per_epoch = [
            row["seconds.train"] / row["epochs"] if row.get("epochs") and row.get("seconds.train") else None
            for row in rows
        ]
        memory = middle([row.get("peak_memory_mb") for row in rows])
        lines.append([label, *seconds, middle(per_epoch, 2), middle([row.get("epochs") for row in rows]), memory])
    head = ["variant", *(f"{stage} s" for stage in here), "s an epoch", "epochs", "peak MB"]
    note = (
        "Medians over the seeds, each run in a process of its own. Embeddings are kept between runs: only the first "
        "one that needs a text encodes it. Training includes validation."
    )
    return [Table(head, lines), Text(note)]
