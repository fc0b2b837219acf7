"""`ablation`: each part of RecMind taken away or exchanged, from the recipes `default` and `paper`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recmind.studies.suites.base import Suite, Variant

Settings = Mapping[str, Any]

_UNALIGNED: Final = {"alignment.weight": 0.0, "training.warmup_epochs": 0}
_ONE_VIEW: Final = {**_UNALIGNED, "model.gate.kind": "none", "model.initial": "free", "model.alpha_by_text": False}

NO_TEXTS: Final[Settings] = {**_ONE_VIEW, "model.alpha": 1.0, "model.text_links": 0}
"""What leaves RecMind nothing to read: "no language view" keeps the links, which are made of texts too."""

_OF_BOTH: Final[dict[str, Settings]] = {
    "no alignment": _UNALIGNED,
    "alignment of users alone": {"alignment.sides": "users"},
    "alignment of items alone": {"alignment.sides": "items"},
    "late fusion in place of the gate": {"model.gate.kind": "late"},
    "no gate": {"model.gate.kind": "none"},
    # h = z^G from free vectors alone, which is LightGCN, and h = z^L.
    "no language view": {**_ONE_VIEW, "model.alpha": 1.0},
    "language view alone": {**_ONE_VIEW, "model.alpha": 0.0, "model.missing_text": "fallback"},
    "negatives by popularity": {"training.negatives": "popularity"},
}
_OF_PAPER: Final[dict[str, Settings]] = {
    "no warm-up": {"training.warmup_epochs": 0},
    "no queue": {"alignment.queue_size": 0},
    "no hard negatives": {"alignment.hard_negatives": 0},
    "no queue, no hard negatives": {"alignment.queue_size": 0, "alignment.hard_negatives": 0},
    "hard training negatives": {"training.hard_candidates": 5},
}
# None sets the temperature: with --set training.temperature=T all are trained with the one that suits the data.
_OF_DEFAULT: Final[dict[str, Settings]] = {
    "with a warm-up": {"training.warmup_epochs": 5},
    "with a queue": {"alignment.queue_size": 2048},
    "with hard negatives": {"alignment.hard_negatives": 5},
    # What departs from the paper, turned back one by one.
    "linear projection": {"model.projection": "linear"},
    "inner product": {"model.score": "dot"},
    "BPR": {"training.loss": "bpr", "training.n_negatives": 1},
    "no popularity term": {"model.popularity": False},
    "start without texts": {"model.initial": "free"},
    "one alpha for all": {"model.alpha_by_text": False},
    "missing texts guessed": {"model.missing_text": "fallback"},
    "users by their reviews": {"text.user_view": "reviews"},
    "no text links": {"model.text_links": 0},
    "no texts at all": NO_TEXTS,
    "no sequence encoder": {"model.sequence.weight": 0.0},
    "what came next ignored": {"model.transitions.weight": 0.0},
    "order of histories ignored": {
        "model.sequence.weight": 0.0,
        "model.recent.weight": 0.0,
        "model.transitions.weight": 0.0,
        "training.calibrate": False,
    },
    "not calibrated": {"training.calibrate": False},
}
SWEEPS: Final[dict[str, tuple[float, ...]]] = {
    "model.alpha": (0.1, 0.3, 0.5, 0.7, 0.9),
    "alignment.weight": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    "alignment.temperature": (0.05, 0.1, 0.2, 0.5, 1.0),
}
"""α, λ and τ; the recipe's own value is not run twice."""
SYMBOLS: Final = {"model.alpha": "alpha", "alignment.weight": "lambda", "alignment.temperature": "tau"}
_OWN: Final = {
    "default": {"model.alpha": 0.5, "alignment.weight": 0.05, "alignment.temperature": 0.2},
    "paper": {"model.alpha": 0.5, "alignment.weight": 0.1, "alignment.temperature": 0.2},
}
"""What the recipes say; a test compares."""


def _ablation() -> Iterator[Variant]:
    for recipe, more in (("default", _OF_DEFAULT), ("paper", _OF_PAPER)):
        yield Variant(recipe, recipe=recipe)
        for name, settings in {**_OF_BOTH, **more}.items():
            yield Variant(f"{recipe}, {name}", recipe=recipe, overrides=settings, against=recipe)
        for key, values in SWEEPS.items():
            for value in values:
                if value != _OWN[recipe][key]:
                    label, facts = f"{recipe}, {SYMBOLS[key]} {value:g}", {"swept": key, "at": value}
                    yield Variant(label, recipe=recipe, overrides={key: value}, facts=facts, against=recipe)


def _varied(variants: tuple[Variant, ...]) -> tuple[str, ...]:
    return tuple(sorted({key for variant in variants for key in variant.overrides}))


_VARIANTS: Final = tuple(_ablation())
ABLATION: Final = Suite(
    "What is each part of RecMind worth, in the recipe that was measured best and in the paper's?",
    _VARIANTS,
    _varied(_VARIANTS),
    ("sweeps",),
)
