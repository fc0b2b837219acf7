"""Short trainings that choose the temperature of the recommendation loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from recmind.config import Config
from recmind.training.trainer import Fitted


@dataclass(frozen=True)
class Pilot:
    """What one of them came to."""

    temperature: float
    best_epoch: int
    value: float
    """The validation metric at its best epoch."""
    seconds: float


def fly(
    config: Config, fit: Callable[[Config], Fitted], known: list[Pilot], note: Callable[[list[dict[str, float]]], None]
) -> list[Pilot]:
    """Train each temperature of a list for ``training.pilot_epochs``, in its order.

    How sharp the softmax should be depends on the data, more than anything else
    in the loss: many near-equal items in a catalogue want a low temperature, a
    few bestsellers a high one. Of two temperatures the better one is mostly
    ahead after a fraction of a training, which is what a pilot is: the same
    training, ended early. What is learnt in it is thrown away. So a run with a
    list is, from its first epoch on, the run with the number that was chosen.

    Parameters
    ----------
    fit:
        Trains a fresh model with these settings.
    known:
        Pilots that ended before the run was interrupted.
    note:
        Called after each with all of them so far, to be written down.
    """
    flown = {pilot.temperature: pilot for pilot in known}
    for temperature in config.training.temperatures:
        if temperature not in flown:
            fitted = fit(_short(config, temperature))
            flown[temperature] = Pilot(temperature, fitted.best_epoch, fitted.best_value, round(fitted.seconds, 3))
            note([asdict(pilot) for pilot in flown.values()])
    return list(flown.values())


def chosen(config: Config, pilots: list[Pilot]) -> Config:
    """``config`` with the temperature of the best pilot; of equals the one that comes first in the list."""
    best = max(pilots, key=lambda pilot: pilot.value)
    return _with(config, temperature=best.temperature)


def _short(config: Config, temperature: float) -> Config:
    epochs = min(config.training.pilot_epochs, config.training.max_epochs)
    return _with(config, temperature=temperature, max_epochs=epochs)


def _with(config: Config, **training: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=training)})
