"""Figures as SVG for the page and as one PNG beside the Markdown; importing this module needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
from cycler import cycler
from matplotlib import figure as figures
from PIL import Image

from recmind.files import write_atomic
from recmind.studies.report.blocks import Figure

_INK: Final = "#010203"
_FAINT: Final = "#040506"
"""Colours that the SVG does not keep: they become the page's own, which change between light and dark."""

_COLOURS: Final = ["#3b7dd8", "#d9772b", "#3a9d5d", "#c94f4f", "#8a63c9", "#8c6d4f", "#d05fa6", "#7d8590", "#a8a02e"]
"""Of the lines; each can be told from light and from dark paper."""

_CYCLE: Final[dict[Any, Any]] = {"axes.prop_cycle": cycler(color=_COLOURS)}

_STYLE: Final[dict[Any, Any]] = {
    **_CYCLE,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.alpha": 0.5,
    "grid.linewidth": 0.6,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "legend.framealpha": 0,
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Letters stay letters: small, and read by a screen reader.
    "svg.fonttype": "none",
    # The ids inside an SVG are drawn from this: the same results make the same page.
    "svg.hashsalt": "recmind",
}


def as_svg(figure: Figure, own: str) -> str:
    """The figure as an SVG element, which takes its colour of ink from the page.

    Parameters
    ----------
    own:
        Put before every id inside: several figures share a page, and their ids with it.
    """
    with matplotlib.rc_context(_STYLE):
        sheet = figures.Figure(figsize=(4.8, _height(figure)), layout="constrained")
        figure.draw(axes := sheet.subplots())
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        written = io.StringIO()
        sheet.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace(_FAINT, "var(--faint)")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', svg)
    svg = re.sub(r"(url\(#|xlink:href=\"#)", rf"\g<1>{own}-", svg)
    svg = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)


def write_png(drawn: Sequence[Figure], file: Path) -> None:
    """All figures on one sheet, two in a row."""
    rows = [drawn[at : at + 2] for at in range(0, len(drawn), 2)]
    heights = [max(_height(one) for one in row) * 1.25 for row in rows]
    with matplotlib.rc_context(_CYCLE):
        sheet = figures.Figure(figsize=(12, sum(heights)), layout="constrained")
        axes = sheet.subplots(len(rows), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for row, here in zip(rows, axes, strict=True):
            for one, axis in zip(row, here, strict=False):
                one.draw(axis)
                axis.set_title(one.title)
                axis.grid(alpha=0.3)
                axis.set_axisbelow(True)
            for axis in here[len(row) :]:
                axis.set_visible(False)
        # A colour by its place in the cycle is looked up as late as here.
        sheet.savefig(drawing := io.BytesIO(), format="png", dpi=110)
    # Few colours are there: with a palette of them the file is a third as large. Octrees keep those of thin lines.
    few = Image.open(drawing).convert("RGB").quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    write_atomic(file, lambda path: few.save(path, format="png", optimize=True))


def _height(figure: Figure) -> float:
    return max(1.6, 0.7 + 0.21 * figure.rows) if figure.rows else 3.3
