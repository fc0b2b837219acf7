"""Graph baselines against their papers' equations: dense, in float64, with the gradients that autograd finds there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recmind.config import BaselinesConfig, ModelConfig
from recmind.model.contrast import ContrastiveModel
from recmind.model.graph import NodeSubset
from recmind.model.registry import build_model
from recmind.model.views import GraphModel

USERS, ITEMS = torch.tensor([0, 1, 0, 5]), torch.tensor([0, 3, 2, 6])
"""A batch of interactions, one user twice."""

WANTED = {"all nodes": None, "some nodes": [0, 1, 3, 5, 6, 8, 9, 11, 12]}
"""With what the batch needs, and a user and an item without an edge."""

Oracle = Callable[[torch.Generator, Tensor], tuple[Tensor, list[tuple[Tensor, Tensor]]]]
"""From a generator and the wanted nodes to z^G and the pairs, rows of all nodes."""


@pytest.fixture(params=WANTED.values(), ids=WANTED.keys())
def wanted(request: pytest.FixtureRequest) -> NodeSubset | None:
    return None if request.param is None else NodeSubset.of(13, torch.tensor(request.param))


@pytest.fixture
def built(example):
    """Builds a model of the example in float64 with settings of its own section."""

    def make(name: str, *, layers: int = 3, dim: int = 4, graph: Any = None, **own: Any) -> Any:
        baselines = BaselinesConfig.model_validate({name: own} if own else {})
        config = ModelConfig(name=name, dim=dim, layers=layers, init_std=1.0, baselines=baselines)  # type: ignore[arg-type]
        model = build_model(graph or example.double(), None, config, seed=0)
        assert isinstance(model, GraphModel)
        return model.double()

    return make


@pytest.fixture
def dense(example) -> Tensor:
    """Â of the example, float64 ``(13, 13)``."""
    return torch.from_numpy(example.normalised)


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """-log of the share of a row's own partner, mean over the rows, number by number."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        # With a row of zeros as with one that is nothing like the others, as torch's normalisation has it.
        return torch.dot(a, b) / (a.norm().clamp_min(1e-12) * b.norm().clamp_min(1e-12))

    terms = []
    for v in range(len(one)):
        weights = [torch.exp(cosine(one[v], other[w]) / temperature) for w in range(len(other))]
        terms.append(-torch.log(weights[v] / sum(weights)))
    return torch.stack(terms).mean()


@pytest.fixture
def agrees():
    """Checks that views, contrast and gradients of a model are those of an oracle over the same parameters."""

    def check(model: GraphModel, oracle: Oracle, wanted: NodeSubset | None, *, seed: int = 3) -> None:
        nodes = torch.arange(13) if wanted is None else wanted.nodes
        views = model(torch.Generator().manual_seed(seed), wanted)
        graph, pairs = oracle(torch.Generator().manual_seed(seed), nodes)
        assert len(views.pairs) == len(pairs)
        target = torch.randn(graph.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)[nodes]
        found, expected = (model.final(views) * target).sum(), (graph[nodes] * target).sum()
        close(views.graph, graph[nodes])
        for ours, theirs in zip(views.pairs, pairs, strict=True):
            for part, whole in zip(ours, theirs, strict=True):
                close(part, whole[nodes])
        if pairs:
            assert isinstance(model, ContrastiveModel)
            contrast = model.contrast(views, USERS, ITEMS, ITEMS, torch.Generator())
            by_hand = sum(
                info_nce(one[rows], other[rows], model.temperature)
                for one, other in pairs
                for rows in ([0, 1, 5], [6, 8, 9, 12])
            )
            close(contrast, model.weight * by_hand)
            found, expected = found + contrast, expected + model.weight * by_hand
        parameters = list(model.parameters())
        for ours, theirs in zip(
            torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
        ):
            assert theirs.abs().sum() > 0
            close(ours, theirs)

    return check


def close(found: Tensor, expected: Tensor) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-8, atol=1e-10)
