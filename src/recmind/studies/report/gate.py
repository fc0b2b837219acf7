"""The section of the suite `gate`: whether nodes with few interactions get more language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from recmind.studies.measures import measured
from recmind.studies.report.blocks import Figure, Part, Table, Text
from recmind.studies.report.curves import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bounds = tuple[float, float | None, float | None]
"""A value and its interval."""

_HARDLY: Final = 0.1
"""A smaller rank correlation is not called one, however sure its sign is."""
_LITTLE: Final = 0.1
"""A smaller difference of the mean 1-γ between the ends is called little, however sure the correlation is."""
_SIDES: Final = ("users", "items")
_NAMES: Final = {"gate": "γ", "language": "language in h", "alpha": "α"}
_READING: Final = (
    "γ multiplies what comes from the graph and 1-γ the language view, so more language is a smaller γ, and a positive "
    "correlation of γ with the degree is a yes. Of several seeds ρ is the mean and its bounds are the widest. Below "
    f"{_HARDLY} it counts as hardly any: among thousands of nodes every correlation has a sign. It is little where the "
    f"mean 1-γ of the groups with the fewest and the most interactions differ by less than {_LITTLE}. Nodes without a "
    "training interaction are left out, for nothing of them flows."
)
_DECILES: Final = (
    "Means over the nodes of each tenth by training degree, with 95% bootstrap intervals over the nodes. Nodes of one "
    "degree stay together, so there may be fewer than ten groups, of unequal size. Of several seeds the mean, and the "
    "widest bounds."
)
_SHARES: Final = (
    "With the gates held fixed, h before its normalisation is a sum of what comes from texts and what comes from free "
    "vectors; the share of the texts is ⟨h_L, h⟩ / ⟨h, h⟩. What the order of a history adds comes after it. "
    "Where E^(0) holds the language view too (`model.initial`), "
    "γ lets language through as well, and this share, not 1-γ, says how much of a vector is language. α is the weight "
    "of z^G in h = α z^G + (1-α) z^L; with `model.alpha_by_text` it is 1 where no text is known."
)


def gate_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """The answer in sentences, γ by degree, correlations, and what the final vectors are made of."""
    groups, correlations = (measured(results, out, name) for name in ("gate", "gate-correlation"))
    if groups.is_empty():
        return []
    of_gates = pl.col("what") == "gate"
    shares, others = groups.filter(what="language"), correlations.filter(~of_gates)
    return [
        Part(
            "Do nodes with few interactions get more language?",
            [*(Text(f"- {sentence}") for sentence in answers(groups, correlations)), Text(_READING)],
        ),
        Part(
            "The gate by degree",
            [
                Text(_DECILES),
                *(_by_degree(groups.filter(of_gates), side) for side in _SIDES),
                _correlations(correlations.filter(of_gates)),
                *_figures(groups),
            ],
        ),
        Part(
            "What the final vectors are made of",
            [Text(_SHARES), *(_by_degree(shares, side) for side in _SIDES), _correlations(others)],
        ),
    ]


def answers(groups: pl.DataFrame, correlations: pl.DataFrame) -> list[str]:
    """A sentence for each variant, side and layer: whether nodes with few interactions get more language."""
    sentences = []
    for (variant, side, layer), rows in _each(correlations.filter(what="gate"), "variant", "side", "layer"):
        rho = _over_seeds(rows)
        found = _mean_by_decile(groups.filter(what="gate", variant=variant, side=side, layer=layer))
        ends = found if len(found) < 2 else [found[0], found[-1]]
        about = "; ".join(f"{1 - end['mean']:.2f} for those with {_degrees(end)} interactions" for end in ends)
        shown = "" if rho is None else f"; ρ {_bounds(rho, '+', 2)}"
        fall = ends[-1]["mean"] - ends[0]["mean"] if ends else 0.0
        sentences.append(f"{variant}, {side}, layer {layer}: {_verdict(rho, fall)} On average 1-γ is {about}{shown}.")
    return sentences


def _verdict(rho: Bounds | None, fall: float) -> str:
    """The answer from ρ and from how much the mean 1-γ falls from the fewest interactions to the most."""
    if rho is None:
        return "cannot be said, for the gate or the degree is the same for all."
    value, low, high = rho
    if low is None or high is None:
        return "cannot be said without an interval."
    if low <= 0 <= high:
        return "no, γ does not go with the degree."
    if abs(value) < _HARDLY:
        return "hardly." if value > 0 else "no, if anything the opposite."
    said = "yes" if value > 0 else "no, the opposite"
    if fall * value <= 0:
        return f"{said} by rank, but not from one end to the other."
    return f"{said}." if abs(fall) >= _LITTLE else f"{said}, but by little."


def _over_seeds(rows: pl.DataFrame) -> Bounds | None:
    """ρ as the mean over the seeds, and the widest bounds; ``None`` where a seed has none."""
    if rows.is_empty() or rows["spearman"].null_count():
        return None
    value, low, high = (
        rows.select(pl.mean("spearman"), pl.col("low").cast(pl.Float64).min(), pl.col("high").cast(pl.Float64).max())
    ).row(0)
    return value, low, high


def _mean_by_decile(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """A line per group, ascending: the mean over the seeds, and the widest bounds."""
    keys = ("decile", "degree_low", "degree_high", "n")
    return rows.group_by(*keys).agg(pl.mean("mean"), pl.min("low"), pl.max("high")).sort("decile").to_dicts()


def _by_degree(groups: pl.DataFrame, side: str) -> Table:
    """Groups by degree as columns, variants and layers as lines."""
    lines, heads = [], []
    for (variant, layer), rows in _each(groups.filter(side=side), "variant", "layer"):
        found = _mean_by_decile(rows)
        # All runs of a study have the same graph, and so the same groups.
        heads = [f"{_degrees(row)} (n {row['n']:,})" for row in found]
        cells = [_bounds((row["mean"], row["low"], row["high"]), "", 3) for row in found]
        lines.append([f"{variant}, layer {layer}" if layer else variant, *cells])
    return Table([side, *heads], lines)


def _correlations(rows: pl.DataFrame) -> Table:
    lines = []
    for (variant, what, side, layer), here in _each(rows, "variant", "what", "side", "layer"):
        rho = _over_seeds(here)
        name = _NAMES[what] + (f", layer {layer}" if layer else "")
        seeds = " ".join("-" if value is None else f"{value:+.3f}" for value in here["spearman"])
        shown = "-" if rho is None else _bounds(rho, "+", 3)
        lines.append([f"{variant}, {side}", name, f"{here['mean'].mean():.3f}", shown, seeds])
    return Table(["whose", "what", "mean", "ρ with the degree (95%)", "by seed"], lines)


def _figures(groups: pl.DataFrame) -> list[Figure]:
    keys = _each(groups, "variant", "side")
    return [Figure(f"{variant}, {side}: γ and language by degree", _drawn(rows)) for (variant, side), rows in keys]


def _drawn(rows: pl.DataFrame) -> Any:
    def draw(axis: Axes) -> None:
        for (_, layer), here in _each(rows.filter(pl.col("what") != "alpha"), "what", "layer"):
            line = pl.DataFrame(_mean_by_decile(here))
            # The middle of a group on the logarithmic axis; degrees begin with 1.
            x = np.sqrt(line["degree_low"].to_numpy() * line["degree_high"].to_numpy().astype(np.float64))
            label = f"γ, layer {layer}" if layer else "share of language in h"
            drawn = axis.plot(x, line["mean"], "-" if layer else "--", marker="o", ms=3, lw=1.4, label=label)[0]
            if not line["low"].null_count():
                axis.fill_between(x, line["low"], line["high"], color=drawn.get_color(), alpha=0.2)
        axis.set(xscale="log", xlabel="training interactions", ylabel="mean")
        legend(axis)

    return draw


def _each(rows: pl.DataFrame, *keys: str) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Rows by some columns, in the order in which they first occur."""
    return ((key, here) for key, here in rows.group_by(*keys, maintain_order=True))


def _degrees(group: dict[str, Any]) -> str:
    low, high = group["degree_low"], group["degree_high"]
    return str(low) if low == high else f"{low} to {high}"


def _bounds(value: Bounds, sign: str, digits: int) -> str:
    middle, low, high = value
    if low is None or high is None:
        return f"{middle:{sign}.{digits}f}"
    return f"{middle:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"
