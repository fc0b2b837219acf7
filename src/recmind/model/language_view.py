"""The language view z^L of every node: projection of known texts, a guess or a free vector for the others."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recmind import kernels
from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph
from recmind.model.propagation import gather_rows, with_means_of_items


@dataclass(frozen=True)
class TextInputs:
    """What the language model said about the nodes, as constants of training.

    Attributes
    ----------
    items:
        z̃^L of the items, ``(n_items, d_lm)``; zero where unknown.
    items_known:
        Whether an item has a text, bool ``(n_items,)``.
    users:
        z̃^L of the users, ``(n_users, d_lm)``, or ``None``: a user's language
        view is then the mean of the language views of the user's training
        items, which costs one product with the graph instead of a projection
        and differs from projecting the mean only for an MLP.
    users_known:
        Whether a user has a text, bool ``(n_users,)``; unused without ``users``.
    near, shares:
        The items that :mod:`~recmind.model.text_links` once found for each, so that a trained model need not look for
        them again; ``None`` where that is still to be done.
    """

    items: Tensor
    items_known: Tensor
    users: Tensor | None = None
    users_known: Tensor | None = None
    near: Tensor | None = None
    shares: Tensor | None = None

    @classmethod
    def from_arrays(
        cls,
        items: np.ndarray,
        items_known: np.ndarray,
        users: np.ndarray | None = None,
        users_known: np.ndarray | None = None,
    ) -> TextInputs:
        """The same from numpy arrays."""
        arrays = (items, items_known, users, users_known)
        return cls(*(None if a is None else torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))  # type: ignore[arg-type]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> TextInputs:
        """The same on another device or in another precision."""
        return TextInputs(
            self.items.to(device, dtype),
            self.items_known.to(device),
            None if self.users is None else self.users.to(device, dtype),
            None if self.users_known is None else self.users_known.to(device),
            None if self.near is None else self.near.to(device),
            None if self.shares is None else self.shares.to(device, dtype),
        )


def neighbour_context(texts: TextInputs, graph: BipartiteGraph) -> Tensor:
    """What the graph says about an item's text without reading it: input of the fallback MLP.

    For item i the mean over its users u of the mean text vector of u's *other*
    training items, so that hiding i's text really hides it. For a user, who is
    given by the items anyway, the mean text vector of the training items. Items
    without text count as zero.

    Returns
    -------
    Tensor
        ``(n_nodes, d_lm)``, users first, rows normalised; zero where nothing is known.
    """
    degrees = graph.degrees[: graph.n_users, None]
    sums = with_means_of_items(texts.items, graph)[: graph.n_users] * degrees
    # Σ_u (S_u - t_i) / (n_u - 1); shares_of_users divides by n_u, which is undone.
    share = degrees / (degrees - 1).clamp_min(1)
    received = kernels.shares_of_users(
        graph, torch.cat([sums * share, share], dim=1), texts.items.new_zeros(graph.n_items, sums.shape[1] + 1)
    )
    own = texts.items * received[:, -1:]
    context = received[:, :-1] - own
    # Where the others say nothing, the difference is the rounding of i's own text: normalised, it would give i away.
    nothing = context.norm(dim=1) <= 1e-5 * own.norm(dim=1)
    context = context.masked_fill(nothing[:, None], 0.0)
    return functional.normalize(torch.cat([sums, context]), dim=1)


class LanguageView(nn.Module):
    """z^L_v = W_proj z̃^L_v where v has a text; where it has none, as ``model.missing_text`` says.

    ============  =============================================================
    ``fallback``  MLP(context_v ‖ d̃_v). It is trained on known nodes: in every
                  training step a share ``fallback_mask`` of them is treated as
                  if their text were missing.
    ``free``      The node's own free vector, a row of the table that E^(0) is
                  made of. No text is hidden. A node without an edge either,
                  of which nothing is known, has 0.
    ============  =============================================================

    Parameters
    ----------
    free:
        The model's table of free vectors, ``(n_nodes, d)``; it stays the
        model's parameter and is only read here. A model without one falls back.
    """

    def __init__(
        self, texts: TextInputs, graph: BipartiteGraph, config: ModelConfig, free: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.low_precision = uses_bfloat16(config.precision, texts.items.device)
        d_lm = texts.items.shape[1]
        self.projection = _projection(d_lm, config)
        # In a tuple, so that the table is not registered here too: one parameter, one name, one step of the optimiser.
        self._free = (free,) if free is not None and config.missing_text == "free" else None
        self.fallback = None
        if self._free is None:
            self.fallback = nn.Sequential(nn.Linear(d_lm + 1, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.replace_texts(texts)
        self.alone = torch.nonzero(graph.degrees[: graph.n_users] == 0).squeeze(1)  # users without an item

    def replace_texts(self, texts: TextInputs) -> None:
        """Read other vectors of the same nodes from now on; the parameters stay."""
        self.texts = texts
        self.read = _read(texts, self.graph)
        # What the projection reads in training, in its precision once and for all.
        self.inputs = texts.to(texts.items.device, torch.bfloat16) if self.low_precision else texts
        self.context = None
        if self.fallback is not None:
            log_degree = self.graph.normalised_log_degree()[:, None]
            self.context = torch.cat([neighbour_context(texts, self.graph), log_degree], dim=1)

    def forward(self, generator: torch.Generator | None = None) -> Tensor:
        """z^L of all nodes, ``(n_nodes, d)``; with a generator as in training, without as in use."""
        n_users = self.graph.n_users
        texts = self.inputs
        items = self._side(texts.items, texts.items_known, n_users, generator)
        if texts.users is not None and texts.users_known is not None:
            return torch.cat([self._side(texts.users, texts.users_known, 0, generator), items])
        nodes = with_means_of_items(items, self.graph)
        if len(self.alone):
            nodes = nodes.index_copy(0, self.alone, self._unread(self.alone))
        return nodes

    def of_texts(self) -> Tensor:
        """z^L of all nodes in use with 0 for the free vectors that stand for texts, ``(n_nodes, d)``."""
        view = copy.copy(self)
        if self._free is not None:
            view._free = (nn.Parameter(torch.zeros_like(self._free[0])),)
        return view()

    def _project(self, vectors: Tensor) -> Tensor:
        """The projection, in bfloat16 with float32 sums where ``model.precision`` says so, ``(n, d)`` float32."""
        with torch.autocast(vectors.device.type, torch.bfloat16, enabled=self.low_precision):
            return self.projection(vectors).to(self.texts.items.dtype)

    def project(self, vectors: Tensor, known: Tensor) -> Tensor:
        """z^L of nodes without an edge from their text vectors ``(n, d_lm)``, ``(n, d)``."""
        projected = self._project(vectors)
        if self.fallback is None:
            return projected * known[:, None]
        return torch.where(
            known[:, None], projected, self.fallback(vectors.new_zeros(len(vectors), vectors.shape[1] + 1))
        )

    def _side(self, vectors: Tensor, known: Tensor, first: int, generator: torch.Generator | None) -> Tensor:
        """z^L of the users (``first`` is 0) or of the items (``first`` is n_users)."""
        hidden = ~known
        if generator is not None:
            vectors = _dropout(vectors, self.config.text_dropout, generator)
            if self.fallback is not None:
                hidden = hidden | (_uniform(len(known), generator, vectors) < self.config.fallback_mask)
        projected = self._project(vectors)
        rows = torch.nonzero(hidden).squeeze(1)
        if not len(rows):
            return projected
        return projected.index_copy(0, rows, self._unread(rows + first))

    def _unread(self, nodes: Tensor) -> Tensor:
        """z^L of nodes ``(n,)`` whose text is missing or hidden, ``(n, d)``."""
        if self.fallback is not None:
            assert self.context is not None
            return self.fallback(self.context[nodes])
        assert self._free is not None
        connected = self.graph.degrees[nodes] > 0
        return gather_rows(self._free[0], nodes) * connected[:, None]


def _read(texts: TextInputs, graph: BipartiteGraph) -> Tensor | None:
    """k_v of every node, ``(n_nodes, 1)``: how much of z^L is text; ``None`` where all of it is.

    1 with a text, 0 without; for users who are given by their items the share
    of these that have one.
    """
    of_users = None if texts.users is None else texts.users_known
    if bool(texts.items_known.all()) and (of_users is None or bool(of_users.all())):
        return None
    items = texts.items_known.to(texts.items.dtype)[:, None]
    if of_users is None:
        return with_means_of_items(items, graph)
    return torch.cat([of_users.to(items.dtype)[:, None], items])


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the projection is multiplied in bfloat16: as asked for, or where the hardware has units for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(capabilities.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _projection(d_lm: int, config: ModelConfig) -> nn.Module:
    if config.projection == "linear":
        return nn.Linear(d_lm, config.dim, bias=False)
    hidden = config.projection_hidden
    return nn.Sequential(nn.Linear(d_lm, hidden), nn.GELU(), nn.Linear(hidden, config.dim))


def _uniform(n: int, generator: torch.Generator, like: Tensor) -> Tensor:
    # Drawn on the CPU, so that a seed means the same on every device.
    return torch.rand(n, generator=generator).to(like.device)


def _dropout(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    if rate == 0:
        return x
    keep = torch.rand(x.shape, generator=generator).to(x.device) >= rate
    return x * keep / (1 - rate)
