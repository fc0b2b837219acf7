"""Plots as SVG elements that need neither scripts nor inline styles: classes say the colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from recmind.serving.answers import Reason

PARTS = ("language", "graph", "cross", "popularity", "sequence")
"""Shares of a score, in the order in which they are drawn."""


@dataclass(frozen=True, slots=True)
class Span:
    """What bars of one list have in common: the lowest and the highest end of any of them."""

    low: float
    high: float

    @classmethod
    def of(cls, reasons: Sequence[Reason]) -> Span:
        """Ends of the stacked shares of several reasons."""
        lows = [sum(min(getattr(one, part), 0.0) for part in PARTS) for one in reasons]
        highs = [sum(max(getattr(one, part), 0.0) for part in PARTS) for one in reasons]
        low, high = min([0.0, *lows]), max([0.0, *highs])
        return cls(low, high) if high > low else cls(0.0, 1.0)

    def at(self, value: float) -> float:
        """Place of a value, 0 to 100."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


def why_bar(reason: Reason, span: Span) -> Markup:
    """Shares of a score as a stacked bar: what speaks for the item right of zero, what speaks against it left."""
    left = right = 0.0
    boxes = []
    for part in PARTS:
        value = getattr(reason, part)
        if value >= 0:
            start, right = right, right + value
            boxes.append(_box(part, span.at(start), span.at(right)))
        else:
            end, left = left, left + value
            boxes.append(_box(f"{part} against", span.at(left), span.at(end)))
    zero = span.at(0.0)
    label = ", ".join(f"{part} {getattr(reason, part):+.3f}" for part in PARTS)
    axis = f'<line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="10"/>' if span.low < 0 else ""
    return Markup(
        f'<svg class="why-bar" role="img" aria-label="{escape(f"Score {reason.score:.3f}: {label}")}" '
        f'viewBox="0 0 100 10" preserveAspectRatio="none">{"".join(boxes)}{axis}</svg>'
    )


def share_bar(value: float, most: float) -> Markup:
    """One bar, as long as its share of the longest."""
    width = 0.0 if most <= 0 else round(100 * abs(value) / most, 2)
    kind = "history" if value >= 0 else "history against"
    return Markup(
        f'<svg class="share-bar" aria-hidden="true" viewBox="0 0 100 6" preserveAspectRatio="none">'
        f"{_box(kind, 0, width, 6)}</svg>"
    )


def _box(kind: str, start: float, end: float, height: float = 10) -> str:
    return f'<rect class="{kind}" x="{start}" y="0" width="{max(end - start, 0):.2f}" height="{height}"/>'


_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 250, 62, 40, 30
"""A drawing's size and margins, in which the letters of a phone's page have room too."""
_BESIDE = 44
"""From a line chart's edges to its first and last place: half of a name."""


def bars(values: Mapping[str, float], title: str) -> Markup:
    """Columns, one a name, with their values above."""
    most = max([*values.values(), 0.0]) or 1.0
    step = (_WIDTH - _LEFT) / max(len(values), 1)
    high = _HEIGHT - _BOTTOM - _TOP
    marks = []
    for place, (name, value) in enumerate(values.items()):
        height = high * max(value, 0.0) / most
        x, y = _LEFT + step * (place + 0.5), _HEIGHT - _BOTTOM - height
        width = min(step * 0.6, 70)
        marks.append(
            f'<rect class="bar" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        )
        marks.append(f'<text class="value" x="{x:.1f}" y="{y - 6:.1f}">{value:.3f}</text>')
        marks.append(f'<text class="name" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}">{escape(name)}</text>')
    axis = f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM}"/>'
    return _chart(title, axis + "".join(marks))


def lines(series: Mapping[str, Sequence[float]], names: Sequence[str], title: str) -> Markup:
    """Lines over named places, values from 0 to 1; up to four series, told apart by colour, dash and marker."""
    high = _HEIGHT - _BOTTOM - _TOP
    step = (_WIDTH - _LEFT - 2 * _BESIDE) / max(len(names) - 1, 1)

    def point(place: int, value: float) -> tuple[float, float]:
        return round(_LEFT + _BESIDE + step * place, 1), round(_HEIGHT - _BOTTOM - high * value, 1)

    parts = []
    for value in (0, 0.25, 0.5, 0.75, 1):
        y = point(0, value)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}">{value:g}</text>')
    for place, name in enumerate(names):
        x = point(place, 0)[0]
        parts.append(f'<text class="name" x="{x}" y="{_HEIGHT - _BOTTOM + 18}">{escape(name)}</text>')
    for number, values in enumerate(series.values()):
        points = [point(place, value) for place, value in enumerate(values)]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline class="line s{number % 4}" points="{path}"/>')
        parts += [f'<circle class="dot s{number % 4}" cx="{x}" cy="{y}" r="4"/>' for x, y in points]
    return _chart(title, "".join(parts))


def _chart(title: str, content: str) -> Markup:
    return Markup(
        f'<svg class="chart" role="img" aria-label="{escape(title)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{content}</svg>'
    )
