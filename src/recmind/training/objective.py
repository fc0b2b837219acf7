"""The losses of the two phases, put together from pure functions as the settings say."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from recmind.config import Config
from recmind.model.alignment import ViewQueue, distinct, symmetric_info_nce
from recmind.model.graph import NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.propagation import gather_rows
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel, Views
from recmind.training.losses import bpr, l2, sampled_softmax
from recmind.training.sampling import InteractionSampler

Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class Loss:
    """A loss and its parts, scalars: total = cf + λ alignment + β omega.

    Of a model with a contrast of its own ``alignment`` is that, weighted.
    """

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
            self.momentum = frozen_copy(model.language)

    def joint(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Loss:
        """Loss of the joint phase for a batch of interactions, int64 ``(b,)`` each."""
        settings, n_users = self.config.training, self.model.n_users
        drawn = self._draw(users, generator).to(users.device)  # shared (n,), or own (b, n)
        wanted = NodeSubset.of(n_users + self.model.n_items, users, items + n_users, drawn.flatten() + n_users)
        views = self.model(generator, wanted)
        h = self.model.final(views)
        cf, kept = views.graph.new_zeros(()), drawn
        places, scored, h_items = wanted.locate(items + n_users), None, h
        if not self.model.own_items:
            # Before the users': gradients are added in the order in which rows are read, and so every recorded bit
            # of a training depends on it.
            scored, h_items = h, gather_rows(h, places)
        for reading in self.model.readings(h, wanted, users, generator):
            h_users = reading.users / settings.temperatures[0]
            if reading.items is not scored:
                scored, h_items = reading.items, gather_rows(reading.items, places)
            positive = (h_users * h_items).sum(1)
            if settings.loss == "softmax":
                scores = self._shared_scores(h_users, reading.items, wanted, items, drawn)
                cf = cf + sampled_softmax(positive, scores, overwrite=True)
            else:
                negative, kept = self._own_scores(h_users, reading.items, wanted, drawn)
                cf = cf + bpr(positive, negative)
        drawn = kept
        total, alignment = cf, cf.new_zeros(())
        if self.aligned and self.config.alignment.weight:
            alignment = self.alignment(views, users, items, generator)
            total = total + self.config.alignment.weight * alignment
        contrast = self.model.contrast(views, users, items, drawn, generator)
        if contrast is not None:
            total, alignment = total + contrast, contrast
        if settings.weight_decay and views.regularised is not None:
            free = views.regularised
            rows = (users, items + n_users, drawn.flatten() + n_users)
            total = total + settings.weight_decay * l2(*(gather_rows(free, wanted.locate(nodes)) for nodes in rows))
        return Loss(total, cf.detach(), alignment.detach())

    def warmup(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Loss:
        """Loss of the warm-up: the alignment of a batch of nodes, int64 ``(n,)`` each."""
        n_users = self.model.n_users
        wanted = NodeSubset.of(n_users + self.model.n_items, users, items + n_users)
        loss = self.alignment(self.model(generator, wanted), users, items, generator)
        return Loss(loss, loss.new_zeros(()), loss.detach())

    def alignment(self, views: Views, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """L_align^U + L_align^I over the distinct nodes of the batch, at most ``alignment.batch_size`` a side."""
        settings = self.config.alignment
        total = views.graph.new_zeros(())
        for side, codes, offset in (("users", users, 0), ("items", items, self.model.n_users)):
            if settings.sides not in ("both", side):
                continue
            nodes = distinct(codes, settings.batch_size, generator) + offset
            rows = nodes if views.wanted is None else views.wanted.locate(nodes)
            queue = self.queues.get(side)
            assert views.language is not None
            graph, language = gather_rows(views.graph, rows), gather_rows(views.language, rows)
            total = total + symmetric_info_nce(
                graph,
                language,
                temperature=settings.temperature,
                nodes=nodes if queue else None,  # distinct without a queue
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

    def replace_texts(self, texts: TextInputs) -> None:
        """Let the model and its momentum copy read other text vectors of the same nodes."""
        assert isinstance(self.model, RecMind)
        self._keys = None
        self.model.replace_texts(texts)
        if self.momentum is not None:
            for name in ("texts", "read", "inputs", "context"):
                setattr(self.momentum, name, getattr(self.model.language, name))

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

    def _draw(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Codes of the negatives: ``(n,)``, ascending, for the whole batch, or ``(b, n)``, each user's own.

        With as many shared negatives as items that can be drawn all of them
        are taken, and the loss is the full softmax.
        """
        settings = self.config.training
        if settings.loss != "softmax":
            return self.sampler.negatives(users.cpu(), settings.n_negatives * settings.hard_candidates, generator)
        if self._whole:
            return self.sampler.candidates
        return torch.sort(self.sampler.draw((settings.n_negatives,), generator)).values

    @property
    def _whole(self) -> bool:
        return self.config.training.n_negatives >= len(self.sampler.candidates)

    def _own_scores(self, h_users: Tensor, h: Tensor, wanted: NodeSubset, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(b, n)`` of each user's own negatives and their codes, the hardest of several draws kept."""
        n, candidates = self.config.training.n_negatives, self.config.training.hard_candidates
        rows = wanted.locate(drawn + self.model.n_users)
        if candidates > 1:
            with torch.no_grad():
                scores = torch.einsum("bd,bnd->bn", h_users, h[rows]).view(-1, n, candidates)
            hardest = scores.argmax(2, keepdim=True)
            drawn, rows = (x.view(-1, n, candidates).gather(2, hardest).squeeze(2) for x in (drawn, rows))
        h_negative = gather_rows(h, rows.flatten()).view(*rows.shape, -1)
        return torch.einsum("bd,bnd->bn", h_users, h_negative), drawn

    def _shared_scores(self, h_users: Tensor, h: Tensor, wanted: NodeSubset, items: Tensor, drawn: Tensor) -> Tensor:
        """Logits ``(b, n)`` of negatives that the whole batch shares; a row's own positive is left out.

        Items drawn by popularity are corrected by their log probability
        against the uniform one (Bengio & Senécal 2008).
        """
        settings = self.config.training
        scores = h_users @ gather_rows(h, wanted.locate(drawn + self.model.n_users)).T
        if settings.negatives == "popularity" and not self._whole:
            log_q = self.sampler.log_probability.to(drawn.device)[drawn]
            scores = scores - (log_q + math.log(self.sampler.n_items))
        # In place and unseen by autograd: the softmax has no gradient where it is zero.
        scores.detach().index_put_(_occurrences(items, drawn), scores.new_tensor(-torch.inf))
        return scores


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


def frozen_copy(module: Module) -> Module:
    """A copy with parameters of its own; the constants (texts, graph) are shared."""
    shared = {id(value): value for value in vars(module).values() if not isinstance(value, dict)}
    clone = copy.deepcopy(module, memo=shared)
    return clone.requires_grad_(False)
