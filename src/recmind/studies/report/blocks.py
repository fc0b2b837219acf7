"""What a report is made of, whatever it is written as: parts with texts, tables, figures and commands."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Text:
    """A paragraph; `` `code` `` and ``*emphasis*`` as in Markdown. With ``- `` in front, an entry of a list."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is marked: the best of its column bold, the second underlined."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names the line, the others are aligned to the right."""

    head: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]


@dataclass(frozen=True)
class Figure:
    """A plot with one pair of axes."""

    title: str
    draw: Callable[[Axes], None]
    rows: int = 0
    """Lines of a chart that has one for each variant; it is made tall enough for them. 0: the usual height."""


@dataclass(frozen=True)
class Code:
    """Lines to copy into a shell."""

    lines: Sequence[str]


Block = Text | Table | Figure | Code


@dataclass(frozen=True)
class Part:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


def ranked(texts: Sequence[str], values: Sequence[float | None]) -> list[Cell]:
    """Cells of a column in which the largest value is best; what looks alike gets the same mark.

    >>> [cell.mark for cell in ranked(["0.10", "0.30", "0.30", "0.20", "-"], [0.1, 0.3, 0.3, 0.2, None])]
    ['', 'best', 'best', 'second', '']
    """
    shown = [None if value is None else round(value, 4) for value in values]
    places = sorted({value for value in shown if value is not None}, reverse=True)[:2]
    marks: dict[float | None, Mark] = dict(zip(places, ("best", "second"), strict=False)) if len(places) > 1 else {}
    return [Cell(text, marks.get(value, "")) for text, value in zip(texts, shown, strict=True)]


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of what is there."""
    numbers = [value for value in values if value is not None]
    return statistics.mean(numbers) if numbers else None


def spread(values: Sequence[float | None], row: dict[str, Any] | None = None, column: str = "") -> str:
    """Mean and standard deviation over the seeds, or of a single seed the value and its interval in ``row``."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    low, high = ((row or {}).get(f"{column}.{end}") for end in ("low", "high"))
    if len(numbers) > 1:
        return f"{statistics.mean(numbers):.4f} ± {statistics.stdev(numbers):.4f}"
    return f"{numbers[0]:.4f}" + (f" ({low:.4f} to {high:.4f})" if low is not None and high is not None else "")


def middle(values: Sequence[float | None], digits: int = 0) -> str:
    """The median, rounded."""
    numbers = [value for value in values if value is not None]
    return f"{statistics.median(numbers):.{digits}f}" if numbers else "-"


def gain(value: float | None) -> str:
    """A relative difference as a percentage with its sign; a dash where there is none."""
    return "-" if value is None else f"{value:+.1%}"
