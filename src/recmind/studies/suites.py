"""The suites of ``recmind study``: each a question, and a table of named variants that answers it.

A new suite is one entry in :data:`SUITES`. Everything else, training, restarts,
tables, plots, follows from its variants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from recmind.errors import ConfigError

Section = Literal["stability", "drift"]
"""What a report shows beside the table, the differences and the curves."""


@dataclass(frozen=True)
class TextChange:
    """What is done to the texts of a share of the items; see :mod:`recmind.studies.drift`."""

    kind: Literal["none", "words", "titles"] = "none"
    """`words`: half of the words of every field go. `titles`: the title is written anew from category and brand."""
    share: float = 0.0
    """Share of the items that can be changed in this way."""

    @property
    def name(self) -> str:
        """For folders and labels, such as ``words-30``."""
        return f"{self.kind}-{round(100 * self.share)}" if self.share else "original"


ORIGINAL: Final = TextChange()
"""The texts as the dataset has them."""


@dataclass(frozen=True)
class Variant:
    """One line of a suite, run once per seed."""

    label: str
    """Name in tables and of the run folder."""
    recipe: str = "default"
    """Recipe that the overrides change."""
    model: str = "recmind"
    """Model to train."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings by dotted key."""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    """What the variant is about, as columns of the results: what a plot has on its axis."""
    run: str = ""
    """Name of the run folder, where variants share one; without it the label's."""
    texts: TextChange = ORIGINAL
    """Texts that the run is trained on."""
    refreshed: TextChange | None = None
    """Texts that the finished run ``start`` is then refreshed with; ``None``: it is not refreshed."""
    start: str = ""
    """Run folder that a refresh begins with."""
    divided_by: TextChange | None = None
    """Measure test targets among the items that this changes apart from the others."""
    against: str = ""
    """Label of the variant that this one is compared with; without it the suite's first."""

    @property
    def folder(self) -> str:
        """Name of the run folder, without the seed."""
        return self.run or slug(self.label)


@dataclass(frozen=True)
class Suite:
    """A question and the variants that answer it; unless they say otherwise they are compared with the first."""

    question: str
    variants: tuple[Variant, ...]
    varies: tuple[str, ...] = ()
    """Settings that tell the variants apart, so that nobody can set them for all."""
    sections: tuple[Section, ...] = ()


def slug(label: str) -> str:
    """A label as the name of a folder.

    >>> slug("LoRA, rank 8")
    'lora-rank-8'
    """
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def suite_named(name: str) -> Suite:
    """The suite of this name.

    Raises
    ------
    ConfigError
        If there is none; it names those that there are.
    """
    if name not in SUITES:
        raise ConfigError("there is no such suite", where="--suite", got=name, accepted=SUITES)
    return SUITES[name]


# Validated every second epoch, with the recipes' patience in epochs: curves that can be compared.
_OFTEN: Final = {
    "paper": {"training.eval_every": 2, "training.patience": 20},
    "default": {"training.eval_every": 2, "training.patience": 8},
}
_INSTRUCTION: Final = "Represent the item for recommending it to people who would like it: "
_RANK: Final = 8


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


def _lora(rank: int) -> dict[str, Any]:
    # alpha grows with the rank, so that the scale alpha / r of the update does not change with it.
    return {"language.adapters.rank": rank, "language.adapters.alpha": 2.0 * rank}


def _adapters() -> Iterator[Variant]:
    instruction = {"text.item_instruction": _INSTRUCTION}
    frozen = "frozen, MLP"
    yield Variant(frozen, overrides={"model.projection": "mlp"})
    yield Variant("frozen, linear", overrides={"model.projection": "linear"})
    # Without this one, what the instruction alone does would be put down to the adapters.
    yield Variant(f"{frozen}, instruction", overrides={"model.projection": "mlp", **instruction})
    yield Variant("LoRA", overrides={"model.projection": "mlp", **_lora(_RANK)})
    both = {"model.projection": "mlp", **_lora(_RANK), **instruction}
    yield Variant("LoRA, instruction", overrides=both, against="LoRA")


def _rank() -> Iterator[Variant]:
    yield Variant("frozen", overrides={"language.adapters.rank": 0}, facts={"rank": 0})
    for rank in (4, 8, 16):
        yield Variant(f"LoRA, rank {rank}", overrides=_lora(rank), facts={"rank": rank})


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


SUITES: Final[dict[str, Suite]] = {
    "warmup": Suite(
        "Does a warm-up on the alignment alone make training more stable over seeds?",
        tuple(_warmup()),
        ("training.warmup_epochs",),
        ("stability",),
    ),
    "adapters": Suite(
        "What is a language model with trained adapters worth, against the frozen one, with and without an "
        "instruction before the items' texts?",
        tuple(_adapters()),
        ("model.projection", "language.adapters.rank", "text.item_instruction"),
    ),
    "rank": Suite("How many dimensions do the adapters need?", tuple(_rank()), ("language.adapters.rank",)),
    "drift": Suite(
        "When texts change after training: is it enough to read them again (`recmind refresh`), or must the model be "
        "trained again?",
        tuple(_drift()),
        sections=("drift",),
    ),
}
"""Suites by the name that ``--suite`` takes."""
