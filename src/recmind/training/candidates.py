"""What validation chooses by training again: the temperature of the recommendation loss, and whether order is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recmind.config import Config

if TYPE_CHECKING:
    from recmind.training.trainer import Fitted

Model = TypeVar("Model")
Array = np.ndarray


@dataclass(frozen=True)
class Candidate:
    """Settings of one training among several."""

    temperature: float
    sequence: bool = True
    """Whether the sequence encoder is there, where the settings have one."""

    def applied(self, config: Config) -> Config:
        """``config`` with this choice made, so that nothing is left to choose."""
        training = config.training.model_copy(update={"temperature": self.temperature})
        usual = config.model.sequence
        weight = usual.weight if self.sequence else 0.0
        sequence = usual.model_copy(update={"weight": weight, "optional": False})
        model = config.model.model_copy(update={"sequence": sequence})
        return config.model_copy(update={"training": training, "model": model})

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}" + ("" if self.sequence else ", without order")


@dataclass(frozen=True)
class Tried:
    """What the training of a candidate came to."""

    candidate: Candidate
    best_epoch: int
    value: float
    """The validation metric at the best epoch, after calibration where there is one."""
    seconds: float
    noise: float = 0.0
    """Of the simpler model, without the encoder: one standard error of what it is better or worse than the best with
    one. As much worse it is still preferred."""

    def to_json(self) -> dict[str, Any]:
        """As a flat row."""
        rest = {"best_epoch": self.best_epoch, "value": self.value, "seconds": self.seconds}
        return {**vars(self.candidate), **rest, **({} if self.candidate.sequence else {"noise": self.noise})}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Tried:
        """Read from such a row."""
        # Before there was a choice, every candidate had what the settings said.
        candidate = Candidate(row["temperature"], row.get("sequence", True))
        # And before there was a noise, the higher value was enough.
        return cls(candidate, row["best_epoch"], row["value"], row["seconds"], row.get("noise", 0.0))


def first_candidates(config: Config) -> list[Candidate]:
    """One per temperature; the first one counts where nothing chooses."""
    return [Candidate(temperature) for temperature in config.training.temperatures]


def asks_for_order(config: Config) -> bool:
    """Whether the settings leave it to validation if there is to be a sequence encoder."""
    sequence = config.model.sequence
    return config.model.name == "recmind" and sequence.optional and sequence.weight > 0


def best_of(tried: Iterable[Tried]) -> Candidate:
    """The candidate with the highest value, the simpler model's being so much higher as its noise is; of equals the
    one that was tried first."""
    return max(tried, key=lambda one: one.value + one.noise).candidate


def standard_error(values: Array) -> float:
    """Of the mean of independent values ``(n,)``; 0 for fewer than two."""
    return float(values.std(ddof=1, dtype=np.float64)) / len(values) ** 0.5 if len(values) > 1 else 0.0


def fit_best(
    config: Config,
    fit: Callable[[Candidate], tuple[Model, Fitted]],
    measure: Callable[[Model], Array],
    known: Sequence[Tried],
    best: Array | None,
    note: Callable[[list[Tried], Array | None], None],
) -> tuple[tuple[Model, Fitted] | None, list[Tried]]:
    """Train with each temperature, and with the best one without the sequence encoder, and keep what is best.

    How sharp the softmax should be depends on the data, more than anything else
    in the loss: many near-equal items in a catalogue want a low temperature, a
    few bestsellers a high one. A low one is ahead at first, also where it ends
    behind; so each is trained to its end.

    Where what is bought next has little to do with what was bought before, a
    model whose item vectors are not taught to tell the next item as well finds
    better ones, of rare items above all (``model.sequence.optional``). A model
    with the encoder is also larger and slower, so it has to be better by more
    than one standard error of the difference over the validation users, each
    user's of the one less that of the other (Breiman et al. 1984,
    Classification and Regression Trees, section 3.4.3).

    Parameters
    ----------
    fit:
        Trains a new model of a candidate's settings.
    measure:
        A trained model's validation metric of each user, ``(n_users,)``.
    known, best:
        What was tried before the run was interrupted, and the metric of each user by the best of it.
    note:
        Called after each training with these two as they have become, to be written down; the second is ``None``
        where it is not needed.

    Returns
    -------
    tuple
        The model and the training of :func:`best_of` what was tried, or ``None`` where that was before an
        interruption; and all that were tried.
    """
    asks, tried = asks_for_order(config), {one.candidate: one for one in known}
    kept: tuple[Candidate, tuple[Model, Fitted]] | None = None

    def train(candidate: Candidate) -> None:
        nonlocal kept, best
        if candidate in tried:
            return
        model, fitted = fit(candidate)
        value = fitted.calibrated["after"] if fitted.calibrated else fitted.best_value
        values, noise = measure(model) if asks else None, 0.0
        if not candidate.sequence and values is not None and best is not None:
            noise = standard_error(values - best)
        tried[candidate] = Tried(candidate, fitted.best_epoch, value, round(fitted.seconds, 3), noise)
        if best_of(tried.values()) == candidate:
            kept, best = (candidate, (model, fitted)), values
        note(list(tried.values()), best)

    for candidate in first_candidates(config):
        train(candidate)
    if asks:
        train(Candidate(best_of(tried.values()).temperature, sequence=False))
    results = list(tried.values())
    return kept[1] if kept is not None and kept[0] == best_of(results) else None, results
