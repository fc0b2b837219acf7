"""`adapters` and `rank`: a language model with trained adapters against the frozen one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from recmind.studies.suites.base import Suite, Variant

_INSTRUCTION: Final = "Represent the item for recommending it to people who would like it: "
_RANK: Final = 8


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


ADAPTERS: Final = Suite(
    "What is a language model with trained adapters worth, against the frozen one, with and without an "
    "instruction before the items' texts?",
    tuple(_adapters()),
    ("model.projection", "language.adapters.rank", "text.item_instruction"),
)
RANK: Final = Suite("How many dimensions do the adapters need?", tuple(_rank()), ("language.adapters.rank",))
