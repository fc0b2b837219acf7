"""Commands about data: demo, prepare."""

from __future__ import annotations


def demo() -> None:
    """Demo."""


def prepare() -> None:
    """Prepare."""
