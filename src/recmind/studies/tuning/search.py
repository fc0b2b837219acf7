"""The search: which settings the next trial gets, by optuna, and what every trial found, in a database.

The settings of trial n depend on the seed, on n and on the finished trials
before it, and on nothing else: the sampler is made anew for every trial. So a
search that was killed proposes the same settings again, the training goes on
from its checkpoint, and in the end there are the same trials as without.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recmind.errors import ConfigError, RunError
from recmind.studies.tuning.space import Range, Space

if TYPE_CHECKING:
    from optuna import Study, Trial

_STARTUP: Final = 10
"""Trials before the sampler learns from earlier ones; never from how many are asked for, which may grow."""
_FOUND: Final = "found"


@dataclass(frozen=True)
class Trialled:
    """A trial that has ended."""

    number: int
    """From 0, without those that were interrupted."""
    settings: dict[str, Any]
    value: float | None
    """Of the validation metric; ``None`` where the training failed."""
    found: dict[str, Any]
    """What else is known: best epoch, seconds, peak memory, or the error."""


class Search:
    """Proposes settings and keeps what became of them.

    Parameters
    ----------
    file:
        SQLite database of optuna's; made if missing.
    first:
        Settings to try first, those of the recipe; then the space's own starts,
        each in place of them. Settings that the space cannot draw are drawn.
    """

    def __init__(self, space: Space, file: Path, *, seed: int, first: Mapping[str, Any]) -> None:
        optuna = import_optuna()
        self.space, self.seed = space, seed
        self.given = [first, *({**first, **start} for start in space.starts)]
        try:
            self.study: Study = optuna.create_study(
                storage=f"sqlite:///{file.resolve()}", study_name="tune", direction="maximize", load_if_exists=True
            )
        except Exception as error:  # optuna and SQLAlchemy have no common base class for damaged databases
            raise RunError(
                f"the search's database cannot be read: {error}", where=file, hint="another --out"
            ) from error
        self._give_up_interrupted()

    def ended(self) -> list[Trialled]:
        """Trials that have ended, in order; those that were interrupted do not count."""
        known = [trial for trial in self.study.get_trials(deepcopy=False) if _FOUND in trial.user_attrs]
        return [
            Trialled(number, trial.user_attrs["settings"], trial.user_attrs[_FOUND]["value"], trial.user_attrs[_FOUND])
            for number, trial in enumerate(known)
        ]

    def ask(self, number: int) -> tuple[Trial, dict[str, Any]]:
        """A new trial and its settings; ``number`` is how many have ended."""
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # groups of settings with a condition are called experimental
            self.study.sampler = TPESampler(
                seed=_seed(self.seed, number),
                n_startup_trials=_STARTUP,
                multivariate=True,
                group=True,
                constant_liar=False,
            )
        if number < len(self.given):
            self.study.enqueue_trial(self._startable(self.given[number]), skip_if_exists=False)
        trial = self.study.ask()
        settings = self.space.settings(lambda key, one: _decoded(one, _drawn(trial, key, one)))
        trial.set_user_attr("settings", settings)
        return trial, settings

    def tell(self, trial: Trial, value: float | None, found: Mapping[str, Any]) -> None:
        """Keep what a trial found; without a value it failed."""
        from optuna.trial import TrialState

        trial.set_user_attr(_FOUND, {**found, "value": value})
        self.study.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    def importances(self) -> dict[str, float]:
        """How much each setting decides whether a trial is among the best quarter, as shares of all; needs some trials.

        PED-ANOVA (Watanabe et al. 2023), which knows conditions.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        if sum(trial.value is not None for trial in self.study.get_trials(deepcopy=False)) <= _STARTUP:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))

    def _give_up_interrupted(self) -> None:
        """End the trials of a killed process; their settings will be proposed again."""
        from optuna.trial import TrialState

        for _ in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.ask()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # What was found is written before the trial is ended: killed in between, it has been made.
            value = trial.user_attrs.get(_FOUND, {}).get("value")
            self.study.tell(trial.number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    def _startable(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: _encoded(one, given[key])
            for key, one in self.space.ranges.items()
            if one.searched and key in given and one.holds(given[key])
        }


def import_optuna() -> Any:
    """The library, quiet.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "tuning needs the library optuna, which is not installed",
            where="recmind tune",
            hint='pip install "recmind[studies]"',
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"tune/{seed}/{number}".encode()).digest()[:4], "little")


def _drawn(trial: Trial, key: str, one: Range) -> Any:
    if one.choices is not None:
        return trial.suggest_categorical(key, [_encoded(one, choice) for choice in one.choices])
    assert one.low is not None and one.high is not None
    if one.whole:
        return trial.suggest_int(key, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(key, one.low, one.high, log=one.log)


def _encoded(one: Range, value: Any) -> Any:
    """A choice as optuna's database takes it: lists as their JSON."""
    return json.dumps(value) if one.choices is not None and isinstance(value, list | dict) else value


def _decoded(one: Range, value: Any) -> Any:
    for choice in one.choices or ():
        if _encoded(one, choice) == value:
            return choice
    return value
