"""The sections of the suites `baselines`, `strata`, `seeds` and `ablation`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recmind.config import setting_at
from recmind.studies.measures import IN_USE
from recmind.studies.report.blocks import Figure, Part, Table, Text
from recmind.studies.report.charts import strata_bars
from recmind.studies.report.columns import groups, shown_metrics
from recmind.studies.report.curves import legend, stability
from recmind.studies.report.differences import differences
from recmind.studies.report.tables import strata_table, use_table
from recmind.studies.suites import suite_named
from recmind.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def use_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """The test part right after the validation interactions have become known."""
    shown = shown_metrics(results)
    if not shown or f"{IN_USE}.{shown[0]}" not in results.columns:
        return []
    measured = results.filter(pl.col(f"{IN_USE}.{shown[0]}").is_not_null())
    reading = Text(
        "The results above are of models that know the training part alone, so not even the interaction right "
        "before the tested one. In use all is known when a list is made. Here the same runs know the validation "
        "interactions too: graphs, histories and latest items hold them, trained models train on with them or anew, as "
        "`training.catch_up_epochs` says, models without epochs are computed anew. Nothing is chosen by it."
    )
    suite = suite_named(results["suite"][0])
    return [Part("In use", [reading, use_table(measured)]), *differences(measured, suite, out, part=IN_USE)]


def strata_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """By training degree of the user, beside that of the target, which every report has."""
    present = [name for name in ("0", "1_3", "4_10", "11_50", "over_50") if f"strata.users_degree_{name}.n" in results]
    note = Text("Each user's own metrics, averaged over the users of a stratum.")
    return [
        Part(
            "Recall by the user's training degree",
            [strata_table(results, "users", present), note, *strata_bars(results, "users")],
        )
    ]


def seeds_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """How far runs that differ in nothing but the seed are apart."""
    from scipy.special import stdtrit  # the quantile of Student's t

    lines = []
    for label, rows in groups(results).items():
        for metric in shown_metrics(results):
            values = [row[f"test.{metric}"] for row in rows]
            if len(values) < 2:
                continue
            mean, apart = statistics.mean(values), statistics.stdev(values)
            luck = float(stdtrit(2 * len(values) - 2, 0.975)) * apart * (2 / len(values)) ** 0.5
            cells = [f"{mean:.4f}", f"{apart:.5f}", f"{apart / mean:.1%}" if mean else "-"]
            span = f"{min(values):.4f} to {max(values):.4f}"
            lines.append([label, metric, str(len(values)), *cells, span, f"{luck:.4f}"])
    if not lines:
        return []
    text = Text(
        "Standard deviation over the seeds of the test metrics. Users are the same in all runs, so this is the luck of "
        "initialisation, order and negatives alone. Two models that vary like this one and are equally good come out "
        "further apart than the last column, each with as many seeds, in one comparison of twenty (t-test)."
    )
    head = ["variant", "metric", "seeds", "mean", "sd", "sd / mean", "range", "could be luck"]
    return [Part("What a seed is worth", [text, Table(head, lines), stability(results, out)])]


def sweeps_section(results: pl.DataFrame, out: Path) -> list[Part]:
    """Metrics over the values of one setting, the others as in the recipe."""
    if not (shown := shown_metrics(results)) or "swept" not in results.columns:
        return []
    swept = results.filter(pl.col("swept").is_not_null())
    whole = results.drop(name for name in results.columns if results[name].null_count())
    bounds = [f"{shown[-1]}.{end}" for end in ("low", "high") if f"test.{shown[-1]}.{end}" in whole.columns]
    measured = [*shown[-2:], *bounds]
    figures, lines = [], []
    for key in swept["swept"].unique(maintain_order=True):
        lines_of_key = {}
        for recipe in swept.filter(swept=key)["recipe"].unique(maintain_order=True):
            rows = swept.filter(swept=key, recipe=recipe).to_dicts() + _own(results, recipe, key, out)
            points = _points(rows, measured)
            lines_of_key[recipe] = points
            for value, means in points.items():
                lines.append([key, recipe, f"{value:g}", *(f"{mean:.4f}" for mean in means[: len(shown[-2:])])])
        band = " (band: 95%)" if bounds else ""
        figures.append(Figure(f"{key}: {shown[-1]}, test{band}", _by_value(lines_of_key, key, measured, shown[-1])))
    table = Table(["setting", "recipe", "value", *shown[-2:]], lines)
    return [Part("Sweeps", [*figures, table])]


def _own(results: pl.DataFrame, recipe: str, key: str, out: Path) -> list[dict[str, Any]]:
    """The rows of the recipe itself, with the value that it has."""
    found = []
    for row in results.filter(variant=recipe).iter_rows(named=True):
        settings = RunFolder(out / row["run"]).config().model_dump(mode="json")
        found.append({**row, "at": float(setting_at(settings, key))})
    return found


def _points(rows: list[dict[str, Any]], metrics: list[str]) -> dict[float, list[float]]:
    values = sorted({row["at"] for row in rows})
    return {
        value: [statistics.mean(row[f"test.{metric}"] for row in rows if row["at"] == value) for metric in metrics]
        for value in values
    }


def _by_value(points: dict[str, dict[float, list[float]]], key: str, measured: list[str], metric: str) -> Any:
    """Means by value, with the interval over the users where it was measured: most of a line is chance without it."""

    def draw(axis: Axes) -> None:
        for recipe, means in points.items():
            found = dict(zip(measured, zip(*means.values(), strict=True), strict=True))
            line = axis.plot(list(means), found[metric], marker="o", ms=4, label=recipe)[0]
            if f"{metric}.high" in found:
                low, high = found[f"{metric}.low"], found[f"{metric}.high"]
                axis.fill_between(list(means), low, high, color=line.get_color(), alpha=0.15, lw=0)
        axis.set(xlabel=key, ylabel=metric)
        if key != "model.alpha":
            axis.set_xscale("log")
        legend(axis)

    return draw
