"""Figures of training: validation by epoch and by time, and how far seeds are apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from recmind.studies.curves import curves, mean_by_epoch, seconds_by_epoch, spread_by_epoch
from recmind.studies.report.blocks import Figure
from recmind.studies.report.columns import groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = 9
"""Lines in a figure at most: more cannot be told apart."""

_AMONG = 5
"""Names that have room among the lines."""

_WIDTH = 75
"""Letters beside one another below a figure, of which the mark of a line takes eight."""

_HEIGHT = 13
"""Rows of a figure, as of bars, without names below it."""


def learning_curves(results: pl.DataFrame, out: Path) -> list[Figure]:
    """Validation by epoch, and by seconds of training, of every variant that is trained in epochs."""
    found = {}
    # Lines of the results may share a run, and a refreshed one was not trained.
    for label, rows in groups(results.unique("run", keep="first", maintain_order=True)).items():
        lines = [line for line in curves(rows, out) if line]
        if lines and rows[0].get("seconds.train") is not None:
            found[label] = (lines, [seconds_by_epoch(out / row["run"]) for row in rows])
    if not found:
        return []
    metric = results["metric"][0]
    best = sorted(found, key=lambda label: max(mean_by_epoch(found[label][0]).values(), default=0.0), reverse=True)
    found = {label: found[label] for label in found if label in best[:_LINES]}
    which = f", the {_LINES} best" if len(best) > _LINES else ""

    def by_epoch(axis: Axes) -> None:
        for label, (lines, _) in found.items():
            mean = mean_by_epoch(lines)
            line = axis.plot(list(mean), list(mean.values()), label=label, lw=1.4)[0]
            low, high = ([pick(one[epoch] for one in lines) for epoch in mean] for pick in (min, max))
            axis.fill_between(list(mean), low, high, color=line.get_color(), alpha=0.15, lw=0)
        axis.set(xlabel="epoch", ylabel=f"{metric}, validation")
        legend(axis)

    def by_time(axis: Axes) -> None:
        for label, (lines, seconds) in found.items():
            line, clock = lines[0], seconds[0]
            axis.plot([clock[epoch] for epoch in line], list(line.values()), label=label, lw=1.4)
        axis.set(xlabel="seconds of training, first seed", ylabel=f"{metric}, validation", xscale="log")
        legend(axis)

    rows = _HEIGHT + -(-len(found) // _columns(list(found))) if len(found) > _AMONG else 0
    return [
        Figure(f"Validation by epoch (band: seeds){which}", by_epoch, rows),
        Figure(f"Validation by time{which}", by_time, rows),
    ]


def stability(results: pl.DataFrame, out: Path) -> Figure:
    """Standard deviation over the seeds at every validation."""

    def draw(axis: Axes) -> None:
        for label, rows in groups(results).items():
            spread = spread_by_epoch(curves(rows, out))
            if spread:
                axis.plot(list(spread), list(spread.values()), label=label, lw=1.4)
        axis.set(xlabel="epoch", ylabel=f"sd of {results['metric'][0]}")
        legend(axis)

    return Figure("Stability: standard deviation over seeds", draw)


def legend(axis: Axes) -> None:
    """Name the lines, where there are some: among them, or below where many names would lie on them."""
    names = axis.get_legend_handles_labels()[1]
    if len(names) > _AMONG:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=_columns(names))
    elif names:
        axis.legend()


def _columns(names: list[str]) -> int:
    """Columns of names that are no wider than the figure: with wider ones nothing is left for the lines."""
    return max(1, min(3, _WIDTH // (max(map(len, names)) + 8)))
