"""The suites of ``recmind study``: each a question, and a table of named variants that answers it.

A new suite is a file here and one line in :data:`SUITES`. Everything else, training,
restarts, tables, plots, follows from its variants.
"""

from __future__ import annotations

from typing import Final

from recmind.errors import ConfigError
from recmind.studies.suites.ablation import ABLATION
from recmind.studies.suites.adapters import ADAPTERS, RANK
from recmind.studies.suites.base import ORIGINAL, Measure, Section, Suite, TextChange, Variant, slug
from recmind.studies.suites.baselines import BASELINES, SEEDS, STRATA
from recmind.studies.suites.drift import DRIFT
from recmind.studies.suites.gate import GATE
from recmind.studies.suites.newcomers import COLD, FEW
from recmind.studies.suites.warmup import WARMUP

__all__ = ["ORIGINAL", "SUITES", "Measure", "Section", "Suite", "TextChange", "Variant", "slug", "suite_named"]

SUITES: Final[dict[str, Suite]] = {
    "baselines": BASELINES,
    "ablation": ABLATION,
    "strata": STRATA,
    "seeds": SEEDS,
    "warmup": WARMUP,
    "adapters": ADAPTERS,
    "rank": RANK,
    "drift": DRIFT,
    "gate": GATE,
    "cold": COLD,
    "few": FEW,
}
"""Suites by the name that ``--suite`` takes."""


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
