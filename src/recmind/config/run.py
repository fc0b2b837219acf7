"""Everything that determines a run, and the dotted keys of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from recmind.config.base import Settings
from recmind.config.data import SplitConfig
from recmind.config.language import LanguageConfig, TextConfig
from recmind.config.model import AlignmentConfig, ModelConfig
from recmind.config.training import EvaluationConfig, TrainingConfig


class Config(Settings):
    """Everything that determines a run."""

    recipe: str = "default"
    """Name of the recipe that these settings came from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initialisation, sampling and order."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:0`."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of training; 0 takes one for a small graph, where more do not pay, and else what the
    machine has. The same number gives the same bits."""
    split: SplitConfig = SplitConfig()
    text: TextConfig = TextConfig()
    language: LanguageConfig = LanguageConfig()
    model: ModelConfig = ModelConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _known_metric(self) -> Config:
        name, _, cutoff = self.training.metric.partition("@")
        if name not in ("recall", "ndcg", "hit_rate", "mrr", "map") or not cutoff.isdecimal() or int(cutoff) < 1:
            raise ValueError(
                f"training.metric: got {self.training.metric!r}, accepted: recall@K, ndcg@K, hit_rate@K, mrr@K, map@K"
            )
        return self


def walk_settings(cls: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, Any]]:
    """Every setting as (dotted key, pydantic ``FieldInfo``), depth first."""
    found: list[tuple[str, Any]] = []
    for name, info in cls.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found += walk_settings(info.annotation, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", info))
    return found


def setting_names() -> list[str]:
    """Every setting as a dotted key."""
    return [key for key, _ in walk_settings()]


def section_names() -> list[str]:
    """Names of the groups of settings, the outer ones only."""
    return sorted({key.partition(".")[0] for key in setting_names() if "." in key})


def setting_at(settings: Mapping[str, Any], key: str) -> Any:
    """Value of a dotted key in settings as plain data (``Config.model_dump``)."""
    return reduce(getitem, key.split("."), settings)
