"""The report of a study: Markdown with a figure beside it, and one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from recmind.files import write_atomic
from recmind.studies.report.blocks import Code, Figure, Part, Text
from recmind.studies.report.charts import costs, strata_bars, test_results
from recmind.studies.report.curves import learning_curves
from recmind.studies.report.differences import differences
from recmind.studies.report.drift import drift_section, stability_section
from recmind.studies.report.gate import gate_section
from recmind.studies.report.markdown import to_markdown
from recmind.studies.report.newcomers import cold_section, few_section
from recmind.studies.report.page import to_html
from recmind.studies.report.sections import seeds_section, strata_section, sweeps_section, use_section
from recmind.studies.report.tables import cost_table, main_table, scope, strata_table
from recmind.studies.suites import Section, suite_named

RESULTS, REPORT, PAGE, PLOT = "results.parquet", "report.md", "report.html", "report.png"

SECTIONS: Final[dict[Section, Callable[[pl.DataFrame, Path], list[Part]]]] = {
    "use": use_section,
    "stability": stability_section,
    "drift": drift_section,
    "gate": gate_section,
    "cold": cold_section,
    "few": few_section,
    "strata": strata_section,
    "seeds": seeds_section,
    "sweeps": sweeps_section,
}
"""What a suite may have beside the parts that all have: from its results and its folder, with figures in place."""

_NO_FIGURES = "There is no figure: install matplotlib, and repeat the command; no run is made again."


def write_report(
    results: pl.DataFrame, suite: str, out: Path, *, dataset: str, failed: dict[str, str], notes: Sequence[str]
) -> str:
    """Write ``report.md``, ``report.html`` and, where matplotlib is installed, ``report.png``; return the Markdown.

    Parameters
    ----------
    results:
        The rows of ``results.parquet``; may be empty.
    failed:
        What went wrong, by variant and seed.
    """
    chosen = suite_named(suite)
    title = f"{suite}: {results['dataset'][0] if results.height else dataset}"
    parts = [Part("", [Text(note) for note in notes])] if notes else []
    if results.height:
        parts += [
            Part("Results", [scope(results), *main_table(results), *test_results(results)]),
            *differences(results, chosen, out),
            Part("Recall by the target's training degree", [strata_table(results), *strata_bars(results, "items")]),
            *(part for section in chosen.sections for part in SECTIONS[section](results, out)),
            Part("Learning curves", learning_curves(results, out)),
            Part("Time and memory", [*cost_table(results), *costs(results)]),
        ]
    if failed:
        parts.append(Part("Failed", _failures(results, failed)))
    commands = [Part("Commands", _commands(results))] if results.height else []
    return write_parts(title, chosen.question, parts, commands, out)


def write_parts(title: str, question: str, parts: list[Part], commands: list[Part], out: Path) -> str:
    """Write a report in every form and return its Markdown; commands come last, after the picture."""
    drawn = [block for part in parts for block in part.blocks if isinstance(block, Figure)]
    picture = _picture(drawn, out) if drawn else []
    text = to_markdown(title, [Part("", [Text(question)]), *parts, *picture, *commands])
    write_atomic(out / REPORT, lambda path: path.write_text(text, encoding="utf-8"))
    figures = (out / PLOT).exists() or not drawn
    shown = [*parts, *([] if figures else [Part("Figures", [Text(_NO_FIGURES)])]), *commands]
    page = to_html(title, shown, lead=question, figures=bool(drawn) and figures)
    write_atomic(out / PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    return text


def _picture(drawn: Sequence[Figure], out: Path) -> list[Part]:
    """Draw all figures on one sheet beside the Markdown."""
    try:
        from recmind.studies.report.drawing import write_png
    except ImportError:
        (out / PLOT).unlink(missing_ok=True)
        return [Part("Figure", [Text(_NO_FIGURES)])]
    write_png(drawn, out / PLOT)
    return [Part("Figure", [Text(f"![all figures of this report]({PLOT})")])]


def _failures(results: pl.DataFrame, failed: dict[str, str]) -> list[Text]:
    """A line for each failed run; where an earlier call has made it, its row stands in the report all the same."""
    rows = results.select("variant", "seed").rows() if results.height else []
    there = {f"{variant}, seed {seed}" for variant, seed in rows}
    kept = " (what an earlier call made of it is in this report)"
    return [Text(f"- {name}{kept if name in there else ''}: {message}") for name, message in failed.items()]


def _commands(results: pl.DataFrame) -> list[Text | Code]:
    lines = list(dict.fromkeys(row["command"] for row in results.iter_rows(named=True)))
    return [Text("Each run alone; give another `--out` to make it again."), Code(lines)]
