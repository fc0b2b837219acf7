"""Which differences between variants are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recmind.evaluation.significance import Comparison, compare_runs, holm, relative_gain
from recmind.studies.measures import IN_USE, measured_run
from recmind.studies.report.blocks import Cell, Part, Table, Text, gain, mean_of
from recmind.studies.report.columns import Groups, groups, shown_metrics
from recmind.studies.rows import per_user
from recmind.studies.suites import Suite

Pair = tuple[str, str]

_METHOD = (
    "Paired by user. The interval and the first p come from {n:,} bootstrap resamples of users and, of every variant "
    "with several, of seeds; the second p (Wilcoxon signed-rank test), and how many users are better or worse off, "
    "from the users' means over as many seeds as both have. Both p are corrected for the {lines} lines of this table "
    "(Holm)."
)
_RESAMPLES = 10_000


@dataclass(frozen=True)
class _Words:
    title: str
    words: str


_PARTS = {"test": _Words("", "on the test part"), IN_USE: _Words(", in use", "in use")}


def differences(results: pl.DataFrame, suite: Suite, out: Path, *, part: str = "test") -> list[Part]:
    """Each variant against the one it is to be compared with, or the suite's own against all others.

    Parameters
    ----------
    part:
        First part of the columns that are compared: ``test``, or ``use`` for :mod:`recmind.studies.use`.
    """
    if not (shown := shown_metrics(results)):
        return [Part("Differences", [Text("There is no test part.")])]
    by_variant = groups(results)
    pairs = _pairs(suite, by_variant)
    if not pairs:
        title = f"Differences{_PARTS[part].title}"
        return [Part(title, [Text("There is nothing to compare yet.")])]
    metrics = shown[-2:]
    models = {label: [_users(row, out, part) for row in by_variant[label]] for label in _involved(pairs)}
    found = compare_runs(models, pairs, metrics=metrics, n=_RESAMPLES)
    details = [
        _table(pairs, found, named=not suite.ours),
        Text(_METHOD.format(n=_RESAMPLES, lines=len(pairs) * len(metrics))),
    ]
    if not suite.ours:
        return [Part("Differences", details)]
    title = f"{suite.ours} against each{_PARTS[part].title}"
    return [Part(title, [_headline(pairs, found, part), _gains(pairs, by_variant, shown, part), *details])]


def _users(row: dict[str, Any], out: Path, part: str) -> pl.DataFrame:
    """Metrics by user of the run in a line of the results."""
    if part == "test":
        return per_user(out / row["run"])
    return measured_run(out, row["variant"], row["seed"], part)


def _pairs(suite: Suite, by_variant: Groups) -> list[Pair]:
    """(variant, reference) of every comparison that the runs allow."""
    wanted = []
    for variant in suite.variants:
        if suite.ours:
            wanted.append((suite.ours, variant.label))
        else:
            wanted.append((variant.label, variant.against or suite.variants[0].label))

    def differ(pair: Pair) -> bool:
        # Two lines may show the same run under two names.
        one, other = ({row["run"] for row in by_variant.get(label, [])} for label in pair)
        return bool(one) and bool(other) and not one & other

    return [pair for pair in wanted if differ(pair)]


def _involved(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(label for pair in pairs for label in pair))


def _table(pairs: Sequence[Pair], found: Sequence[Sequence[Comparison]], *, named: bool) -> Table:
    """A line per pair and metric; where all are of one variant, it is not named in each."""
    flat = [(pair, result) for pair, results in zip(pairs, found, strict=True) for result in results]
    bootstrap, wilcoxon = (
        holm([getattr(result, name) for _, result in flat]) for name in ("p_bootstrap", "p_wilcoxon")
    )
    lines = []
    for ((label, reference), result), p_bootstrap, p_wilcoxon in zip(flat, bootstrap, wilcoxon, strict=True):
        low, high = result.interval
        difference = f"{result.mean - result.baseline:+.4f} ({low:+.4f} to {high:+.4f})"
        more = f"{result.wins} / {result.losses}"
        cells = [result.metric, gain(result.relative_gain), difference, f"{p_bootstrap:.2g}", f"{p_wilcoxon:.2g}", more]
        lines.append([label, reference, *cells] if named else [reference, *cells])
    head = [
        *(["variant"] if named else []),
        "against",
        "metric",
        "gain",
        "difference (95%)",
        "p bootstrap",
        "p Wilcoxon",
    ]
    return Table([*head, "users better / worse"], lines)


def _headline(pairs: Sequence[Pair], found: Sequence[Sequence[Comparison]], part: str) -> Text:
    """The strongest rival by each metric, which is the hardest to be ahead of."""
    sentences = []
    for at, first in enumerate(found[0]):
        (ours, rival), best = max(
            ((pair, results[at]) for pair, results in zip(pairs, found, strict=True)), key=lambda one: one[1].baseline
        )
        sentences.append(
            f"By {first.metric} {_PARTS[part].words} the strongest rival is *{rival}* ({best.baseline:.4f}); "
            f"{ours} has {best.mean:.4f}, {gain(best.relative_gain)}."
        )
    return Text(" ".join(sentences))


def _gains(pairs: Sequence[Pair], by_variant: Groups, shown: Sequence[str], part: str) -> Table:
    lines: list[list[str | Cell]] = []
    for ours, rival in pairs:
        means = [
            [mean_of([row[f"{part}.{metric}"] for row in by_variant[label]]) for metric in shown]
            for label in (ours, rival)
        ]
        cells = [relative_gain(a, b) if a is not None and b is not None else None for a, b in zip(*means, strict=True)]
        lines.append([rival, *map(gain, cells)])
    return Table(["relative gain over", *shown], lines)
