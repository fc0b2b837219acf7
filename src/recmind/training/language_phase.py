"""When the language model's adapters learn, when tables are encoded anew, and what a checkpoint keeps of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recmind import progress as bars
from recmind.config import Config
from recmind.data.splitting import Split
from recmind.errors import TrainingError
from recmind.language.features import mean_of_items
from recmind.language.training import TrainableTexts
from recmind.machine import threads
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.schema import Files
from recmind.training.budget import Budget, Costs, measure
from recmind.training.checkpoint import Progress
from recmind.training.sampling import epoch_generator
from recmind.training.text_alignment import TextAlignment


@dataclass
class Worn:
    """Adapters that made a table: their tensors and digest; neither for the frozen model's own."""

    state: dict[str, Tensor] = field(default_factory=dict)
    sha256: str = ""


_NONE = -1


@dataclass
class Position:
    """Where the language training stands; kept in checkpoints as numbers."""

    first: int = _NONE
    """Epoch of the joint phase before which the adapters were trained for the first time."""
    done: int = _NONE
    """Epoch before which the last training, now finished, was."""
    step: int = 0
    """Steps made in the training under way."""
    planned: int = _NONE
    """Steps that it is to have; ``-1`` where none is under way."""


class LanguagePhase:
    """Trains adapters within a run of :class:`~recmind.training.trainer.Trainer`.

    Before an epoch of the joint phase that is due (:meth:`due`) the graph
    stands still, :class:`TextAlignment` makes its steps, and the vectors of the
    sides whose turn it is are made anew and put in place of the model's. The
    epochs themselves read vectors as constants, as without adapters.

    The paper trains adapters in every step of warm-up and joint phase, which
    would encode the texts of a batch in each of them. Here both sides learn in
    turns, and each text is encoded once per refresh.

    Parameters
    ----------
    initial:
        Vectors by the frozen model, which the model begins with.
    clock:
        Seconds; for tests.
    """

    def __init__(
        self,
        model: RecMind,
        texts: TrainableTexts,
        split: Split,
        config: Config,
        initial: TextInputs,
        *,
        show_progress: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.model, self.texts, self.split, self.config, self.initial = model, texts, split, config, initial
        self.settings, self.show_progress = config.language.adapters, show_progress
        self.alignment = TextAlignment(model, texts, config)
        self.position = Position()
        self.budget = Budget(config.language.max_minutes, clock)
        self.losses = torch.zeros((), dtype=torch.float64)
        self.worn = {side: Worn() for side in texts.sides}
        self.best = dict(self.worn)
        self.threads = config.threads or torch.get_num_threads()

    def due(self, progress: Progress) -> bool:
        """Whether adapters are to be trained before the next epoch of the joint phase."""
        if progress.epoch >= self.config.training.max_epochs or progress.epoch == self.position.done:
            return False
        if not self.alignment.sides or self.budget.spent_up:
            return False
        if self.position.first == _NONE:
            return progress.stopped or progress.epoch >= self.settings.graph_epochs
        return not progress.stopped and bool(self._turn(progress.epoch))

    def run(
        self, progress: Progress, replace: Callable[[TextInputs], None], save: Callable[[], None] = lambda: None
    ) -> None:
        """One training of the adapters with the refresh after it, from where the position says.

        Parameters
        ----------
        progress:
            Of the trainer; gets a row of history, and goes on where validation had stopped it.
        replace:
            Puts new vectors into the model.
        save:
            Called after every step, so that a checkpoint can be written.
        """
        with threads(self.threads):
            if self.position.planned == _NONE:
                self._begin(progress.epoch)
            self._steps(progress.epoch, save)
            refreshed = self._turn(progress.epoch) if self.position.step else []
            row = {"phase": "language", "epoch": progress.epoch, "steps": self.position.step, "refreshed": refreshed}
            if self.position.step:
                row["loss"] = float(self.losses) / self.position.step
            with self.budget.counted() as seconds:
                if refreshed:
                    self._refresh(refreshed)
                    replace(self.inputs())
                    self._forget()
            self.budget.refreshed(seconds())
        row["seconds"] = round(self.budget.this_training, 4)
        progress.history.append(row)
        progress.seconds += self.budget.this_training
        if self.position.first == _NONE:
            self.position.first, progress.misses, progress.stopped = progress.epoch, 0, False
        self.position.done, self.position.step, self.position.planned = progress.epoch, 0, _NONE
        self.alignment.end()

    def remember(self) -> None:
        """The present tables are those of the best epoch."""
        self.best = dict(self.worn)

    def restore_best(self, replace: Callable[[TextInputs], None]) -> None:
        """The tables of the best epoch again, and the adapters that made the items'."""
        if any(self.best[side].sha256 != self.worn[side].sha256 for side in self.worn):
            self.worn = dict(self.best)
            with threads(self.threads):
                replace(self.inputs())

    def inputs(self) -> TextInputs:
        """Vectors of all nodes as the model takes them, made by :attr:`worn`; those made before are read."""
        items, users = self._table("items"), None
        known = self.texts.sides["items"].known
        users_known = None
        if "users" in self.texts.sides:
            own = self.texts.sides["users"].known
            means, means_known = mean_of_items(items, known, self.split.train, len(own))
            users, users_known = np.where(own[:, None], self._table("users"), means), own | means_known
        place = self.model.free
        return TextInputs.from_arrays(items, known, users, users_known).to(place.device, place.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the rest of training depends on."""
        found = {f"alignment.{name}": value for name, value in self.alignment.state().items()}
        for kind, worn in (("worn", self.worn), ("best", self.best)):
            for side, adapters in worn.items():
                found |= {f"{kind}.{side}.{name}": value for name, value in adapters.state.items()}
        found["position"] = torch.tensor(list(vars(self.position).values()))
        found["losses"] = self.losses
        return found | {f"budget.{name}": value for name, value in self.budget.tensors().items()}

    def restore(self, tensors: dict[str, Tensor], replace: Callable[[TextInputs], None]) -> None:
        """Inverse of :meth:`tensors`."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v.cpu() for k, v in tensors.items() if k.startswith(prefix)}

        self.position = Position(*tensors["position"].tolist())
        self.losses = tensors["losses"].cpu()
        self.budget.restore(below("budget."))
        for kind in ("worn", "best"):
            states = {side: below(f"{kind}.{side}.") for side in self.texts.sides}
            setattr(self, kind, {side: self._as_worn(state) for side, state in states.items()})
        self.alignment.restore(below("alignment."))
        if any(worn.state for worn in self.worn.values()):
            replace(self.inputs())

    def save(self, folder: Path) -> None:
        """Write the adapters that made the tables in place; none where the frozen model did."""
        shutil.rmtree(folder, ignore_errors=True)
        learnt = self.texts.adapters.state()
        for side, worn in self.worn.items():
            if worn.state and (side == "items" or worn.sha256 != self.worn["items"].sha256):
                self.texts.adapters.set(worn.state)
                self.texts.adapters.save(folder if side == "items" else folder / Files.USERS_ADAPTERS)
        self.texts.adapters.set(learnt)

    def manifest(self) -> dict[str, Any]:
        """What made the tables, for the run's records."""
        found = {}
        for side, worn in self.worn.items():
            found["adapters_sha256" if side == "items" else f"{side}_adapters_sha256"] = worn.sha256 or None
        return self.texts.manifest() | found

    def _turn(self, epoch: int) -> list[str]:
        """Sides whose vectors are made anew before ``epoch``."""
        if self.position.first in (_NONE, epoch):
            return list(self.texts.sides)
        since = epoch - self.position.first
        every = {"items": self.settings.refresh_every, "users": self.settings.refresh_users_every}
        return [side for side in self.texts.sides if every[side] and since % every[side] == 0]

    def _begin(self, epoch: int) -> None:
        wanted = self.settings.steps if self.position.first == _NONE else self.settings.joint_steps
        self.losses.zero_()
        self.budget.start()
        with self.budget.counted():
            self.alignment.begin()
            costs = measure(self.alignment, self.texts, self._turn(epoch), self.config.seed, self.budget.clock)
        self.position.step, self.position.planned = 0, self.budget.plan(wanted, costs)
        bars.note(estimate(costs, wanted, self.position.planned, self.budget), show=self.show_progress)

    def _steps(self, epoch: int, save: Callable[[], None]) -> None:
        planned = self.position.planned
        with bars.task("Training adapters", planned, show=self.show_progress and planned > 0) as advance:
            advance(self.position.step)
            while self.position.step < planned and self.budget.allows_a_step():
                generator = epoch_generator(self.config.seed, f"language {epoch}", self.position.step)
                with self.budget.counted():
                    loss = self.alignment.step(self.position.step, planned, generator)
                if not np.isfinite(loss):
                    raise TrainingError(
                        f"the alignment of the texts is not finite in step {self.position.step + 1}",
                        where="language.adapters",
                        got=loss,
                        hint="lower language.adapters.learning_rate, or set language.dtype = 'float32'",
                    )
                self.losses += loss
                self.position.step += 1
                advance(note=f"loss {float(self.losses) / self.position.step:.4f}")
                save()

    def _refresh(self, sides: list[str]) -> None:
        worn = Worn(self.texts.adapters.state(), self.texts.adapters.sha256)
        self.worn = self.worn | dict.fromkeys(sides, worn)

    def _table(self, side: str) -> np.ndarray:
        """Vectors of a side by the adapters that it wears, float32 ``(n, d_lm)``."""
        state = self.worn[side].state
        if not state:
            return getattr(self.initial, side).float().cpu().numpy()
        learnt = self.texts.adapters.state()
        self.texts.adapters.set(state)
        try:
            return self.texts.table(side)
        finally:
            self.texts.adapters.set(learnt)

    def _forget(self) -> None:
        self.texts.forget({worn.sha256 for worn in (*self.worn.values(), *self.best.values())})

    def _as_worn(self, state: dict[str, Tensor]) -> Worn:
        if not state:
            return Worn()
        learnt = self.texts.adapters.state()
        self.texts.adapters.set(state)
        sha256 = self.texts.adapters.sha256
        self.texts.adapters.set(learnt)
        return Worn(state, sha256)


def estimate(costs: Costs, wanted: int, planned: int, budget: Budget) -> str:
    """What is said before the adapters are trained."""
    whole = wanted * costs.step + costs.refresh
    text = (
        f"Training adapters: {wanted} steps of {costs.step:.2g} s, then {costs.refresh:.0f} s of encoding: "
        f"about {max(1, round(whole / 60))} min"
    )
    if budget.seconds is None:
        return text + " (no language.max_minutes)"
    left = f"{budget.left / 60:.1f} of {budget.seconds / 60:g} min are left (language.max_minutes)"
    return f"{text}; {left}" + ("" if planned == wanted else f", which is enough for {planned} steps")
