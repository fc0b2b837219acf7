"""The losses of the two phases, put together from pure functions as the settings say."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recmind.config import Config
from recmind.model.alignment import ViewQueue, symmetric_info_nce
from recmind.model.propagation import gather_rows
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel, Views
from recmind.training.losses import bpr, l2, sampled_softmax
from recmind.training.sampling import InteractionSampler


@dataclass(frozen=True)
class Loss:
    """A loss and its parts, scalars: total = cf + λ alignment + β omega."""

    total: Tensor
    cf: Tensor
    alignment: Tensor


class Objective:
    """L = L_CF + λ (L_align^U + L_align^I) + β Ω, and the alignment alone for the warm-up.

    The alignment's momentum queue holds, per side, the language views that a
    momentum copy of the language side gives (He et al. 2020) and the detached
    graph views of the same nodes. The graph has no momentum copy: its "encoder"
    is the embedding table itself, and a second propagation would double the
    cost of a step.
    """

    def __init__(self, model: GraphModel, sampler: InteractionSampler, config: Config) -> None:
        self.model, self.sampler, self.config = model, sampler, config
        align = config.alignment
        self.aligned = isinstance(model, RecMind)
        self.queues: dict[str, ViewQueue] = {}
        self.momentum: torch.nn.Module | None = None
        if isinstance(model, RecMind) and align.queue_size:
            place = {"device": model.free.device, "dtype": model.free.dtype}
            self.queues = {side: ViewQueue(align.queue_size, config.model.dim, **place) for side in ("users", "items")}
            self.momentum = _frozen_copy(model.language)

    def joint(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Loss:
        """Loss of the joint phase for a batch of interactions, int64 ``(b,)`` each."""
        views = self.model(generator)
        settings, n_users = self.config.training, self.model.n_users
        h_users, h_items = self.model.final(views, users), self.model.final(views, items + n_users)
        positive = (h_users * h_items).sum(1) / settings.temperature
        if settings.loss == "softmax":
            negative, drawn = self._shared_negatives(h_users, views, items, generator)
            cf = sampled_softmax(positive, negative / settings.temperature)
        else:
            negative, drawn = self._own_negatives(h_users, views, users, generator)
            cf = bpr(positive, negative / settings.temperature)
        total, alignment = cf, cf.new_zeros(())
        if self.aligned and self.config.alignment.weight:
            alignment = self.alignment(views, users, items, generator)
            total = total + self.config.alignment.weight * alignment
        if settings.weight_decay and views.regularised is not None:
            free = views.regularised
            total = total + settings.weight_decay * l2(
                *(gather_rows(free, nodes) for nodes in (users, items + n_users, drawn + n_users))
            )
        return Loss(total, cf.detach(), alignment.detach())

    def warmup(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Loss:
        """Loss of the warm-up: the alignment of a batch of nodes, int64 ``(n,)`` each."""
        loss = self.alignment(self.model(generator), users, items, generator)
        return Loss(loss, loss.new_zeros(()), loss.detach())

    def alignment(self, views: Views, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """L_align^U + L_align^I over the distinct nodes of the batch, at most ``alignment.batch_size`` a side."""
        settings = self.config.alignment
        total = views.graph.new_zeros(())
        for side, codes, offset in (("users", users, 0), ("items", items, self.model.n_users)):
            if settings.sides not in ("both", side):
                continue
            nodes = _distinct(codes, settings.batch_size, generator) + offset
            queue = self.queues.get(side)
            assert views.language is not None
            graph, language = gather_rows(views.graph, nodes), gather_rows(views.language, nodes)
            total = total + symmetric_info_nce(
                graph,
                language,
                temperature=settings.temperature,
                nodes=nodes,
                graph_queue=queue.graph.clone() if queue else None,
                language_queue=queue.language.clone() if queue else None,
                queue_nodes=queue.nodes.clone() if queue else None,
                hard_negatives=settings.hard_negatives,
            )
            if queue is not None and self.momentum is not None:
                with torch.no_grad():
                    queue.push(graph, self._momentum_views()[nodes], nodes)
        return total

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the momentum copy towards the model: θ_k ← m θ_k + (1-m) θ_q."""
        self._keys = None
        if self.momentum is not None and isinstance(self.model, RecMind):
            m = self.config.alignment.queue_momentum
            for key, query in zip(self.momentum.parameters(), self.model.language.parameters(), strict=True):
                key.lerp_(query, 1 - m)

    def state(self) -> dict[str, Tensor]:
        """Queue and momentum tensors by name, to save or to restore in place."""
        tensors = {f"queue.{s}.{k}": v for s, queue in self.queues.items() for k, v in queue.state().items()}
        if self.momentum is not None:
            tensors |= {f"momentum.{k}": v for k, v in self.momentum.state_dict().items()}
        return tensors

    _keys: Tensor | None = None

    def _momentum_views(self) -> Tensor:
        assert self.momentum is not None
        keys = self.momentum() if self._keys is None else self._keys
        self._keys = keys
        return keys

    def _own_negatives(
        self, h_users: Tensor, views: Views, users: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Scores ``(b, n)`` of each user's own negatives and their codes, the hardest of several draws kept."""
        settings, n_users = self.config.training, self.model.n_users
        n, candidates = settings.n_negatives, settings.hard_candidates
        drawn = self.sampler.negatives(users.cpu(), n * candidates, generator).to(users.device)
        if candidates > 1:
            with torch.no_grad():
                h = self.model.final(views, drawn.flatten() + n_users).view(*drawn.shape, -1)
                scores = torch.einsum("bd,bnd->bn", h_users, h).view(-1, n, candidates)
            drawn = drawn.view(-1, n, candidates).gather(2, scores.argmax(2, keepdim=True)).squeeze(2)
        h = self.model.final(views, drawn.flatten() + n_users).view(*drawn.shape, -1)
        return torch.einsum("bd,bnd->bn", h_users, h), drawn.flatten()

    def _shared_negatives(
        self, h_users: Tensor, views: Views, items: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Scores ``(b, n)`` of negatives that the whole batch shares; a row's own positive is left out.

        With as many negatives as items that can be drawn all of them are taken,
        and the loss is the full softmax. Items drawn by popularity are corrected by
        their log probability against the uniform one (Bengio & Senécal 2008).
        """
        settings, device = self.config.training, items.device
        whole = settings.n_negatives >= len(self.sampler.candidates)
        if whole:
            drawn = self.sampler.candidates.to(device)
        else:
            drawn = torch.sort(self.sampler.draw((settings.n_negatives,), generator)).values.to(device)
        scores = h_users @ self.model.final(views, drawn + self.model.n_users).T
        if settings.negatives == "popularity" and not whole:
            log_q = self.sampler.log_probability.to(device)[drawn]
            scores = scores - (log_q + math.log(self.sampler.n_items)) * settings.temperature
        rows, columns = _occurrences(items, drawn)
        return scores.index_put((rows, columns), scores.new_tensor(-torch.inf)), drawn


def _occurrences(items: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """All (row, column) with ``items[row] == drawn[column]``; ``drawn`` is sorted.

    A look-up per row instead of a comparison of all pairs, which would cost
    more than the scores themselves.
    """
    first = torch.searchsorted(drawn, items)
    counts = torch.searchsorted(drawn, items, right=True) - first
    rows = torch.repeat_interleave(torch.arange(len(items), device=items.device), counts)
    starts = torch.repeat_interleave(torch.cumsum(counts, 0) - counts, counts)
    columns = torch.arange(len(rows), device=items.device) - starts + first[rows]
    return rows, columns


def _distinct(codes: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """The distinct codes; a random choice of ``limit`` of them if there are more."""
    nodes = torch.unique(codes)
    if len(nodes) <= limit:
        return nodes
    return nodes[torch.randperm(len(nodes), generator=generator)[:limit].to(nodes.device)]


def _frozen_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy with parameters of its own; the constants (texts, graph) are shared."""
    shared = {id(value): value for value in vars(module).values() if not isinstance(value, dict)}
    clone = copy.deepcopy(module, memo=shared)
    return clone.requires_grad_(False)
