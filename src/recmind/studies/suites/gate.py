"""`gate`: whether nodes with few interactions get more language."""

from __future__ import annotations

from typing import Final

from recmind.studies.suites.base import Suite, Variant

# The gate stays on whatever the recipe says: the question is about it.
_GATED: Final = {"model.gate.kind": "node-layer"}

GATE: Final = Suite(
    "Do users and items with few interactions get more language through the gate, as the paper claims?",
    tuple(Variant(recipe, recipe=recipe, overrides=_GATED, measure="gate") for recipe in ("default", "paper")),
    sections=("gate",),
)
