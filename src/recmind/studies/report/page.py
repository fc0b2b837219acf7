"""A report as one HTML page that needs nothing else: no script, no font, no network; figures are SVG inside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from recmind.studies.report.blocks import Cell, Code, Figure, Part, Table, Text


def to_html(title: str, parts: Sequence[Part], *, lead: str = "", figures: bool = True) -> str:
    """The page.

    Parameters
    ----------
    lead:
        What stands below the title.
    figures:
        Whether they can be drawn, for which matplotlib must be installed.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    def inline(text: str) -> Markup:
        safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
        return Markup(re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?!\w)", r"<em>\1</em>", safe))

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = inline
    source = (resources.files("recmind") / "studies" / "report" / "page.html.j2").read_text(encoding="utf-8")
    shown = [
        {"title": part.title, "anchor": f"part-{number}", "runs": _runs(part, figures, f"part-{number}")}
        for number, part in enumerate(parts)
    ]
    return environment.from_string(source).render(
        title=title, lead=lead, parts=[part for part in shown if part["runs"]], markup=Markup
    )


def _runs(part: Part, figures: bool, anchor: str) -> list[dict[str, Any]]:
    """The blocks of a part as the template reads them; figures that follow each other share a grid."""
    found: list[dict[str, Any]] = []
    for number, block in enumerate(part.blocks):
        if isinstance(block, Text) and block.text.startswith("- "):
            if not found or found[-1]["kind"] != "list":
                found.append({"kind": "list", "entries": []})
            found[-1]["entries"].append(block.text.removeprefix("- "))
        elif isinstance(block, Text):
            found.append({"kind": "text", "text": block.text})
        elif isinstance(block, Table):
            found.append({"kind": "table", "head": block.head, "lines": [_cells(line) for line in block.lines]})
        elif isinstance(block, Code):
            found.append({"kind": "code", "text": "\n".join(block.lines)})
        elif figures:
            if not found or found[-1]["kind"] != "figures":
                found.append({"kind": "figures", "figures": []})
            found[-1]["figures"].append({"title": block.title, "svg": _svg(block, f"{anchor}-{number}")})
    return found


def _cells(line: Sequence[str | Cell]) -> list[Cell]:
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in line]


def _svg(figure: Figure, own: str) -> str:
    from recmind.studies.report.drawing import as_svg

    return as_svg(figure, own)
