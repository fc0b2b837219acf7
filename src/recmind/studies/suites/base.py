"""What a suite is made of: a question, and named variants that answer it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Section = Literal["use", "stability", "drift", "gate", "cold", "few", "strata", "seeds", "sweeps"]
"""What a report shows beside the table, the differences and the curves."""

Measure = Literal["use", "gate", "cold", "few"]
"""What is measured of a finished run beyond its metrics; see :mod:`recmind.studies.measures`."""


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
    measure: Measure | None = None
    """What is measured of the run beside its metrics."""
    by_chance: bool = True
    """Whether a seed changes anything; without, it is run with the first seed alone."""
    tuned: Literal["", "where there is one", "alone"] = ""
    """Whether a tuned recipe for the model takes the place of this one's, see ``--recipes``; ``alone``: there is
    nothing to run without one."""
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
    ours: str = ""
    """Label of the variant that the report holds against all others, instead of each against its own reference."""
    seeds: tuple[int, ...] = (0,)
    """Seeds where none are asked for."""


def slug(label: str) -> str:
    """A label as the name of a folder.

    >>> slug("LoRA, rank 8")
    'lora-rank-8'
    """
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
