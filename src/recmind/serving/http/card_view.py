"""The model card as the page shows it: tables and plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recmind.serving.http import charts

_SHOWN = ("recall", "ndcg", "hit_rate", "mrr", "coverage", "novelty", "long_tail_share")
_NAMES = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "hit_rate": "Hit rate",
    "mrr": "MRR",
    "coverage": "Coverage",
    "novelty": "Novelty",
    "long_tail_share": "Long-tail share",
}


def card_view(card: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as rows, strata and gates as plots with their tables."""
    held = next((part for part in ("test", "valid") if card.get(part)), None)
    return {
        "held": held,
        "metrics": _metrics(card[held]) if held else None,
        "strata": _strata(card),
        "gates": _gates(card.get("gate") or {}),
    }


def _metrics(values: Mapping[str, float]) -> dict[str, Any]:
    """One row a metric, one column a cutoff."""
    cutoffs = sorted({int(name.partition("@")[2]) for name in values if "@" in name})
    rows = [
        (_NAMES[name], [values.get(f"{name}@{cutoff}") for cutoff in cutoffs])
        for name in _SHOWN
        if any(f"{name}@{cutoff}" in values for cutoff in cutoffs)
    ]
    return {"cutoffs": cutoffs, "rows": rows}


def _strata(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One plot a family of strata, such as items by degree."""
    families: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, values in (card.get("strata") or {}).items():
        family, _, bounds = name.partition("_degree_")
        if bounds and values.get("n"):
            families.setdefault(family, {})[_bounds(bounds)] = values
    found = []
    for family, strata in families.items():
        metric = next((name for name in ("recall@20", "recall@40") if all(name in v for v in strata.values())), None)
        if metric is None:
            continue
        heights = {name: float(values[metric]) for name, values in strata.items()}
        title = f"{_NAMES['recall']}@{metric.partition('@')[2]} by training interactions of the {family}"
        rows = [(name, values["n"], heights[name]) for name, values in strata.items()]
        found.append({"title": title, "plot": charts.bars(heights, title), "rows": rows, "metric": metric})
    return found


def _bounds(text: str) -> str:
    """``4_10`` as 4–10, ``over_50`` as 51+."""
    low, _, high = text.partition("_")
    if low == "over" and high.isdigit():
        return f"{int(high) + 1}+"
    return f"{low}–{high}" if high else low


def _gates(gates: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One plot a side, one line a layer."""
    found = []
    for side, rows in gates.items():
        if not rows:
            continue
        names = [_range(row["degree"]) for row in rows]
        layers = {f"Layer {layer + 1}": [row["mean"][layer] for row in rows] for layer in range(len(rows[0]["mean"]))}
        title = f"Share of the graph in the {side}, by interactions"
        table = [(name, row["n"], row["mean"]) for name, row in zip(names, rows, strict=True)]
        found.append(
            {"title": title, "plot": charts.lines(layers, names, title), "layers": list(layers), "rows": table}
        )
    return found


def _range(bounds: list[int | None]) -> str:
    low, high = bounds
    return f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}"
