"""Results as a table on the terminal, as Markdown, and as ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from recmind.evaluation.evaluate import Evaluation
from recmind.evaluation.metrics import ACCURACY

Cell = str | int | float | None
Row = Mapping[str, Cell]
"""A line of a comparison: column name to value; the first column names the model."""


def comparison_table(rows: Sequence[Row], *, title: str | None = None, ranked: Sequence[str] | None = None) -> Table:
    """Models as lines, metrics as columns; the best value of a column bold, the second underlined.

    Parameters
    ----------
    rows:
        One mapping per model. Columns come in the order in which they first
        occur; a missing value or ``None`` shows as a dash.
    title:
        Heading of the table.
    ranked:
        Columns in which the largest value is best; by default those with an
        accuracy metric in their name.

    Examples
    --------
    >>> rows = [{"model": "popularity", "recall@20": 0.0204}, {"model": "LightGCN", "recall@20": 0.0649}]
    >>> table = comparison_table(rows)
    >>> [column.header for column in table.columns], table.row_count
    (['model', 'recall@20'], 2)
    """
    columns = _columns(rows)
    places = _places(rows, columns, ranked)
    styles = {1: "bold", 2: "underline"}
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for i, row in enumerate(rows):
        cells = [Text(_format(row.get(column)), style=styles.get(places.get((i, column), 0), "")) for column in columns]
        table.add_row(*cells)
    return table


def comparison_markdown(rows: Sequence[Row], *, ranked: Sequence[str] | None = None) -> str:
    """The same comparison as a Markdown table: the best in bold, the second underlined with ``<u>``.

    Examples
    --------
    >>> print(comparison_markdown([{"model": "a", "ndcg@20": 0.1}, {"model": "b", "ndcg@20": 0.2}]), end="")
    | model | ndcg@20 |
    |---|---:|
    | a | <u>0.1000</u> |
    | b | **0.2000** |
    """
    columns = _columns(rows)
    places = _places(rows, columns, ranked)
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    for i, row in enumerate(rows):
        texts = [_format(row.get(column)).replace("|", "\\|") for column in columns]
        lines.append([marks[places.get((i, c), 0)].format(t) for c, t in zip(columns, texts, strict=True)])
    head, rule, *body = lines
    return "".join(
        [f"| {' | '.join(head)} |\n", f"|{'|'.join(rule)}|\n", *(f"| {' | '.join(line)} |\n" for line in body)]
    )


def metrics_document(
    *,
    dataset: str,
    model: str,
    recipe: str,
    seed: int,
    split: str,
    best_epoch: int | None,
    valid: Evaluation | None,
    test: Evaluation | None,
    seconds: Mapping[str, float],
    peak_memory_mb: float | None,
) -> dict[str, Any]:
    """What ``metrics.json`` holds.

    The strata are those of the test part, or of the validation part where there
    is no test (``strata_of`` says which). ``valid`` and ``test`` are empty
    mappings where that part was not evaluated. ``intervals`` and ``n_users`` are
    by part.

    Parameters
    ----------
    seconds:
        Wall time by stage.
    peak_memory_mb:
        Largest resident memory of the process.
    """
    parts = {name: part for name, part in (("valid", valid), ("test", test)) if part is not None}
    shown = "test" if test is not None else "valid"
    return {
        "dataset": dataset,
        "model": model,
        "recipe": recipe,
        "seed": seed,
        "split": split,
        "best_epoch": best_epoch,
        "valid": dict(valid.metrics) if valid is not None else {},
        "test": dict(test.metrics) if test is not None else {},
        "strata": {name: dict(stratum) for name, stratum in parts[shown].strata.items()} if parts else {},
        "strata_of": shown if parts else None,
        "intervals": {name: dict(part.intervals) for name, part in parts.items()},
        "n_users": {name: part.n_users for name, part in parts.items()},
        "seconds": dict(seconds),
        "peak_memory_mb": peak_memory_mb,
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _places(rows: Sequence[Row], columns: Sequence[str], ranked: Sequence[str] | None) -> dict[tuple[int, str], int]:
    """1 for the best and 2 for the second best value of each ranked column; equal as shown, equal place."""
    if ranked is None:
        ranked = [column for column in columns if any(f"{name}@" in column for name in ACCURACY)]
    places: dict[tuple[int, str], int] = {}
    for column in ranked:
        shown = {
            i: float(_format(row[column]))
            for i, row in enumerate(rows)
            if isinstance(row.get(column), int | float) and not isinstance(row.get(column), bool)
        }
        best = sorted(set(shown.values()), reverse=True)[:2]
        if len(shown) > 1:
            places |= {(i, column): best.index(value) + 1 for i, value in shown.items() if value in best}
    return places


def _format(value: Cell) -> str:
    """Four decimals below 10, one above; whole numbers and words as they are."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)
