"""`baselines`, `strata` and `seeds`: RecMind against every other model, by degree, and over many seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from recmind.config import ModelName
from recmind.studies.suites.base import Measure, Suite, Variant

OURS: Final = "RecMind default"
NAMES: Final[dict[str, str]] = {
    "popularity": "popularity",
    "item-knn": "item-kNN",
    "item-knn-text": "item-kNN + text",
    "content-knn": "content-kNN",
    "sequential-rules": "sequential rules",
    "ease": "EASE",
    "ials": "iALS",
    "bpr-mf": "BPR-MF",
    "lightgcn": "LightGCN",
    "ngcf": "NGCF",
    "sgl": "SGL",
    "simgcl": "SimGCL",
    "xsimgcl": "XSimGCL",
    "lightgcl": "LightGCL",
    "sasrec": "SASRec",
    "text": "text-only graph",
    "llm-init": "LLM-init",
    "rlmrec-con": "RLMRec-Con",
    "rlmrec-gen": "RLMRec-Gen",
    "alpharec": "AlphaRec",
    "kar": "KAR",
    "dropoutnet": "DropoutNet",
}
"""Labels of the other models, in the order of the tables: without texts, graphs, sequences, texts."""

WITHOUT_CHANCE: Final = ("popularity", "item-knn", "item-knn-text", "content-knn", "sequential-rules", "ease")
"""Models in which nothing is drawn."""
_OF_STRATA: Final = ("popularity", "item-knn-text", "content-knn", "ease", "lightgcn", "sasrec", "text", "alpharec")
_OF_SEEDS: Final = ("lightgcn", "text")


def _ours(measure: Measure | None = None) -> Iterator[Variant]:
    yield Variant(OURS, measure=measure)
    yield Variant("RecMind paper", recipe="paper", measure=measure)


def _others(models: tuple[str, ...], measure: Measure | None = None) -> Iterator[Variant]:
    for model in (name for name in NAMES if name in models):
        yield Variant(
            NAMES[model],
            model=model,
            by_chance=model not in WITHOUT_CHANCE,
            tuned="where there is one",
            measure=measure,
        )


BASELINES: Final = Suite(
    "How does RecMind do against every other model, each with the settings of its recipe, or tuned with `--recipes`?",
    (
        *_ours("use"),
        Variant("RecMind tuned", tuned="alone", measure="use"),
        *_others(tuple(name for name in get_args(ModelName) if name != "recmind"), "use"),
    ),
    sections=("use",),
    ours=OURS,
)
STRATA: Final = Suite(
    "Who is good at rare items and new users, and who at popular items and active users?",
    (*_ours(), *_others(_OF_STRATA)),
    sections=("strata",),
    ours=OURS,
)
SEEDS: Final = Suite(
    "How much of a difference between models is the luck of a seed?",
    (*_ours(), *_others(_OF_SEEDS)),
    sections=("seeds",),
    ours=OURS,
    seeds=(0, 1, 2, 3, 4),
)
