"""The report of a study: tables in Markdown, and a figure beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recmind.evaluation.significance import compare, holm
from recmind.files import write_atomic
from recmind.schema import Columns
from recmind.studies.curves import curves, spread_by_epoch
from recmind.studies.rows import per_user
from recmind.studies.suites import Section, Suite, suite_named

RESULTS, REPORT, PLOT = "results.parquet", "report.md", "report.png"
_STRATA = ("0", "1_3", "4_10", "11_50", "over_50")


def write_report(
    results: pl.DataFrame, suite: str, out: Path, *, dataset: str, failed: dict[str, str], notes: Sequence[str]
) -> str:
    """Write ``report.md`` and, where matplotlib is installed, ``report.png``; return the Markdown.

    Parameters
    ----------
    results:
        The rows of ``results.parquet``; may be empty.
    failed:
        What went wrong, by variant and seed.
    """
    chosen = suite_named(suite)
    parts = [f"# {suite}: {results['dataset'][0] if results.height else dataset}", chosen.question, *notes]
    if results.height:
        parts += [
            "## Results",
            _scope(results),
            _main_table(results),
            "## Differences",
            _differences(results, chosen, out),
            "## Recall by the target's training degree",
            _strata_table(results),
            *(part for section in chosen.sections for part in _SECTIONS[section](results, out)),
        ]
    if failed:
        parts += ["## Failed", *(f"- {name}: {message}" for name, message in failed.items())]
    if results.height:
        parts += _plotted(results, out, chosen.sections)
        parts += ["## Commands", _commands(results)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_atomic(out / REPORT, lambda path: path.write_text(text, encoding="utf-8"))
    return text


def _plotted(results: pl.DataFrame, out: Path, sections: Sequence[Section]) -> list[str]:
    try:
        from recmind.studies.plots import write_plot
    except ImportError:
        return ["There is no figure: install matplotlib, and repeat the command; no run is made again."]
    write_plot(results, out, out / PLOT, sections)
    return ["## Figure", f"![validation curves and test results]({PLOT})"]


def shown_metrics(results: pl.DataFrame) -> list[str]:
    """Recall and NDCG at the two largest cutoffs, as the columns call them without ``test.``."""
    names = [name.removeprefix("test.") for name in results.columns if name.startswith("test.")]
    cutoffs = sorted(int(name.partition("@")[2]) for name in names if name.startswith("ndcg@") and name.count(".") == 0)
    return [f"{metric}@{k}" for k in cutoffs[-2:] for metric in ("recall", "ndcg")]


def groups(results: pl.DataFrame, *keys: str) -> dict[Any, list[dict[str, Any]]]:
    """Rows by variant, or by other columns, in the order of the table."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in results.iter_rows(named=True):
        key = tuple(row[name] for name in keys) if keys else row["variant"]
        found.setdefault(key, []).append(row)
    return found


def _scope(results: pl.DataFrame) -> str:
    seeds = results["seed"].unique().sort().to_list()
    spread = (
        "Means over the seeds ± standard deviation."
        if len(seeds) > 1
        else "One seed: in brackets the 95% bootstrap interval over the users, which says nothing about seeds."
    )
    return (
        f"{results.height} runs, seeds {', '.join(map(str, seeds))}. {spread} The epoch is chosen on validation, the "
        "test part read once at the end of each run. Seconds and memory are medians."
    )


def _main_table(results: pl.DataFrame) -> str:
    shown, by_variant = shown_metrics(results), groups(results)
    measured = [f"test.{metric}" for metric in shown]
    head = ["variant", "seeds", "valid", *shown, "best epoch", "encode s", "training s", "peak MB"]
    lines = []
    for label, rows in by_variant.items():
        valid = [row.get(f"valid.{row['metric']}") for row in rows]
        cells = [_spread(valid), *(_spread([row[m] for row in rows], rows[0], m) for m in measured)]
        columns = ("best_epoch", "seconds.encode", "seconds.train", "peak_memory_mb")
        lines.append([label, str(len(rows)), *cells, *(_middle([row.get(name) for row in rows]) for name in columns)])
    metrics = sorted({row["metric"] for rows in by_variant.values() for row in rows})
    return f"{_markdown(head, lines)}\n\nThe column valid is {', '.join(metrics)}."


def _differences(results: pl.DataFrame, suite: Suite, out: Path) -> str:
    """Paired by user: each variant against the one it is to be compared with, on the seeds that both have."""
    if not (shown := shown_metrics(results)):
        return "There is no test part."
    metric, by_variant = shown[-1], groups(results)
    found = []
    for variant in suite.variants:
        rows = by_variant.get(variant.label, [])
        reference = variant.against or suite.variants[0].label
        rivals = by_variant.get(reference, [])
        # Two lines may show the same run under two names.
        if {row["run"] for row in rows} & {row["run"] for row in rivals}:
            continue
        sides = _on_shared_seeds(rows, rivals, out)
        found += [(variant.label, reference, compare(*sides, metrics=[metric])[0])] if sides else []
    if not found:
        return "There is nothing to compare yet."
    corrected = holm([result.p_wilcoxon for *_, result in found])
    lines = []
    for (label, reference, result), p in zip(found, corrected, strict=True):
        gain = "-" if result.relative_gain is None else f"{result.relative_gain:+.1%}"
        low, high = result.interval
        difference = f"{result.mean - result.baseline:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append([label, reference, gain, difference, f"{p:.2g}", f"{result.wins} / {result.losses}"])
    head = ["variant", "against", metric, "difference (95%)", "p", "users better / worse"]
    return (
        f"{_markdown(head, lines)}\n\nUser by user on the test part, metrics averaged over the seeds; p of the "
        "Wilcoxon signed-rank test, corrected for the number of lines (Holm)."
    )


def _on_shared_seeds(
    rows: list[dict[str, Any]], reference: list[dict[str, Any]], out: Path
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    seeds = {row["seed"] for row in rows} & {row["seed"] for row in reference}
    if not seeds:
        return None
    one, other = (
        pl.concat([per_user(out / row["run"]) for row in side if row["seed"] in seeds])
        .group_by(Columns.USER_CODE)
        .mean()
        .sort(Columns.USER_CODE)
        for side in (rows, reference)
    )
    return one, other


def _strata_table(results: pl.DataFrame) -> str:
    cutoff = max((int(m.partition("@")[2]) for m in shown_metrics(results)), default=0)
    named = {name: f"strata.items_degree_{name}.recall@{cutoff}" for name in _STRATA}
    here = [name for name, column in named.items() if column in results.columns]
    counts = results.row(0, named=True)
    head = ["variant", *(f"{n.replace('_', ' ')} (n {counts[f'strata.items_degree_{n}.n']})" for n in here)]
    lines = [[v, *(_spread([row[named[n]] for row in rows]) for n in here)] for v, rows in groups(results).items()]
    return _markdown(head, lines)


def _stability(results: pl.DataFrame, out: Path) -> list[str]:
    lines = []
    for label, rows in groups(results).items():
        found = curves(rows, out)
        spread = list(spread_by_epoch(found).values())
        best = [max(curve.values()) for curve in found if curve]
        epochs = [row["best_epoch"] for row in rows if row["best_epoch"] is not None]
        cells = [
            f"{statistics.mean(spread):.5f}" if spread else "-",
            f"{max(spread):.5f}" if spread else "-",
            f"{statistics.stdev(best):.5f}" if len(best) > 1 else "-",
            f"{min(epochs)} to {max(epochs)}" if epochs else "-",
        ]
        lines.append([label, str(len(rows)), *cells])
    metric = results["metric"][0]
    head = ["variant", "seeds", "sd, mean over epochs", "sd, largest", "sd of the best value", "best epochs"]
    text = f"Standard deviation over the seeds of {metric} on validation, at epochs that every seed reached."
    return ["## Stability over seeds", text, _markdown(head, lines)]


_DRIFT = (("worse", ("stale", "refreshed", "retrained")), ("restored", ("retrained", "restored", "stale")))
"""Direction of the change, and the state that stands for old vectors, for a refresh, and for a new training."""


def _drift(results: pl.DataFrame, out: Path) -> list[str]:
    if not (shown := shown_metrics(results)) or "changed.n" not in results.columns:
        return []
    by_state = groups(results.filter(pl.col("share") > 0), "texts", "share", "state")
    recall, ndcg = shown[-2:]
    lines = []
    for texts, share in dict.fromkeys(key[:2] for key in by_state):
        for direction, states in _DRIFT:
            for what, state in zip(("old vectors", "refreshed", "trained again"), states, strict=True):
                if not (rows := by_state.get((texts, share, state))):
                    continue
                names = [f"{side}.{metric}" for side in ("changed", "unchanged") for metric in (recall, ndcg)]
                cells = [_spread([row.get(name) for row in rows]) for name in names]
                cost = "0" if what == "old vectors" else _middle([_cost(row) for row in rows])
                lines.append([texts, f"{share:.0%}", direction, what, *cells, cost])
    head = [
        "change",
        "items",
        "texts get",
        "vectors",
        *(f"{metric}, {side}" for side in ("changed", "unchanged") for metric in (recall, ndcg)),
        "seconds",
    ]
    text = (
        "`words`: half of the words of the changed items are gone; `titles`: their titles are made anew from category "
        "and brand. *worse*: trained on the original texts, which then change. *restored*: the other way round, "
        "trained on the changed texts and then given the original ones. Targets whose text changed, and the others; "
        "both are ranked among all items. The share is of the items that have what the change needs. Seconds of the "
        "refresh, or of encoding and training; texts in the cache of embeddings cost none."
    )
    return ["## Text drift", text, _markdown(head, lines)]


def _cost(row: dict[str, Any]) -> float | None:
    """Seconds of a refresh, or of reading the texts and training."""
    parts = [row.get(f"seconds.{stage}") for stage in ("refresh", "encode", "train")]
    return sum(part for part in parts if part is not None) if any(part is not None for part in parts) else None


_SECTIONS = {"stability": _stability, "drift": _drift}


def _commands(results: pl.DataFrame) -> str:
    lines = dict.fromkeys(row["command"] for row in results.iter_rows(named=True))
    return "Each run alone; give another `--out` to make it again.\n\n```\n" + "\n".join(lines) + "\n```"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in (head, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _spread(values: Sequence[float | None], row: dict[str, Any] | None = None, column: str = "") -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    low, high = ((row or {}).get(f"{column}.{end}") for end in ("low", "high"))
    if len(numbers) > 1:
        return f"{statistics.mean(numbers):.4f} ± {statistics.stdev(numbers):.4f}"
    return f"{numbers[0]:.4f}" + (f" ({low:.4f} to {high:.4f})" if low is not None and high is not None else "")


def _middle(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    return f"{statistics.median(numbers):.0f}" if numbers else "-"
