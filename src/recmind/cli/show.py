"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recmind.training.candidates import Tried, best_of

if TYPE_CHECKING:
    from recmind.doctor import Diagnosis


def print_metrics(metrics: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a metrics document: one table of metrics by K, one of strata, time and memory."""
    console = console or Console()
    heading = Text(f"{metrics.get('model')} on {metrics.get('dataset')}", style="bold")
    heading.append(f"  (recipe {metrics.get('recipe')}, seed {metrics.get('seed')})", style="not bold")
    console.print(heading)
    if "known" in metrics:
        console.print(f"test: with {metrics['known']} known", highlight=False)
    parts = [part for part in ("valid", "test") if metrics.get(part)]
    if parts:
        console.print(_metric_table({part: metrics[part] for part in parts}))
    else:
        console.print("nothing was held out to measure with: no user has as many interactions as the split asks for")
    if metrics.get("strata"):
        console.print(_strata_table(metrics["strata"]))
    for line in (_intervals(metrics.get("intervals") or {}), _chosen(metrics), _cost(metrics)):
        if line:
            console.print(line, highlight=False)


def _metric_table(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Metrics as rows, part and K as columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    cells: dict[str, dict[tuple[str, str], str]] = {}
    columns: list[tuple[str, str]] = []
    for part, values in parts.items():
        for key, value in values.items():
            if not isinstance(value, int | float):
                continue
            name, _, cutoff = key.partition("@")
            column = (part, cutoff)
            cells.setdefault(name, {})[column] = _number(value)
            if column not in columns:
                columns.append(column)
    for part, cutoff in columns:
        table.add_column(f"{part}\n@{cutoff}" if cutoff else part, justify="right")
    for name, row in cells.items():
        table.add_row(name, *(row.get(column, "") for column in columns))
    return table


def _strata_table(strata: Mapping[str, Mapping[str, Any]]) -> Table:
    """Strata that hold somebody as rows; each metric at its largest K, to fit a terminal."""
    columns = ("n", *_at_largest_cutoff(metric for values in strata.values() for metric in values))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("by training degree")
    for column in columns:
        table.add_column(column, justify="right")
    for stratum, values in strata.items():
        if values.get("n") == 0:
            continue
        table.add_row(_stratum_label(stratum), *(_number(values.get(name)) for name in columns))
    return table


def _at_largest_cutoff(metrics: Iterable[str]) -> list[str]:
    """Of ``recall@10``, ``recall@40``, ``n`` only ``recall@40``."""
    largest: dict[str, int] = {}
    for metric in metrics:
        name, _, cutoff = metric.partition("@")
        if cutoff:
            largest[name] = max(int(cutoff), largest.get(name, 0))
    return [f"{name}@{cutoff}" for name, cutoff in largest.items()]


def _intervals(intervals: Mapping[str, Mapping[str, Any]]) -> str:
    """95% intervals of Recall and NDCG at the largest K of each part."""
    shown = []
    for part, values in intervals.items():
        for metric in _at_largest_cutoff(name for name in values if name.startswith(("recall@", "ndcg@"))):
            low, high = values[metric]
            shown.append(f"{part} {metric} {low:.4f} to {high:.4f}")
    return f"95% intervals: {', '.join(shown)}" if shown else ""


def _stratum_label(name: str) -> str:
    """``items_degree_1_3`` as ``items, 1 to 3``."""
    side, _, degrees = name.partition("_degree_")
    return f"{side}, {degrees.replace('over_', 'over ').replace('_', ' to ')}"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _noise(one: Tried) -> str:
    return f", one standard error {_number(one.noise)}" if one.noise else ""


def _chosen(metrics: Mapping[str, Any]) -> str:
    """What was chosen on the validation part beside the epoch."""
    parts = []
    if rows := metrics.get("tried"):
        tried = [Tried.of(row) for row in rows]
        values = "; ".join(f"{one.candidate}: {_number(one.value)}{_noise(one)}" for one in tried)
        parts.append(f"{best_of(tried)} ({values})")
    if calibrated := metrics.get("calibrated"):
        parts.append(f"weight of the latest items {calibrated['recent_weight']:g}")
        if "sequence_weight" in calibrated:
            parts.append(f"of histories in order {calibrated['sequence_weight']:g}")
        if calibrated.get("transition_weight"):
            parts.append(f"of what came next {calibrated['transition_weight']:g}")
        parts.append(f"{calibrated['popularity_factor']:.0%} of the popularity term")
        if calibrated.get("popularity_floor"):
            parts.append(f"popular as with {calibrated['popularity_floor']:g} interactions at least")
    return f"chosen on the validation part: {', '.join(parts)}" if parts else ""


def _cost(metrics: Mapping[str, Any]) -> str:
    seconds = metrics.get("seconds") or {}
    parts = [f"{stage} {value:.1f} s" for stage, value in seconds.items() if isinstance(value, int | float)]
    if metrics.get("best_epoch") is not None:
        parts.insert(0, f"best epoch {metrics['best_epoch']}")
    if metrics.get("peak_memory_mb"):
        parts.append(f"peak memory {metrics['peak_memory_mb']:,.0f} MB")
    return ", ".join(parts)


def print_diagnosis(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print what ``doctor`` found, then what is wrong."""
    console = console or Console()
    for section, facts in diagnosis.facts.items():
        console.print(f"[bold]{section}[/]", highlight=False)
        for label, value in facts.items():
            console.print(f"  {label:<24} {_fact(value)}", highlight=False, markup=False)
    for kind, lines in (("warning", diagnosis.warnings), ("problem", diagnosis.problems)):
        for line in lines:
            console.print(f"{kind}: {line}", highlight=False, markup=False)
    if not diagnosis.problems:
        console.print("Everything needed works.", highlight=False)


def _fact(value: object) -> str:
    if value is None:
        return "not installed"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
