"""Figures with a line per variant: test results, strata, time and memory."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import polars as pl

from recmind.studies.report.blocks import Figure, mean_of
from recmind.studies.report.columns import STRATA, Groups, groups, in_words, shown_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def test_results(results: pl.DataFrame) -> list[Figure]:
    """Mean and single runs of every variant on the test part."""
    if not (shown := shown_metrics(results)):
        return []
    metric, by_variant = shown[-1], groups(results)

    def draw(axis: Axes) -> None:
        for at, rows in enumerate(by_variant.values()):
            values = [row[f"test.{metric}"] for row in rows]
            axis.plot(values, [at] * len(values), ".", color="0.55", ms=4)
            axis.plot([statistics.mean(values)], [at], "o", color="C0", ms=5)
            low, high = rows[0].get(f"test.{metric}.low"), rows[0].get(f"test.{metric}.high")
            if len(values) == 1 and low is not None and high is not None:
                axis.hlines(at, low, high, color="C0")
        _named(axis, by_variant)
        axis.set(xlabel=metric)

    several = any(len(rows) > 1 for rows in by_variant.values())
    what = "mean and single runs" if several else "with the 95% interval over users"
    return [Figure(f"Test: {metric}, {what}", draw, rows=len(by_variant))]


def strata_bars(results: pl.DataFrame, side: str) -> list[Figure]:
    """Recall at the largest cutoff by training degree, one chart for each stratum that has anybody in it."""
    cutoff = max((int(metric.partition("@")[2]) for metric in shown_metrics(results)), default=0)
    by_variant, first = groups(results), results.row(0, named=True)
    found = []
    for name in STRATA:
        column = f"strata.{side}_degree_{name}.recall@{cutoff}"
        n = first.get(f"strata.{side}_degree_{name}.n")
        if n and column in results.columns:
            whose = "targets bought" if side == "items" else "users with"
            title = f"{whose} {in_words(name)} times in training (n {n:,})"
            if side == "users":
                title = f"{whose} {in_words(name)} training interactions (n {n:,})"
            found.append(Figure(title.capitalize(), _bars(by_variant, column, f"recall@{cutoff}"), len(by_variant)))
    return found


def costs(results: pl.DataFrame) -> list[Figure]:
    """Seconds of training and peak memory."""
    by_variant = groups(results)
    found = []
    for column, title, unit in (
        ("seconds.train", "Time of training", "seconds, median"),
        ("peak_memory_mb", "Peak memory", "MB, median"),
    ):
        if column in results.columns and results[column].drop_nulls().len():
            found.append(Figure(title, _bars(by_variant, column, unit, median=True), len(by_variant)))
    return found


def _bars(by_variant: Groups, column: str, label: str, *, median: bool = False) -> Any:
    def draw(axis: Axes) -> None:
        values = []
        for rows in by_variant.values():
            numbers = [row[column] for row in rows if row.get(column) is not None]
            values.append((statistics.median(numbers) if numbers else 0.0) if median else (mean_of(numbers) or 0.0))
        best = max(values)
        colours = ["C0" if median or value < best else "C2" for value in values]
        axis.barh(range(len(values)), values, color=colours, height=0.66)
        _named(axis, by_variant)
        axis.set(xlabel=label)

    return draw


def _named(axis: Axes, by_variant: Groups) -> None:
    axis.set_yticks(range(len(by_variant)), list(by_variant), fontsize=7.5)
    axis.set_ylim(len(by_variant) - 0.4, -0.6)
