"""What came after training: a few more epochs on every interaction that is known by now, or all of them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from recmind.config import Config
from recmind.data.splitting import Split
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel
from recmind.training.candidates import first_candidates
from recmind.training.trainer import Trainer

SLOWER: Final = 1 / 3
"""Factor of the step size: the parameters are near where they should be."""


def catch_up(
    model: GraphModel,
    split: Split,
    config: Config,
    *,
    epochs: int,
    popularity_factor: float = 1.0,
    show_progress: bool = False,
) -> None:
    """Train a trained model on for a few epochs with what has become known since.

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
    epochs:
        So many (``training.catch_up_epochs``).
    popularity_factor:
        What calibration multiplied the learnt popularity with.
    """
    few = {"learning_rate": SLOWER * config.training.learning_rate, "warmup_epochs": 0}
    with _popularity_as_learnt(model, popularity_factor):
        _train(model, split, config, epochs, few, "Catching up", show_progress)


def train_anew(
    model: GraphModel,
    split: Split,
    config: Config,
    *,
    epochs: int,
    chosen: Mapping[str, Tensor],
    popularity_factor: float = 1.0,
    show_progress: bool = False,
) -> None:
    """Train a model from its start with everything that is known, as long as training was best.

    A model that learns slowly has hardly moved after a few epochs: on Electronics, tuned LightGCN in use
    has .0718 NDCG@40 after eight of them and .0875 anew. What validation chose stays chosen.

    Parameters
    ----------
    model:
        Untrained, on the graph of ``split.train``; changed in place.
    split, config, popularity_factor:
        As for :func:`catch_up`.
    epochs:
        Of the joint phase: the best one of the finished training.
    chosen:
        Parameters of the finished training by name, of which those that validation chose are taken over.
    """
    _train(model, split, config, epochs, {}, "Training anew", show_progress)
    with torch.no_grad():
        for name in model.chosen:
            if name in chosen and name in model.state_dict():
                model.get_buffer(name).copy_(chosen[name])
        if isinstance(model, RecMind) and model.popularity is not None:
            model.popularity.mul_(popularity_factor)


def _train(
    model: GraphModel, split: Split, config: Config, epochs: int, changes: dict[str, float], title: str, show: bool
) -> None:
    """So many epochs, with nothing to stop by or to choose with."""
    config = first_candidates(config)[0].applied(config)
    fixed = {"max_epochs": epochs, "calibrate": False, **changes}
    config = config.model_copy(update={"training": config.training.model_copy(update=fixed)})
    Trainer(model, split, config, validate=None, title=title, show_progress=show).fit()


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
