"""`cold` and `few`: items that nobody has bought, and users of whom little is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recmind.studies.suites.base import Measure, Suite, Variant

_OURS: Final = "RecMind default"
_LABELS: Final = {
    "text": "text-only",
    "alpharec": "AlphaRec",
    "dropoutnet": "DropoutNet",
    "content-knn": "content kNN",
    "item-knn-text": "item-kNN + text",
    "ease": "EASE",
    "lightgcn": "LightGCN",
    "popularity": "popularity",
}
# cold_negatives: that nobody has bought them says nothing about items that were not there yet.
_COLD: Final = {"split.kind": "cold-and-warm", "training.cold_negatives": False}
_FEW: Final = {"split.kind": "short-histories"}


def _variants(measure: Measure, overrides: Mapping[str, Any], models: tuple[str, ...]) -> Iterator[Variant]:
    yield Variant(_OURS, overrides=overrides, measure=measure)
    yield Variant("RecMind paper", recipe="paper", overrides=overrides, measure=measure)
    for model in models:
        yield Variant(_LABELS[model], model=model, overrides=overrides, measure=measure)


COLD: Final = Suite(
    "What does a model make of items that nobody has bought yet: among themselves, and in a catalogue with the others?",
    tuple(
        _variants(
            "cold",
            _COLD,
            ("text", "alpharec", "dropoutnet", "content-knn", "item-knn-text", "lightgcn", "popularity"),
        )
    ),
    sections=("cold",),
    ours=_OURS,
)
FEW: Final = Suite(
    "What does a model make of users with 1, 2, 3 or 5 interactions?",
    tuple(
        _variants(
            "few",
            _FEW,
            ("text", "alpharec", "dropoutnet", "content-knn", "item-knn-text", "ease", "lightgcn", "popularity"),
        )
    ),
    sections=("few",),
    ours=_OURS,
)
