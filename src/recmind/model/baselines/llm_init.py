"""LLM-init: LightGCN whose free vectors start from the texts (as in Ren et al. 2024 and Harte et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph
from recmind.model.language_view import TextInputs
from recmind.model.node_texts import node_texts


class LLMInit(LightGCN):
    """LightGCN from E^(0)_v = c_s W (x_v - x̄), and trained as LightGCN from there.

    ====  =========================================================================
    W     the first d principal components of the items' text vectors, or a random
          projection with orthogonal rows
    x̄     the mean of the items' text vectors, 0 for a random projection
    c_s   gives the users (s = U) and the items (s = I) the spread ``model.init_std``
    ====  =========================================================================

    Texts are read at the start alone. A node without one starts at random, as
    in LightGCN, or with ``model.missing_text = "fallback"`` from its
    neighbours' mean text vector.
    """

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__(graph, config)
        d_lm = texts.items.shape[1]
        if config.dim > d_lm:
            raise ConfigError(
                "the vectors are longer than those of the texts that they start from",
                where="model.dim",
                got=config.dim,
                accepted=f"at most {d_lm}",
            )
        nodes = node_texts(texts, graph, missing=config.missing_text)
        settings = config.baselines.llm_init
        known_items = texts.items[texts.items_known]
        if settings.reduction == "pca":
            reduced = principal_components(nodes.vectors, known_items, config.dim, whiten=settings.whiten)
        else:
            reduced = nodes.vectors @ _orthogonal(d_lm, config.dim).to(nodes.vectors)
        sides = torch.arange(graph.n_nodes, device=reduced.device) < graph.n_users
        with torch.no_grad():
            for side in (sides, ~sides):
                rows = side & nodes.known
                spread = reduced[rows].square().mean().sqrt()
                if bool(spread > 0):
                    self.free[rows] = (reduced[rows] * (config.init_std / spread)).to(self.free.dtype)


def principal_components(vectors: Tensor, items: Tensor, n: int, *, whiten: bool = False) -> Tensor:
    """The first principal components of ``items`` read off ``vectors``.

    Parameters
    ----------
    vectors:
        ``(m, d_lm)``.
    items:
        What the mean and the components are those of, ``(k, d_lm)``.
    whiten:
        Divide each by its standard deviation among the items.

    Returns
    -------
    Tensor
        ``(m, n)``, the component with the largest variance first, each with
        the sign that makes its largest loading positive.
    """
    if not len(items):
        return vectors.new_zeros(len(vectors), n)
    wide = items.double()
    mean = wide.mean(0)
    variances, directions = torch.linalg.eigh((wide - mean).T @ (wide - mean) / len(items))
    variances, directions = variances.flip(0)[:n], directions.flip(1)[:, :n]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()
    if whiten:
        # A component without variance says nothing: dividing by its rounding would make it the loudest.
        heard = variances > 1e-10 * variances[0]
        directions = directions * torch.where(heard, variances.clamp_min(1e-300).rsqrt(), 0)
    return ((vectors.double() - mean) @ directions).to(vectors.dtype)


def _orthogonal(n: int, k: int) -> Tensor:
    """Random ``(n, k)`` with orthonormal columns, from torch's own seed."""
    return nn.init.orthogonal_(torch.empty(n, k, dtype=torch.float64))
