"""Validation curves with the time that each point took, and one by one the steps of two implementations."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from peers.ours_worker import make_trainer
from peers.process import Contender
from peers.recbole_exchange import BATCHES, TABLE, VECTORS
from peers.workload import Workload
from recmind.config import Config
from recmind.data.splitting import Split
from recmind.evaluation.evaluate import validation_metrics
from recmind.model.scorer import Scorer
from recmind.model.views import VectorScorer
from recmind.training.trainer import Trainer


@dataclass
class Point:
    """One validation: after how many epochs and how many seconds of training (wall, processor), and its value."""

    epoch: int
    wall: float
    cpu: float
    value: float


@dataclass
class Curve:
    """Validations of one training. Time spent in validation itself is left out of every point."""

    points: list[Point] = field(default_factory=list)
    validating: float = 0.0

    @property
    def best(self) -> Point:
        return max(self.points, key=lambda point: point.value)

    def reached(self, value: float) -> Point | None:
        """The first point at or above ``value``."""
        return next((point for point in self.points if point.value >= value), None)


class _ReachedError(Exception):
    """Stops a training from inside its validation."""


def our_curve(trainer: Trainer, split: Split, *, until: float = math.inf, show: bool = False) -> Curve:
    """Train as the settings say, early stopping included, or until a validation reaches ``until``."""
    curve, config = Curve(), trainer.config
    clock = [time.perf_counter(), time.process_time()]
    spent = [0.0, 0.0]

    def validate(scorer: Scorer) -> float:
        now = [time.perf_counter(), time.process_time()]
        for part in (0, 1):
            spent[part] += now[part] - clock[part]
        value = validation_metrics(scorer, split, config.evaluation, metric=config.training.metric)
        curve.points.append(Point(trainer.state.epoch, spent[0], spent[1], value))
        if show:
            print(f"  epoch {trainer.state.epoch}: {value:.4f} after {spent[0]:.1f} s", flush=True)
        clock[:] = [time.perf_counter(), time.process_time()]
        curve.validating += clock[0] - now[0]
        if value >= until:
            raise _ReachedError
        return value

    trainer.validate = validate
    with contextlib.suppress(_ReachedError):
        trainer.fit()
    return curve


def peer_curve(peer: Contender, folder: Path, split: Split, config: Config, *, show: bool = False) -> Curve:
    """Train RecBole itself, epoch by epoch, and validate its vectors with our evaluation, to the end."""
    curve, misses, wall, cpu = Curve(), 0, 0.0, 0.0
    settings = config.training
    for epoch in range(1, settings.max_epochs + 1):
        reading = peer.do("epoch")
        wall, cpu = wall + reading.wall, cpu + reading.cpu
        if epoch % settings.eval_every:
            continue
        peer.do("vectors")
        with np.load(folder / VECTORS) as vectors:
            scorer = VectorScorer(*(torch.from_numpy(vectors[side]) for side in ("users", "items")))
        value = validation_metrics(scorer, split, config.evaluation, metric=settings.metric)
        misses = 0 if not curve.points or value > curve.best.value else misses + 1
        curve.points.append(Point(epoch, wall, cpu, value))
        if show:
            print(f"  epoch {epoch}: {value:.4f} after {wall:.1f} s", flush=True)
        if misses >= settings.patience:
            break
    return curve


def initial_table(folder: Path) -> torch.Tensor:
    """E^(0) that the peer has written, users first, ``(n_nodes, d)``."""
    with np.load(folder / TABLE) as table:
        return torch.from_numpy(np.concatenate([table["users"], table["items"]]))


def xavier_table(n_users: int, n_items: int, dim: int, seed: int = 0) -> torch.Tensor:
    """E^(0) as RecBole draws it: uniform with variance 2 / (n + d), each side apart."""
    generator = torch.Generator().manual_seed(seed)
    sides = [torch.empty(n, dim) for n in (n_users, n_items)]
    for side in sides:
        torch.nn.init.xavier_uniform_(side, generator=generator)
    return torch.cat(sides)


def start_from(trainer: Trainer, table: torch.Tensor) -> None:
    """Give our LightGCN its first table."""
    with torch.no_grad():
        parameter = next(iter(trainer.model.parameters()))
        parameter.copy_(table)


def largest_difference(
    peer: Contender, folder: Path, workload: Workload, split: Split, config: Config, *, steps: int = 20
) -> tuple[float, list[float], list[float]]:
    """Both implementations from one table on the same batches: the largest relative difference of the losses."""
    trainer = make_trainer(workload, config, split)
    start_from(trainer, initial_table(folder))
    rng = np.random.default_rng(0)
    size = min(config.training.batch_size, len(workload) // 5)
    at = rng.integers(0, len(workload), (steps, size))
    negatives = rng.integers(0, workload.n_items, (steps, size))
    users, positives = workload.users[at].astype(np.int64), workload.items[at].astype(np.int64)
    np.savez(folder / BATCHES, users=users, positives=positives, negatives=negatives)
    theirs = peer.do("follow").extra["losses"]
    given = iter(torch.from_numpy(negatives)[:, :, None])
    trainer.sampler.negatives = lambda users, n, generator: next(given)  # type: ignore[method-assign]
    ours = []
    for pair in zip(torch.from_numpy(users), torch.from_numpy(positives), strict=True):
        ours.append(trainer._epoch("joint", lambda _, pair=pair: iter([pair]), trainer.objective.joint)["loss"])
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)), ours, theirs
