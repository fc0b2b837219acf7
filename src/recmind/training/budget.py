"""How long the training of the adapters may take, and how long it will."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from recmind.language.training import TrainableTexts
from recmind.training.sampling import epoch_generator
from recmind.training.text_alignment import TextAlignment


@dataclass(frozen=True)
class Costs:
    """Seconds of one step, and of encoding the sides that are refreshed."""

    step: float
    refresh: float


class Budget:
    """A time budget over all language training of a run, also over interruptions.

    The steps are planned from a measurement before the first one, and made
    while the clock leaves time for one more and for the refresh after them. The
    refresh itself is not cut short: vectors by two kinds of adapters must not
    mix.

    A run whose budget leaves steps out depends on the machine's speed; one whose
    budget suffices does not.
    """

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = None if minutes is None else 60 * minutes
        self.clock = clock
        self.spent = self.this_training = self._step = self._refresh = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without a budget."""
        return float("inf") if self.seconds is None else self.seconds - self.spent

    @property
    def spent_up(self) -> bool:
        """Whether there is no time for a step and a refresh any more, as far as is known."""
        return self.left <= self._step + self._refresh

    def start(self) -> None:
        """Another training of the adapters begins."""
        self.this_training = 0.0

    def plan(self, wanted: int, costs: Costs) -> int:
        """Steps for which there is time, at most ``wanted``."""
        self._step, self._refresh = costs.step, costs.refresh
        if self.seconds is None:
            return wanted
        return max(0, min(wanted, int((self.left - costs.refresh) / max(costs.step, 1e-9))))

    def allows_a_step(self) -> bool:
        """Whether a step and the refresh still fit."""
        return self.seconds is None or self.left >= self._step + self._refresh

    def refreshed(self, seconds: float) -> None:
        """Take over how long a refresh really took."""
        self._refresh = max(self._refresh, seconds)

    @contextmanager
    def counted(self) -> Iterator[Callable[[], float]]:
        """Count the time within; the function given tells it afterwards."""
        start = self.clock()
        taken = [0.0]
        try:
            yield lambda: taken[0]
        finally:
            taken[0] = self.clock() - start
            self.spent += taken[0]
            self.this_training += taken[0]

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        seconds = [self.spent, self.this_training, self._step, self._refresh]
        return {"seconds": torch.tensor(seconds, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of :meth:`tensors`."""
        self.spent, self.this_training, self._step, self._refresh = tensors["seconds"].tolist()


def measure(
    alignment: TextAlignment,
    texts: TrainableTexts,
    sides: list[str],
    seed: int,
    clock: Callable[[], float],
) -> Costs:
    """What a step and a refresh of ``sides`` will take, from two micro-batches.

    Nothing of training changes: the gradients are dropped, and the random
    numbers are of their own.
    """
    nodes = alignment.batch(epoch_generator(seed, "language estimate", 0))
    parts = texts.parts(nodes)
    few = [parts[0], parts[len(parts) // 2]]
    texts.vectors_of(few[:1])  # the first call of all sets things up, which later ones do not
    tokens = sum(part.n_tokens for part in few)
    start = clock()
    texts.vectors_of(few)
    forward = (clock() - start) / tokens
    start = clock()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for part in few:
            texts.learn_from([part], lambda vectors: vectors.sum())
    both = (clock() - start) / tokens
    alignment.optimizer.zero_grad(set_to_none=True)
    cached = forward if len(parts) > 1 else 0.0
    momentum = forward if alignment.queues else 0.0
    in_step = sum(part.n_tokens for part in parts)
    return Costs(in_step * (both + cached + momentum), sum(texts.sides[side].n_tokens for side in sides) * forward)
