"""`cold` and `few`: items that nobody has bought, and users of whom little is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recmind.studies.suites.base import Measure, Suite, Variant
from recmind.studies.suites.baselines import NAMES, OURS, WITHOUT_CHANCE

# cold_negatives: that nobody has bought them says nothing about items that were not there yet.
_COLD: Final = {"split.kind": "cold-and-warm", "training.cold_negatives": False}
_FEW: Final = {"split.kind": "short-histories"}


def _variants(measure: Measure, overrides: Mapping[str, Any], models: tuple[str, ...]) -> Iterator[Variant]:
    yield Variant(OURS, overrides=overrides, measure=measure)
    yield Variant("RecMind paper", recipe="paper", overrides=overrides, measure=measure)
    for model in models:
        yield Variant(
            NAMES[model],
            model=model,
            overrides=overrides,
            measure=measure,
            by_chance=model not in WITHOUT_CHANCE,
            tuned="where there is one",
        )


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
    ours=OURS,
)
FEW: Final = Suite(
    "What does a model make of users with 1, 2, 3 or 5 interactions?",
    tuple(
        _variants(
            "few",
            _FEW,
            (
                "text",
                "alpharec",
                "dropoutnet",
                "content-knn",
                "item-knn-text",
                "ease",
                "lightgcn",
                "sasrec",
                "popularity",
            ),
        )
    ),
    sections=("few",),
    ours=OURS,
)
