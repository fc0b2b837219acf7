"""LightGCL (Cai et al. 2023, arXiv 2302.08191): propagation contrasted with that over the leading singular vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recmind import kernels
from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.contrast import ContrastiveModel
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import hop, rows_at
from recmind.model.subgraph import thinned
from recmind.model.views import Views, storage_of

_MORE = 16
"""Singular vectors that are followed beyond those that are kept."""
_ROUNDS = 8
"""How often they are multiplied with R̂ and its transpose."""


class LightGCL(ContrastiveModel):
    """h = Σ_{l=0..L} E^(l), E^(l) = Z^(l) + E^(l-1), each Z^(l) contrasted with G^(l).

    ========  =================================================================================
    local     Z^(l) = σ(p(Â) E^(l-1)) (equations 3 and 4)
    global    G^(l)_U = σ(U_q S_q V_qᵀ E^(l-1)_I), G^(l)_I = σ(V_q S_q U_qᵀ E^(l-1)_U) (equation 8)
    contrast  Σ_{l=1..L} InfoNCE(Z^(l) → G^(l)) of the users and of the items of a batch
    ========  =================================================================================

    U_q S_q V_qᵀ is the closest matrix of rank q to R̂, the users' block of Â; σ
    is a LeakyReLU; p leaves out interactions without changing degrees, anew in
    each step and the same in all of its layers. The recommendation loss is the
    trainer's, where the paper has a margin of 1. The authors' later code
    contrasts the sums of the layers by inner products against all nodes, without
    σ and without the residuals; here the equations are followed.
    """

    factors: Tensor
    singular_values: Tensor

    def __init__(self, graph: BipartiteGraph, config: ModelConfig) -> None:
        super().__init__(graph, config, config.baselines.lightgcl)
        self.settings = config.baselines.lightgcl
        most = min(graph.n_users, graph.n_items)
        if self.settings.rank > most:
            raise ConfigError(
                "there are not as many singular vectors",
                where="model.baselines.lightgcl.rank",
                got=self.settings.rank,
                accepted=f"1 to {most}, the smaller number of users and items",
            )
        # Buffers, so that a checkpoint keeps them: a resumed run goes on with the same bits.
        factors, values = singular_vectors(graph, self.settings.rank)
        self.register_buffer("factors", factors)
        self.register_buffer("singular_values", values)

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all; with a generator the global ones too, and interactions left out."""
        graph, grown = self._thinned(generator)
        current = total = self.free
        pairs = []
        for layer in range(1, self.config.layers + 1):
            last = layer == self.config.layers
            local = self._activated(hop(current, graph, wanted if last else None, storage_of(self.config)) * grown)
            if generator is not None:
                pairs.append((local if last else rows_at(local, wanted), self._global(current, wanted)))
            if last:
                total = rows_at(total + current, wanted) + local
            else:
                current = local + current
                total = total + current
        return Views(total, regularised=rows_at(self.free, wanted), wanted=wanted, pairs=tuple(pairs))

    def _thinned(self, generator: torch.Generator | None) -> tuple[BipartiteGraph, float]:
        """p(Â) as a graph and a factor: what is kept weighs more, so that the expectation is Â."""
        ratio = self.settings.dropout
        if generator is None or not ratio:
            return self.graph, 1.0
        return thinned(self.graph, ratio, generator), 1 / (1 - ratio)

    def _global(self, x: Tensor, wanted: NodeSubset | None) -> Tensor:
        """G of the wanted nodes, ``(k, d)``."""
        n_users = self.n_users
        of_items, of_users = self.factors[n_users:].T @ x[n_users:], self.factors[:n_users].T @ x[:n_users]
        rows = self.factors if wanted is None else self.factors[wanted.nodes]
        first = n_users if wanted is None else int(torch.searchsorted(wanted.nodes, n_users))
        scaled = rows * self.singular_values
        return self._activated(torch.cat([scaled[:first] @ of_items, scaled[first:] @ of_users]))

    def _activated(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.settings.slope)


def singular_vectors(graph: BipartiteGraph, rank: int) -> tuple[Tensor, Tensor]:
    """The leading singular vectors and values of R̂, the users' block of Â.

    Randomised subspace iteration (Halko et al. 2011, algorithms 4.4 and 5.1),
    with torch's global random numbers.

    Parameters
    ----------
    rank:
        How many, at most the smaller number of users and items.

    Returns
    -------
    tuple of Tensor
        U over V, ``(n_nodes, rank)``, and the values, descending, ``(rank,)``.
    """
    n_users, degrees = graph.n_users, graph.degrees
    ends = torch.arange(graph.n_nodes, device=degrees.device).split([n_users, graph.n_items])
    users, items = (NodeSubset.of(graph.n_nodes, side) for side in ends)

    def to_users(x: Tensor) -> Tensor:
        return kernels.product(graph, kernels.operand(graph, x, at=items), wanted=users)

    def to_items(x: Tensor) -> Tensor:
        return kernels.product(graph, kernels.operand(graph, x, at=users), wanted=items)

    size = min(rank + _MORE, n_users, graph.n_items)
    basis = torch.randn(graph.n_items, size).to(degrees.device, degrees.dtype)
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(to_items(torch.linalg.qr(to_users(basis)).Q)).Q
    basis = torch.linalg.qr(to_users(basis)).Q
    # R̂ ≈ Q Qᵀ R̂, and R̂ᵀ Q = right S leftᵀ.
    right, values, left = torch.linalg.svd(to_items(basis), full_matrices=False)
    return torch.cat([basis @ left.T, right])[:, :rank].contiguous(), values[:rank].contiguous()
