"""`drift`: texts that change after training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recmind.studies.suites.base import ORIGINAL, Suite, TextChange, Variant


def _drift() -> Iterator[Variant]:
    yield Variant("original", facts={"texts": "none", "share": 0.0, "state": "original"})
    for change in (TextChange(kind, share) for kind in ("words", "titles") for share in (0.1, 0.3, 0.5)):
        name = change.name

        def about(state: str, change: TextChange = change) -> dict[str, str | float]:
            return {"texts": change.kind, "share": change.share, "state": state}

        yield Variant(f"{name}, stale", facts=about("stale"), run="original", divided_by=change)
        yield Variant(
            f"{name}, refreshed",
            facts=about("refreshed"),
            start="original",
            refreshed=change,
            divided_by=change,
            against=f"{name}, retrained",
        )
        yield Variant(f"{name}, retrained", facts=about("retrained"), run=name, texts=change, divided_by=change)
        yield Variant(
            f"{name}, restored",
            facts=about("restored"),
            start=name,
            texts=change,
            refreshed=ORIGINAL,
            divided_by=change,
        )


DRIFT: Final = Suite(
    "When texts change after training: is it enough to read them again (`recmind refresh`), or must the model be "
    "trained again?",
    tuple(_drift()),
    sections=("drift",),
)
