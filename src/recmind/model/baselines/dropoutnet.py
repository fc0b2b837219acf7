"""DropoutNet (Volkovs et al. 2017): networks over preference and content that learn to do without the preference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.item_item import interaction_matrix
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import in_precision, node_texts
from recmind.model.views import GraphModel, Views, score_space

_CAP = 5.0
"""Standard deviations beyond which a preference is cut, as in the authors' code."""


class DropoutNet(GraphModel):
    """h_u = f_U([p_u ‖ x_u]), h_i = f_V([p_i ‖ x_i]); in training p is 0 for some nodes.

    ============  ===================================================================
    preference    p, fixed, standardised: the factors of the training interactions
    content       x, the frozen text vectors; a user's the mean of the training items'
    f             layers of tanh(batch norm(W x + b)), and a linear one
    dropout       in a step p_v = 0 for a share of the users and of the items
    ============  ===================================================================

    An item without an edge has p = 0, as if dropped, and so has a new one.

    The authors factorise by weighted least squares and let the network give
    back these factors' scores; here p are the singular vectors of
    D_U^-1/2 X D_I^-1/2 times the roots of the singular values, and the loss is
    that of the other models, so that none has another target than the
    interactions. Nothing is propagated: ``model.layers`` is not read. Without a
    text x = 0, or with ``model.missing_text = "fallback"`` the neighbours' mean
    text vector.
    """

    preference: Tensor

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.texts = node_texts(texts, graph, missing=config.missing_text)
        # Part of the run, because another library may find the factors with other signs.
        self.register_buffer("preference", preferences(graph, config.dim).to(texts.items))
        widths = (config.dim + texts.items.shape[1], *config.baselines.dropoutnet.hidden)
        self.user_net, self.item_net = Network(widths, config.dim), Network(widths, config.dim)

    def language(self) -> Tensor:
        """x of all nodes, ``(n_nodes, d_lm)``: what of a node is read from texts."""
        return self.texts.vectors

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator preferences are dropped."""
        preference, content, n_users = self.preference, self.texts.vectors, self.n_users
        if wanted is not None:
            preference, content = preference[wanted.nodes], content[wanted.nodes]
            n_users = int((wanted.nodes < n_users).sum())
        if generator is not None:
            # Drawn on the CPU, so that a seed means the same on every device.
            kept = torch.rand(len(preference), 1, generator=generator) >= self.config.baselines.dropoutnet.dropout
            preference = preference * kept.to(preference)
        inputs = torch.cat([preference, content], dim=1)
        training = generator is not None
        with in_precision(self.config.precision, inputs):
            h = [self.user_net(inputs[:n_users], training), self.item_net(inputs[n_users:], training)]
        return Views(torch.cat(h), wanted=wanted)

    def final(self, views: Views) -> Tensor:
        """h, ``(k, d)``."""
        return score_space(views.graph, self.config.score)

    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge, from their contents alone."""
        nothing = vectors.new_zeros(len(vectors), self.preference.shape[1])
        inputs = torch.cat([nothing, vectors * known[:, None]], dim=1)
        with in_precision(self.config.precision, inputs):
            h = self.item_net(inputs, training=False)
        return score_space(h, self.config.score)


class Network(nn.Module):
    """f: tanh(batch norm(W x + b)) for each width after the first, then a linear layer."""

    def __init__(self, widths: tuple[int, ...], size: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(after) for _, after in pairs)
        self.last = nn.Linear(widths[-1], size)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """``(n, widths[0])`` to ``(n, size)``; in training normalised by the batch, in use by what batches had."""
        precision = x.dtype
        for layer, norm in zip(self.layers, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm1d)
            normed = functional.batch_norm(
                layer(x).to(precision),
                norm.running_mean,
                norm.running_var,
                norm.weight,
                norm.bias,
                training=training and len(x) > 1,  # a single row has no variance
                momentum=norm.momentum or 0.0,
                eps=norm.eps,
            )
            x = torch.tanh(normed)
        return self.last(x).to(precision)


def preferences(graph: BipartiteGraph, rank: int) -> Tensor:
    """p of all nodes from a truncated SVD, float32 ``(n_nodes, rank)``; 0 for nodes without an edge.

    U √S and V √S of D_U^-1/2 X D_I^-1/2 = U S Vᵀ, each column standardised over
    the connected nodes of a side and cut at five standard deviations. Columns
    beyond the rank of X are 0.
    """
    scale = graph.inverse_roots.double().cpu().numpy()
    n = graph.n_users
    x = interaction_matrix(graph)
    counts = np.diff(x.indptr)
    normalised = csr_array((np.repeat(scale[:n], counts) * scale[n:][x.indices], x.indices, x.indptr), shape=x.shape)
    left, values, right = _svd(normalised, graph.n_users, graph.n_items, rank)
    found = np.zeros((graph.n_nodes, rank))
    connected = scale > 0
    for side, factors in ((slice(0, n), left), (slice(n, None), right)):
        there = connected[side]
        if there.any():
            rows = (factors * np.sqrt(values))[there]
            spread = rows.std(0)
            heard = spread > 1e-6  # below is the rounding of a singular value 0
            rows = np.where(heard, (rows - rows.mean(0)) / np.where(heard, spread, 1), 0)
            found[side][np.ix_(there, np.arange(rows.shape[1]))] = rows.clip(-_CAP, _CAP)
    return torch.from_numpy(found).float()


def _svd(matrix: csr_array, n_rows: int, n_columns: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k ≤ ``rank`` largest singular values and their vectors, ``(m, k)``, ``(k,)``, ``(n, k)``, signs fixed."""
    from scipy.sparse.linalg import svds

    small = min(n_rows, n_columns)
    if small <= 2 * rank:
        left, values, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
        left, values, right = left[:, :rank], values[:rank], right[:rank]
    else:
        # ARPACK starts from a vector: always the same one, or no two runs would be alike.
        start = np.random.default_rng(0).normal(size=small)
        left, values, right = map(np.asarray, svds(matrix, k=rank, v0=start))
        order = np.argsort(-values)
        left, values, right = left[:, order], values[order], right[order]
    signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
    signs[signs == 0] = 1
    return left * signs, values, (right * signs[:, None]).T
