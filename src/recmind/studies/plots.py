"""The figure of a study; importing this module needs matplotlib."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recmind.files import write_atomic
from recmind.studies.curves import curves, mean_by_epoch, spread_by_epoch
from recmind.studies.report import groups, shown_metrics
from recmind.studies.suites import Section


def write_plot(results: pl.DataFrame, out: Path, file: Path, sections: Sequence[Section]) -> None:
    """Validation curves and test results of every variant, and the panels of the suite's sections, as PNG."""
    panels = [_curves, _test]
    if "stability" in sections:
        panels.append(_stability)
    if "drift" in sections:
        panels += [_drift_of(texts, side) for texts in ("words", "titles") for side in ("changed", "unchanged")]
    n_rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 4.2 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, 2, squeeze=False).ravel()
    for axis, draw in zip(axes, panels, strict=False):
        draw(axis, results, out)
        axis.grid(alpha=0.3)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    write_atomic(file, lambda path: figure.savefig(path, format="png", dpi=120))


def _curves(axis: Axes, results: pl.DataFrame, out: Path) -> None:
    for label, rows in groups(results.unique("run", keep="first", maintain_order=True)).items():
        found = curves(rows, out)
        mean = mean_by_epoch(found)
        if not mean or rows[0].get("seconds.train") is None:
            continue
        line = axis.plot(list(mean), list(mean.values()), label=label)[0]
        low, high = ([pick(one[epoch] for one in found) for epoch in mean] for pick in (min, max))
        axis.fill_between(list(mean), low, high, color=line.get_color(), alpha=0.15)
    axis.set(title="Validation: mean and range over seeds", xlabel="epoch", ylabel=results["metric"][0])
    _legend(axis)


def _test(axis: Axes, results: pl.DataFrame, out: Path) -> None:
    if not (shown := shown_metrics(results)):
        axis.set_visible(False)
        return
    metric = shown[-1]
    by_variant = groups(results)
    for at, rows in enumerate(by_variant.values()):
        values = [row[f"test.{metric}"] for row in rows]
        axis.plot(values, [at] * len(values), ".", color="0.6")
        axis.plot([statistics.mean(values)], [at], "o", color="C0")
        low, high = rows[0].get(f"test.{metric}.low"), rows[0].get(f"test.{metric}.high")
        if len(values) == 1 and low is not None and high is not None:
            axis.hlines(at, low, high, color="C0")
    axis.set_yticks(range(len(by_variant)), list(by_variant), fontsize=8)
    axis.invert_yaxis()
    axis.set(title=f"Test: {metric}, mean and single runs", xlabel=metric)


def _stability(axis: Axes, results: pl.DataFrame, out: Path) -> None:
    for label, rows in groups(results).items():
        spread = spread_by_epoch(curves(rows, out))
        if spread:
            axis.plot(list(spread), list(spread.values()), label=label)
    axis.set(title="Stability: standard deviation over seeds", xlabel="epoch", ylabel=f"sd of {results['metric'][0]}")
    _legend(axis)


def _drift_of(texts: str, side: str) -> Any:
    def draw(axis: Axes, results: pl.DataFrame, out: Path) -> None:
        shown = shown_metrics(results)
        column = f"{side}.{shown[-1]}" if shown else ""
        if column not in results.columns:
            axis.set_visible(False)
            return
        here = results.filter((pl.col("texts") == texts) & pl.col(column).is_not_null())
        for state, style in (("stale", ":"), ("refreshed", "-"), ("retrained", "--"), ("restored", "-.")):
            means = here.filter(pl.col("state") == state).group_by("share").agg(pl.mean(column)).sort("share")
            axis.plot(100 * means["share"], means[column], style, marker="o", label=state)
        axis.set(title=f"{texts}: targets {side}", xlabel="items changed, %", ylabel=shown[-1])
        _legend(axis)

    return draw


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)
