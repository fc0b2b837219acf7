"""The temperature of the recommendation loss, chosen by training with each of a few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from recmind.config import Config
from recmind.training.trainer import Fitted


@dataclass(frozen=True)
class Tried:
    """What the training with one temperature came to."""

    temperature: float
    best_epoch: int
    value: float
    """The validation metric at the best epoch, after calibration where there is one."""
    seconds: float


def fit_best(
    model: nn.Module,
    temperatures: Sequence[float],
    fit: Callable[[float], Fitted],
    known: Sequence[Tried],
    note: Callable[[list[Tried]], None],
) -> tuple[float, Fitted | None, list[Tried]]:
    """Train with each temperature from the same start and keep the best.

    How sharp the softmax should be depends on the data, more than anything else
    in the loss: many near-equal items in a catalogue want a low temperature, a
    few bestsellers a high one. A low one is ahead at first, also where it ends
    behind; so each is trained to its end.

    Parameters
    ----------
    model:
        Untrained; holds the parameters of the best training at the end.
    fit:
        Trains ``model`` with a temperature.
    known:
        What was tried before the run was interrupted.
    note:
        Called after each training with all of them so far, to be written down.

    Returns
    -------
    tuple
        The best temperature, of equals the one that comes first. Its training,
        or ``None`` where that was before an interruption: the model is then as
        it was at the start. And all that were tried.
    """
    start, tried = _copy(model), {one.temperature: one for one in known}
    kept: tuple[float, Fitted, dict] | None = None
    for temperature in temperatures:
        if temperature in tried:
            continue
        model.load_state_dict(start)
        fitted = fit(temperature)
        value = fitted.calibrated["after"] if fitted.calibrated else fitted.best_value
        before = max((one.value for one in tried.values()), default=-float("inf"))
        tried[temperature] = Tried(temperature, fitted.best_epoch, value, round(fitted.seconds, 3))
        if value > before:
            kept = temperature, fitted, _copy(model)
        note(list(tried.values()))
    best = max((tried[temperature] for temperature in temperatures), key=lambda one: one.value).temperature
    if kept is not None and kept[0] == best:
        model.load_state_dict(kept[2])
        return best, kept[1], list(tried.values())
    model.load_state_dict(start)
    return best, None, list(tried.values())


def with_temperature(config: Config, temperature: float) -> Config:
    """``config`` with one temperature in place of a list."""
    return config.model_copy(update={"training": config.training.model_copy(update={"temperature": temperature})})


def _copy(model: nn.Module) -> dict:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
