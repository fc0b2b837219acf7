"""`warmup`: stability over seeds with and without a warm-up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recmind.studies.suites.base import Suite, Variant

# Validated every second epoch, with the recipes' patience in epochs: curves that can be compared.
_OFTEN: Final = {
    "paper": {"training.eval_every": 2, "training.patience": 20},
    "default": {"training.eval_every": 2, "training.patience": 8},
}


def _warmup() -> Iterator[Variant]:
    for recipe, often in _OFTEN.items():
        for epochs in (0, 5, 10):
            yield Variant(
                f"{recipe}, warm-up {epochs}",
                recipe=recipe,
                overrides={"training.metric": "ndcg@10", "training.warmup_epochs": epochs, **often},
                facts={"warmup_epochs": epochs},
                against=f"{recipe}, warm-up 0",
            )


WARMUP: Final = Suite(
    "Does a warm-up on the alignment alone make training more stable over seeds?",
    tuple(_warmup()),
    ("training.warmup_epochs",),
    ("stability",),
)
