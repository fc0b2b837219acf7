"""The sections of the suites `warmup` and `drift`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recmind.studies.curves import curves, spread_by_epoch
from recmind.studies.report.blocks import Figure, Part, Table, Text, middle, spread
from recmind.studies.report.columns import groups, shown_metrics
from recmind.studies.report.curves import legend, stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def stability_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """How far the seeds are apart while they train."""
    lines = []
    for label, rows in groups(results).items():
        found = curves(rows, out)
        apart = list(spread_by_epoch(found).values())
        best = [max(curve.values()) for curve in found if curve]
        epochs = [row["best_epoch"] for row in rows if row["best_epoch"] is not None]
        cells = [
            f"{statistics.mean(apart):.5f}" if apart else "-",
            f"{max(apart):.5f}" if apart else "-",
            f"{statistics.stdev(best):.5f}" if len(best) > 1 else "-",
            f"{min(epochs)} to {max(epochs)}" if epochs else "-",
        ]
        lines.append([label, str(len(rows)), *cells])
    head = ["variant", "seeds", "sd, mean over epochs", "sd, largest", "sd of the best value", "best epochs"]
    metric = results["metric"][0]
    text = f"Standard deviation over the seeds of {metric} on validation, at epochs that every seed reached."
    return [Part("Stability over seeds", [Text(text), Table(head, lines), stability(results, out)])]


_DIRECTIONS = (("worse", ("stale", "refreshed", "retrained")), ("restored", ("retrained", "restored", "stale")))
"""Direction of the change, and the state that stands for old vectors, for a refresh, and for a new training."""


def drift_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """What old vectors, a refresh and a new training are worth when texts change."""
    if not (shown := shown_metrics(results)) or "changed.n" not in results.columns:
        return []
    by_state = groups(results.filter(pl.col("share") > 0), "texts", "share", "state")
    lines = []
    for texts, share in dict.fromkeys(key[:2] for key in by_state):
        for direction, states in _DIRECTIONS:
            for what, state in zip(("old vectors", "refreshed", "trained again"), states, strict=True):
                if not (rows := by_state.get((texts, share, state))):
                    continue
                names = [f"{side}.{metric}" for side in ("changed", "unchanged") for metric in shown[-2:]]
                cells = [spread([row.get(name) for row in rows]) for name in names]
                cost = "0" if what == "old vectors" else middle([_cost(row) for row in rows])
                lines.append([texts, f"{share:.0%}", direction, what, *cells, cost])
    heads = [f"{metric}, {side}" for side in ("changed", "unchanged") for metric in shown[-2:]]
    text = (
        "`words`: half of the words of the changed items are gone; `titles`: their titles are made anew from category "
        "and brand. *worse*: trained on the original texts, which then change. *restored*: the other way round, "
        "trained on the changed texts and then given the original ones. Targets whose text changed, and the others; "
        "both are ranked among all items. The share is of the items that have what the change needs. Seconds of the "
        "refresh, or of encoding and training; texts in the cache of embeddings cost none."
    )
    table = Table(["change", "items", "texts get", "vectors", *heads, "seconds"], lines)
    return [Part("Text drift", [Text(text), table, *_figures(results, shown[-1])])]


def _cost(row: dict[str, Any]) -> float | None:
    """Seconds of a refresh, or of reading the texts and training."""
    parts = [row.get(f"seconds.{stage}") for stage in ("refresh", "encode", "train")]
    return sum(part for part in parts if part is not None) if any(part is not None for part in parts) else None


def _figures(results: pl.DataFrame, metric: str) -> list[Figure]:
    found = []
    for texts in ("words", "titles"):
        for side in ("changed", "unchanged"):
            column = f"{side}.{metric}"
            if column not in results.columns:
                continue
            here = results.filter((pl.col("texts") == texts) & pl.col(column).is_not_null())
            if here.height:
                found.append(Figure(f"{texts}: targets {side}", _by_share(here, column, metric)))
    return found


def _by_share(here: pl.DataFrame, column: str, metric: str) -> Any:
    def draw(axis: Axes) -> None:
        for state, style in (("stale", ":"), ("refreshed", "-"), ("retrained", "--"), ("restored", "-.")):
            means = here.filter(pl.col("state") == state).group_by("share").agg(pl.mean(column)).sort("share")
            axis.plot(100 * means["share"], means[column], style, marker="o", label=state)
        axis.set(xlabel="items changed, %", ylabel=metric)
        legend(axis)

    return draw
