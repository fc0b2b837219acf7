"""What came after training: a few more epochs on every interaction that is known by now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from recmind.config import Config
from recmind.data.splitting import Split
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel
from recmind.training.temperatures import with_temperature
from recmind.training.trainer import Trainer

SLOWER: Final = 1 / 3
"""Factor of the step size: the parameters are near where they should be."""


@dataclass(frozen=True)
class Chosen:
    """What validation chose in a training and the parameters do not say."""

    temperature: float | None = None
    """Of the recommendation loss; ``None`` for the first of the settings."""
    popularity_factor: float = 1.0
    """What calibration multiplied the learnt popularity with."""

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Chosen:
        """Read from ``metrics.json`` of a run."""
        tried = metrics.get("temperatures") or []
        best = max(tried, key=lambda one: one["value"])["temperature"] if tried else None
        return cls(best, (metrics.get("calibrated") or {}).get("popularity_factor", 1.0))


def catch_up(model: GraphModel, split: Split, config: Config, chosen: Chosen, *, show_progress: bool = False) -> None:
    """Train a trained model on for ``training.catch_up_epochs`` with what has become known since.

    Validation and test interactions are kept from training so that they can be
    measured with. Lists for use are made when they are known, and each user's
    latest ones say most: the graph hears of them without this, the parameters
    do not. There is nothing left to stop by or to choose with, so the epochs
    are few and the steps small, and what validation chose stays chosen: the
    temperature, the calibrated weights, and the popularity term, which would
    grow on with every epoch and at the cost of rare items.

    Parameters
    ----------
    model:
        With the parameters of the finished training, on the graph of ``split.train``; changed in place.
    split:
        Whose training part holds everything that is known.
    """
    temperature = chosen.temperature or config.training.temperatures[0]
    few = {
        "max_epochs": config.training.catch_up_epochs,
        "learning_rate": SLOWER * config.training.learning_rate,
        "warmup_epochs": 0,
        "calibrate": False,
    }
    config = with_temperature(config, temperature)
    config = config.model_copy(update={"training": config.training.model_copy(update=few)})
    with _popularity_as_learnt(model, chosen):
        Trainer(model, split, config, validate=None, title="Catching up", show_progress=show_progress).fit()


@contextmanager
def _popularity_as_learnt(model: GraphModel, chosen: Chosen) -> Iterator[None]:
    """The popularity term without what calibration made of it, which the vectors would make up for."""
    if not isinstance(model, RecMind) or model.popularity is None:
        yield
        return
    w, floor = model.popularity, model.popularity_floor
    calibrated = w.detach().clone(), floor.clone()
    with torch.no_grad():
        w /= chosen.popularity_factor
        floor.zero_()
    yield
    with torch.no_grad():
        w.copy_(calibrated[0])
        floor.copy_(calibrated[1])
