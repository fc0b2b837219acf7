"""Steps that train the language model's adapters: texts against the graph views of the same nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recmind.config import Config
from recmind.language.training import TrainableTexts
from recmind.model.alignment import ViewQueue, symmetric_info_nce
from recmind.model.language_view import LanguageView
from recmind.model.recmind import RecMind
from recmind.training.checkpoint import optimizer_tensors, restore_optimizer
from recmind.training.objective import frozen_copy

_RISE = 0.1
"""Share of a training's steps in which the step size rises."""

_LONGEST_GRADIENT = 1.0
"""Longer gradients are cut to this length."""

_POOL = 32768
"""Texts among which the nearest ones are looked for, at most; of more, another sample in each step."""


class TextAlignment:
    """L_align^U + L_align^I with a gradient for the adapters and W_proj alone.

    For a batch of nodes with text and a training interaction:

    z̃ = Pool(F(T; adapters)),  z^L = W_proj z̃,  ℓ = InfoNCE(z^G, z^L) in both directions

    The graph views z^G are constants here, those that the model had when the
    training began (:meth:`begin`): while the texts learn, the graph stands
    still, and while the graph learns, the texts do. Temperature, sides, queue
    and hard negatives are those of the alignment in the rest of training.

    Negatives are the other texts of the batch, among them the nearest
    neighbours by text of those that were drawn; the hardest ones by similarity
    to the graph view twice (``alignment.hard_negatives``); and a momentum queue
    (``alignment.queue_size``) of views by a momentum copy, which is no second
    language model but a copy of A, B and W_proj that is put in their place to
    encode the batch. Equal texts are never negatives of each other.
    """

    def __init__(self, model: RecMind, texts: TrainableTexts, config: Config) -> None:
        self.model, self.texts, self.config = model, texts, config
        settings = config.language.adapters
        self.device = model.free.device
        adapters = list(texts.adapters.parameters.values())
        self.projection = model.language.projection
        self.optimizer = torch.optim.AdamW(
            [
                {"params": adapters, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
                {
                    "params": list(self.projection.parameters()),
                    "lr": settings.projection_learning_rate,
                    "weight_decay": 0.0,
                },
            ]
        )
        self._highest = [group["lr"] for group in self.optimizer.param_groups]
        self.sides = [side for side in texts.sides if config.alignment.sides in ("both", side)]
        degrees = model.graph.degrees.cpu()
        bought = {"users": degrees[: model.n_users] > 0, "items": degrees[model.n_users :] > 0}
        # A node without an edge has no graph view that could teach anything.
        self.candidates = {
            side: torch.nonzero(bought[side] & torch.from_numpy(texts.sides[side].known)).squeeze(1)
            for side in self.sides
        }
        self.sides = [side for side in self.sides if len(self.candidates[side]) > 1]
        self.targets: Tensor | None = None
        self._start_momentum()

    def begin(self) -> None:
        """Take the model's graph views as what the texts are aligned to, and start the queue afresh."""
        with torch.no_grad():
            self.targets = self.model().graph.detach().clone()
        self._start_momentum()

    def end(self) -> None:
        """Drop what :meth:`begin` made."""
        self.targets = None
        self.queues, self.momentum, self.momentum_view = {}, {}, None

    def step(self, step: int, steps: int, generator: torch.Generator) -> float:
        """Step number ``step`` of ``steps``; returns the loss before it."""
        assert self.targets is not None
        for group, highest in zip(self.optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * triangle(step, steps)
        nodes = self.batch(generator)
        self.optimizer.zero_grad(set_to_none=True)
        with _seeded(generator):
            loss = self.texts.backward(nodes, lambda vectors: self.loss(nodes, vectors))
        torch.nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], _LONGEST_GRADIENT
        )
        self._push(nodes)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.model.zero_grad(set_to_none=True)  # whatever else the projection's pass has touched
        self._move_momentum()
        return float(loss)

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Distinct nodes of each side, int64 ``(n,)``: some drawn, the others the nearest to them by text."""
        settings = self.config.language.adapters
        found = {}
        for side in self.sides:
            among = self.candidates[side]
            size = min(settings.batch_size, len(among))
            order = among[torch.randperm(len(among), generator=generator)]
            drawn = order[: math.ceil(size / (1 + settings.text_neighbours))]
            near = self._nearest(side, drawn, order[:_POOL]) if settings.text_neighbours else drawn[:0]
            # In this order, so that what is cut off are the last ones of a random order.
            found[side] = first_distinct(torch.cat([drawn, near, order]))[:size]
        return found

    def loss(self, nodes: dict[str, Tensor], vectors: dict[str, Tensor]) -> Tensor:
        """Alignment of text vectors ``(n, d_lm)`` with the graph views of ``nodes``, summed over the sides."""
        assert self.targets is not None
        settings, total = self.config.alignment, torch.zeros((), device=self.device)
        for side, rows in nodes.items():
            queue = self.queues.get(side)
            total = total + symmetric_info_nce(
                self._graph(side, rows),
                project(self.model.language, vectors[side].to(self.device)),
                temperature=settings.temperature,
                nodes=self._groups(side, rows),
                graph_queue=queue.graph if queue else None,
                language_queue=queue.language if queue else None,
                queue_nodes=queue.nodes if queue else None,
                hard_negatives=settings.hard_negatives,
            )
        return total

    def state(self) -> dict[str, Tensor]:
        """Tensors that the next step depends on."""
        tensors = {f"adapters.{name}": value for name, value in self.texts.adapters.state().items()}
        tensors |= optimizer_tensors(self.optimizer)
        if self.targets is not None:
            tensors["targets"] = self.targets
            tensors |= {f"queue.{s}.{name}": value for s, q in self.queues.items() for name, value in q.state().items()}
            tensors |= {f"momentum.{name}": value for name, value in self.momentum.items()}
            if self.momentum_view is not None:
                own = self.momentum_view.projection.state_dict()
                tensors |= {f"momentum_projection.{name}": value for name, value in own.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of :meth:`state`; the projection is the model's and comes back with it."""
        self.texts.adapters.set(_below(tensors, "adapters."))
        restore_optimizer(self.optimizer, tensors)
        if "targets" not in tensors:
            return
        self.targets = tensors["targets"].to(self.device)
        self._start_momentum()
        for side, queue in self.queues.items():
            for name, value in queue.state().items():
                value.copy_(tensors[f"queue.{side}.{name}"])
        self.momentum = _below(tensors, "momentum.")
        if self.momentum_view is not None:
            self.momentum_view.projection.load_state_dict(_below(tensors, "momentum_projection."))

    def _graph(self, side: str, rows: Tensor) -> Tensor:
        assert self.targets is not None
        return self.targets[rows.to(self.device) + (self.model.n_users if side == "items" else 0)]

    def _groups(self, side: str, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.texts.sides[side].groups)[rows].to(self.device)

    def _nearest(self, side: str, drawn: Tensor, pool: Tensor) -> Tensor:
        """The nodes of ``pool`` nearest to each drawn one by the model's present text vectors, nearest first.

        ``(text_neighbours x n,)``, the nearest of every node before the second nearest of any.
        """
        table = getattr(self.model.language.texts, side)
        groups = torch.from_numpy(self.texts.sides[side].groups)
        similarity = table[drawn.to(table.device)] @ table[pool.to(table.device)].T
        same = (groups[drawn][:, None] == groups[pool][None, :]).to(table.device)
        similarity = similarity.masked_fill(same, -torch.inf)
        best = similarity.topk(min(self.config.language.adapters.text_neighbours, len(pool)), dim=1).indices
        return pool[best.T.flatten().cpu()]

    def _start_momentum(self) -> None:
        size = self.config.alignment.queue_size
        self.queues: dict[str, ViewQueue] = {}
        self.momentum: dict[str, Tensor] = {}
        self.momentum_view: LanguageView | None = None
        if size:
            place = {"device": self.device, "dtype": self.model.free.dtype}
            self.queues = {side: ViewQueue(size, self.config.model.dim, **place) for side in self.sides}
            self.momentum = self.texts.adapters.state()
            self.momentum_view = frozen_copy(self.model.language)

    @torch.no_grad()
    def _push(self, nodes: dict[str, Tensor]) -> None:
        """The batch, as the momentum copy sees it, into the queues."""
        if self.momentum_view is None:
            return
        learnt = self.texts.adapters.state()
        self.texts.adapters.set(self.momentum)
        vectors = self.texts.vectors(nodes)
        self.texts.adapters.set(learnt)
        for side, queue in self.queues.items():
            rows, keys = nodes[side], project(self.momentum_view, vectors[side].to(self.device))
            queue.push(self._graph(side, rows), keys, self._groups(side, rows))

    @torch.no_grad()
    def _move_momentum(self) -> None:
        """θ_k ← m θ_k + (1-m) θ_q."""
        if self.momentum_view is None:
            return
        share = 1 - self.config.alignment.queue_momentum
        for name, learnt in self.texts.adapters.state().items():
            self.momentum[name].lerp_(learnt, share)
        keys = self.momentum_view.projection.parameters()
        for key, query in zip(keys, self.projection.parameters(), strict=True):
            key.lerp_(query, share)


def project(view: LanguageView, vectors: Tensor) -> Tensor:
    """W_proj of text vectors ``(n, d_lm)``, ``(n, d)``."""
    return view.project(vectors, torch.ones(len(vectors), dtype=torch.bool, device=vectors.device))


def triangle(step: int, steps: int) -> float:
    """Share of the highest step size in step ``step`` (from 0) of ``steps``: rises for a tenth, then falls to 0."""
    rise = max(1, math.ceil(_RISE * steps))
    if step < rise:
        return (step + 1) / rise
    return (steps - step) / (steps - rise + 1)


def first_distinct(values: Tensor) -> Tensor:
    """``values`` ``(n,)`` without repetitions, in the order of their first appearance."""
    distinct, inverse = torch.unique(values, return_inverse=True)
    first = torch.full((len(distinct),), len(values)).scatter_reduce(
        0, inverse, torch.arange(len(values)), "amin", include_self=True
    )
    return values[torch.sort(first).values]


@contextmanager
def _seeded(generator: torch.Generator) -> Iterator[None]:
    """Torch's global generators seeded from another one, and back where they were afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
