"""The trainer: it orders calls and keeps the state, and does no mathematics of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recmind import kernels
from recmind import progress as bars
from recmind.config import Config
from recmind.data.splitting import Split
from recmind.errors import TrainingError
from recmind.model.recmind import RecMind
from recmind.model.scorer import Scorer
from recmind.model.views import GraphModel, VectorScorer
from recmind.training.adam import Adam
from recmind.training.calibration import calibrate, foreseen
from recmind.training.checkpoint import (
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from recmind.training.objective import Loss, Objective
from recmind.training.sampling import InteractionSampler, epoch_generator

if TYPE_CHECKING:
    from recmind.training.language_phase import LanguagePhase

_MIN_STEPS = 5
"""Batches in an epoch at least."""

Validate = Callable[[Scorer], float]
"""Measures a model on the validation part; higher is better."""


@dataclass(frozen=True)
class Fitted:
    """What training gives: the model at its best epoch is in place; this is the record."""

    best_epoch: int
    best_value: float
    seconds: float
    history: list[dict[str, Any]]
    calibrated: dict[str, float] | None = None
    """What :func:`~recmind.training.calibration.calibrate` chose."""


class Trainer:
    """Trains a graph model in two phases with early stopping and exact resumption.

    Parameters
    ----------
    model:
        Trained in place; holds the parameters of the best epoch at the end.
    split:
        Only the training part is read here.
    validate:
        Called every ``training.eval_every`` epochs. ``None`` where there is
        nothing to validate on: training then runs for ``max_epochs``.
    checkpoint:
        File for checkpoints, or ``None``.
    fingerprint:
        What the run depends on; a checkpoint of another one is refused.
    language:
        Trains the language model's adapters; ``None`` where text vectors are constants.
    title:
        What the progress bar says; by default the model's name.
    """

    def __init__(
        self,
        model: GraphModel,
        split: Split,
        config: Config,
        *,
        validate: Validate | None,
        checkpoint: Path | None = None,
        fingerprint: str = "",
        language: LanguagePhase | None = None,
        title: str | None = None,
        show_progress: bool = True,
    ) -> None:
        self.model, self.split, self.config, self.validate = model, split, config, validate
        self.checkpoint, self.fingerprint, self.show_progress = checkpoint, fingerprint, show_progress
        self.language, self.title = language, title or f"Training {config.model.name}"
        settings = config.training
        exponent = settings.popularity_exponent if settings.negatives == "popularity" else 0.0
        self.sampler = InteractionSampler(split, exponent=exponent, cold=settings.cold_negatives, graph=model.graph)
        self.objective = Objective(model, self.sampler, config)
        self.device = next(model.parameters()).device
        kernels.keep_memory()
        # Small data in a few batches all the same: patience is counted in epochs.
        self.batch_size = min(settings.batch_size, max(1, len(self.sampler) // _MIN_STEPS))
        scale = self.batch_size / settings.learning_rate_batch if settings.learning_rate_batch else 1.0
        self.optimizer = Adam(model.parameters(), lr=settings.learning_rate * scale)
        self.state = Progress()
        self.best: dict[str, Tensor] = {}

    def fit(self, *, resume: bool = False) -> Fitted:
        """Train, from the checkpoint if ``resume`` and there is one.

        Raises
        ------
        TrainingError
            If the loss stops being finite.
        RunError
            If the checkpoint is damaged or belongs to another run.
        """
        if resume and self.checkpoint is not None and self.checkpoint.exists():
            self._restore(*load_checkpoint(self.checkpoint, self.fingerprint))
        self._saved_at = time.monotonic()
        with torch.random.fork_rng(devices=[]):
            if self.state.phase == "warmup":
                self._warmup()
            self._joint()
        if self.best:
            self.model.load_state_dict(self.best)
            if self.language is not None:
                self.language.restore_best(self.objective.replace_texts)
        state, found = self.state, None
        if self.validate is not None and self.config.training.calibrate:
            found = calibrate(self.model, self._measured())
        return Fitted(state.best_epoch or state.epoch, state.best_value, state.seconds, state.history, found)

    def scorer(self) -> VectorScorer:
        """The model as it stands, for ranking."""
        return self.model.scorer()

    def _measured(self) -> Callable[[], float]:
        """What gives the validation metric of the model as it stands, with whatever weights it has when asked."""
        validate, standing = self.validate, self.model.standing()
        assert validate is not None
        return lambda: validate(self.model.scorer(standing))

    def _warmup(self) -> None:
        epochs = self.config.training.warmup_epochs if isinstance(self.model, RecMind) else 0
        if self.state.epoch < epochs:
            with bars.task("Warm-up (alignment)", epochs, show=self.show_progress) as advance:
                advance(self.state.epoch)
                while self.state.epoch < epochs:
                    row = self._epoch("warmup", self._node_batches, self.objective.warmup)
                    advance(note=f"loss {row['loss']:.4f}")
                    self._save_if_due()
        self.state.phase, self.state.epoch = "joint", 0

    def _joint(self) -> None:
        settings = self.config.training
        with bars.task(self.title, settings.max_epochs, show=self.show_progress) as advance:
            advance(self.state.epoch)
            while self._goes_on():
                row = self._epoch("joint", self._interaction_batches, self.objective.joint)
                last = self.state.epoch == settings.max_epochs
                if self.validate is not None and (self.state.epoch % settings.eval_every == 0 or last):
                    self._validated(row)
                best = f"  best {settings.metric} {self.state.best_value:.4f}" if self.best else ""
                advance(note=f"loss {row['loss']:.4f}{best}")
                self._save_if_due()

    def _goes_on(self) -> bool:
        """Whether there is another epoch; where it is due, the language model's adapters are trained before it."""
        if self.language is not None and self.language.due(self.state):
            self.language.run(self.state, self.objective.replace_texts, self._save_if_due)
            self._save_if_due()
        return self.state.epoch < self.config.training.max_epochs and not self.state.stopped

    def _epoch(
        self,
        phase: str,
        batches: Callable[[torch.Generator], Iterator[tuple[Tensor, Tensor]]],
        loss_of: Callable[[Tensor, Tensor, torch.Generator], Loss],
    ) -> dict[str, Any]:
        """One pass over the batches; returns and records its row of the history."""
        start = time.perf_counter()
        generator = epoch_generator(self.config.seed, phase, self.state.epoch)
        self.model.start_epoch(generator)
        sums, steps = torch.zeros(3, device=self.device), 0
        for users, items in batches(generator):
            loss = loss_of(users.to(self.device), items.to(self.device), generator)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            self.optimizer.step()
            self.objective.after_step()
            sums += torch.stack([loss.total.detach(), loss.cf, loss.alignment])
            steps += 1
        total, cf, alignment = (sums / max(1, steps)).tolist()
        self.state.epoch += 1
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is not finite in epoch {self.state.epoch} of the {phase} phase",
                where="training",
                got=total,
                hint="lower training.learning_rate, or raise training.temperature or alignment.temperature",
            )
        seconds = time.perf_counter() - start
        self.state.seconds += seconds
        row = {
            "phase": phase,
            "epoch": self.state.epoch,
            "loss": total,
            "loss_cf": cf,
            "loss_alignment": alignment,
            "seconds": round(seconds, 4),
        }
        self.state.history.append(row)
        return row

    def _validated(self, row: dict[str, Any]) -> None:
        """Measure on the validation part, keep the best parameters, and decide whether to stop."""
        start = time.perf_counter()
        measured = self._measured()
        value = foreseen(self.model, measured) if self.config.training.calibrate else measured()
        row[f"valid_{self.config.training.metric}"] = value
        self.state.seconds += time.perf_counter() - start
        if value > self.state.best_value:
            self.state.best_value, self.state.best_epoch, self.state.misses = value, self.state.epoch, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
            if self.language is not None:
                self.language.remember()
        else:
            self.state.misses += 1
            self.state.stopped = self.state.misses >= self.config.training.patience

    def _interaction_batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self.sampler.histories if self.model.reads_order else self.sampler.batches
        return batches(self.batch_size, generator)

    def _node_batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of users and of items; the shorter side comes round again until the longer one is through."""
        size = self.config.alignment.batch_size
        users = torch.randperm(self.model.n_users, generator=generator)
        items = torch.randperm(self.model.n_items, generator=generator)
        for start in range(0, max(len(users), len(items)), size):
            at = torch.arange(start, start + size)
            yield users[at[: len(users)] % len(users)], items[at[: len(items)] % len(items)]

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"objective.{name}": tensor for name, tensor in self.objective.state().items()},
            **optimizer_tensors(self.optimizer),
            **{f"language.{k}": v for k, v in (self.language.tensors() if self.language else {}).items()},
        }

    def _save_if_due(self) -> None:
        due = time.monotonic() - self._saved_at >= self.config.training.checkpoint_seconds
        if self.checkpoint is not None and due:
            save_checkpoint(self.checkpoint, self.state, self._tensors(), self.fingerprint)
            self._saved_at = time.monotonic()

    def _restore(self, state: Progress, tensors: dict[str, Tensor]) -> None:
        def below(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v.to(self.device) for k, v in tensors.items() if k.startswith(prefix)}

        self.state = state
        self.model.load_state_dict(below("model."))
        self.best = below("best.")
        restore_optimizer(self.optimizer, tensors)
        saved = below("objective.")
        for name, tensor in self.objective.state().items():
            tensor.copy_(saved[name])
        if self.language is not None:
            self.language.restore(below("language."), self.objective.replace_texts)
