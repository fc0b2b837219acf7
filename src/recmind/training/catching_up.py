"""What came after training: a few more epochs on every interaction that is known by now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from recmind.config import Config
from recmind.data.splitting import Split
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel
from recmind.training.candidates import first_candidates
from recmind.training.trainer import Trainer

SLOWER: Final = 1 / 3
"""Factor of the step size: the parameters are near where they should be."""


def catch_up(
    model: GraphModel, split: Split, config: Config, *, popularity_factor: float = 1.0, show_progress: bool = False
) -> None:
    """Train a trained model on for ``training.catch_up_epochs`` with what has become known since.

    Validation and test interactions are kept from training so that they can be
    measured with. Lists for use are made when they are known, and each user's
    latest ones say most: the graph hears of them without this, the parameters
    do not. There is nothing left to stop by or to choose with, so the epochs
    are few and the steps small, and what validation chose stays chosen: the
    calibrated weights, and the popularity term, which would grow on with every
    epoch and at the cost of rare items.

    Parameters
    ----------
    model:
        With the parameters of the finished training, on the graph of ``split.train``; changed in place.
    split:
        Whose training part holds everything that is known.
    config:
        Of the training; of several temperatures the first one counts.
    popularity_factor:
        What calibration multiplied the learnt popularity with.
    """
    few = {
        "max_epochs": config.training.catch_up_epochs,
        "learning_rate": SLOWER * config.training.learning_rate,
        "warmup_epochs": 0,
        "calibrate": False,
    }
    config = first_candidates(config)[0].applied(config)
    config = config.model_copy(update={"training": config.training.model_copy(update=few)})
    with _popularity_as_learnt(model, popularity_factor):
        Trainer(model, split, config, validate=None, title="Catching up", show_progress=show_progress).fit()


@contextmanager
def _popularity_as_learnt(model: GraphModel, factor: float) -> Iterator[None]:
    """The popularity term without what calibration made of it, which the vectors would make up for."""
    if not isinstance(model, RecMind) or model.popularity is None:
        yield
        return
    w, floor = model.popularity, model.popularity_floor
    calibrated = w.detach().clone(), floor.clone()
    with torch.no_grad():
        w /= factor
        floor.zero_()
    yield
    with torch.no_grad():
        w.copy_(calibrated[0])
        floor.copy_(calibrated[1])
