"""Progress bars for long work: one way to show them, on stderr, silent on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[..., None]
"""``advance(n=1, note="")``: move the bar by ``n`` and show ``note`` behind it."""


@contextmanager
def task(description: str, total: float | None, *, show: bool = True) -> Iterator[Advance]:
    """A progress bar of ``total`` units on stderr.

    Where stderr is no terminal, only the finished bar is printed, so that logs
    stay short. ``total=None`` shows a bar without an end.
    """
    if not show:
        yield lambda n=1, note="": None
        return
    bar = Progress(
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=_console(),
    )
    with bar:
        handle = bar.add_task(description, total=total, note="")

        def advance(n: float = 1, note: str = "") -> None:
            fields: dict[str, Any] = {"note": note} if note else {}
            bar.update(handle, advance=n, **fields)

        yield advance


def note(text: str, *, show: bool = True) -> None:
    """A line on stderr."""
    if show:
        _console().print(text, highlight=False, markup=False)


def _console() -> Console:
    """Stderr; a log file gets room for a whole line where a terminal has its own width."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=120)
