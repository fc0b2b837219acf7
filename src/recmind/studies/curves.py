"""Validation curves of runs, and how far they are apart over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recmind.studies.rows import history

Curve = dict[int, float]
"""Validation metric by epoch of the joint phase."""


def curves(rows: Sequence[dict[str, Any]], out: Path) -> list[Curve]:
    """The curve of each row's run."""
    return [curve(out / row["run"], row["metric"]) for row in rows]


def curve(run: Path, metric: str) -> Curve:
    """Validation metric by epoch, from a run's history."""
    key = f"valid_{metric}"
    return {row["epoch"]: row[key] for row in history(run) if row["phase"] == "joint" and key in row}


def mean_by_epoch(found: Sequence[Curve]) -> Curve:
    """Mean at the epochs that every curve has."""
    return {epoch: statistics.mean(values) for epoch, values in _shared(found).items()}


def spread_by_epoch(found: Sequence[Curve]) -> Curve:
    """Sample standard deviation at the epochs that every curve has; nothing for fewer than two curves.

    >>> spread_by_epoch([{2: 0.1, 4: 0.3}, {2: 0.3}])
    {2: 0.1414213562373095}
    """
    return {epoch: statistics.stdev(values) for epoch, values in _shared(found).items() if len(values) > 1}


def _shared(found: Sequence[Curve]) -> dict[int, list[float]]:
    if not found:
        return {}
    epochs = [epoch for epoch in found[0] if all(epoch in other for other in found)]
    return {epoch: [one[epoch] for one in found] for epoch in epochs}


def seconds_by_epoch(run: Path) -> Curve:
    """Seconds of training until the end of each epoch of the joint phase, a warm-up before it included."""
    found: Curve = {}
    total = 0.0
    for row in history(run):
        total += row.get("seconds") or 0.0
        if row["phase"] == "joint":
            found[row["epoch"]] = total
    return found
