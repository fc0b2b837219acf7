"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from recmind.studies.report.blocks import Block, Cell, Code, Figure, Part, Table, Text

_MARKS = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}


def to_markdown(title: str, parts: Sequence[Part]) -> str:
    """The report; figures are left out, for they stand together in one picture."""
    found = [f"# {title}"] if title else []
    for part in parts:
        blocks = [_written(block) for block in part.blocks if not isinstance(block, Figure)]
        if blocks or not part.blocks:
            found += [f"## {part.title}"] if part.title else []
            found += blocks
    return "\n\n".join(found) + "\n"


def table_in_markdown(table: Table) -> str:
    """A pipe table; the best of a column bold, the second underlined."""
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    lines = [[_cell(cell) for cell in line] for line in (table.head, *table.lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _written(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Table):
        return table_in_markdown(block)
    assert isinstance(block, Code)
    return "\n".join(["```", *block.lines, "```"])


def _cell(cell: str | Cell) -> str:
    text, mark = (cell.text, cell.mark) if isinstance(cell, Cell) else (cell, "")
    return _MARKS[mark].format(text.replace("|", "\\|"))
