"""How a refresh looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from recmind.serving.refresh import Refreshed

_ROWS = 10

_WHY = {
    "text": "their own text reads otherwise",
    "items": "the mean of items of which one changed",
    "new": "not there in training",
    "guess": "a missing text, guessed from texts that changed",
}


def print_refreshed(result: Refreshed, console: Console | None = None) -> None:
    """Print what was read, what moved and why, the rows that moved furthest, and what stayed."""
    console = console or Console()
    for side in ("items", "users"):
        counts = result.summary[side]
        if counts["given"]:
            new = f", {counts['new']:,} new" if side == "items" else ""
            console.print(f"{side}: {counts['given']:,} given, {counts['texts_changed']:,} with another text{new}")
    unread = result.summary["users"]["texts_not_in_the_run"]
    if unread:
        console.print(f"{unread:,} users bought changed items, but what their text is made of is not in the run: kept")
    if not result.moved.height:
        console.print(f"Nothing moved. {result.run} is as it was.")
        return
    console.print(_by_reason(result))
    console.print(_furthest(result))
    others = result.summary["others"]
    if "mean_cosine_if_moved" in others:
        console.print(
            f"The other {others['rows']:,} rows keep every bit. Through the graph they would move too: to a cosine of "
            f"{others['mean_cosine_if_moved']:.4f} on average, {others['least_cosine_if_moved']:.4f} at the furthest."
        )
    console.print(f"\nThe run is in {result.run}; its metrics are from before.", highlight=False)


def _by_reason(result: Refreshed) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("moved", "why"):
        table.add_column(name)
    for name in ("rows", "cosine z̃", "cosine h", "neighbours changed, of 10"):
        table.add_column(name, justify="right")
    for (side, why), rows in result.moved.group_by("side", "why", maintain_order=True):
        means = [rows[name].mean() for name in ("text_cosine", "cosine", "neighbours_changed")]
        shown = ["" if mean is None else f"{mean:.{digits}f}" for mean, digits in zip(means, (3, 3, 1), strict=True)]
        table.add_row(f"{side}s", _WHY[str(why)], f"{rows.height:,}", *shown)
    return table


def _furthest(result: Refreshed) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="furthest", title_justify="left")
    for name in ("", "id", "why"):
        table.add_column(name)
    for name in ("cosine z̃", "cosine h", "neighbours changed"):
        table.add_column(name, justify="right")
    for row in result.moved.sort("cosine", nulls_last=True).head(_ROWS).iter_rows(named=True):
        numbers = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("text_cosine", "cosine")]
        changed = row["neighbours_changed"]
        table.add_row(row["side"], row["id"], row["why"], *numbers, "" if changed is None else str(changed))
    return table
