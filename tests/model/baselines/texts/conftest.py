"""Texts for the small graph, and what papers do to it in plain float64 torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recmind.config import BaselinesConfig, ModelConfig
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model
from recmind.model.views import GraphModel

D_LM = 5
KNOWN = [True, True, False, True, True, True, True]
"""Item 2 (users 0 and 4) has no text; item 5 has one and no user; user 3 has no item."""


class Dense:
    """The small graph's equations, dense and by loops."""

    def __init__(self, example) -> None:
        self.hat = torch.from_numpy(example.normalised)
        self.adjacency = example.adjacency

    def leave_out(self, ratio: float, generator: torch.Generator) -> None:
        """0 in Â for a share of the edges, in the order of the users' lists; the others stay as they are."""
        edges = np.argwhere(self.adjacency)
        gone = edges[(torch.rand(len(edges), generator=generator) < ratio).numpy()]
        assert (0 < len(gone) < len(edges)) == (ratio > 0)
        self.hat = self.hat.clone()
        for user, item in gone.tolist():
            self.hat[user, 6 + item] = self.hat[6 + item, user] = 0

    def mean_of_layers(self, x: Tensor, layers: int) -> Tensor:
        """1/(L+1) Σ_l Â^l x, ``(13, d)``."""
        powers = [x]
        for _ in range(layers):
            powers.append(self.hat @ powers[-1])
        return torch.stack(powers).mean(0)

    def vectors(self, items: Tensor) -> Tensor:
        """x of all nodes, ``(13, d_lm)``: a user's the mean over the items with a text, 0 where nothing is known."""
        users = torch.zeros(6, items.shape[1], dtype=items.dtype)
        for user in range(6):
            own = [i for i in range(7) if self.adjacency[user, i] and KNOWN[i]]
            if own:
                users[user] = items[own].mean(0)
        return torch.cat([users, items * torch.tensor(KNOWN)[:, None]])

    @staticmethod
    def info_nce(anchors: Tensor, positives: Tensor, temperature: float) -> Tensor:
        """Mean of -log exp(cos(a_v, p_v)/τ) / Σ_w exp(cos(a_v, p_w)/τ), term by term."""
        losses = []
        for a, p in zip(anchors, positives, strict=True):
            alike = [torch.exp(a @ q / a.norm() / q.norm() / temperature) for q in positives]
            losses.append(-torch.log(torch.exp(a @ p / a.norm() / p.norm() / temperature) / sum(alike)))
        return torch.stack(losses).mean()

    @staticmethod
    def leaky_mlp(x: Tensor, p: dict[str, Tensor], name: str = "mlp") -> Tensor:
        """W_2 LeakyReLU(W_1 x + b_1) + b_2 with a slope of 0.01 below zero."""
        hidden = x @ p[f"{name}.0.weight"].T + p[f"{name}.0.bias"]
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        return hidden @ p[f"{name}.2.weight"].T + p[f"{name}.2.bias"]


@pytest.fixture
def dense(example) -> Dense:
    return Dense(example)


@pytest.fixture(scope="session")
def texts() -> TextInputs:
    vectors = np.random.default_rng(4).normal(size=(7, D_LM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.array(KNOWN)
    return TextInputs.from_arrays(np.where(known[:, None], vectors, 0), known).to("cpu", torch.float64)


@pytest.fixture
def built(example, texts) -> Callable[..., Any]:
    """Builds a model by name on the small graph in float64, with settings of its own section."""

    def make(name: str, *, inputs: TextInputs = texts, seed: int = 0, own: dict[str, Any] | None = None, **changes):
        baselines = BaselinesConfig.model_validate({name.replace("-", "_"): own} if own else {})
        settings = {"dim": 4, "layers": 2, "init_std": 1.0, "missing_text": "free", **changes}
        config = ModelConfig.model_validate({"name": name, "baselines": baselines, **settings})
        model = build_model(example.double(), inputs, config, seed=seed)
        assert isinstance(model, GraphModel)
        return model.double()

    return make


@pytest.fixture(scope="session")
def same_gradients() -> Callable[..., None]:
    """Compares the gradients of two losses with respect to all parameters of a model."""

    def check(model: nn.Module, found: Tensor, expected: Tensor) -> None:
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
        names, parameters = zip(*model.named_parameters(), strict=True)
        mine, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found, expected))
        assert any(grad is not None and bool(grad.any()) for grad in theirs)
        for name, one, other, parameter in zip(names, mine, theirs, parameters, strict=True):
            pair = [torch.zeros_like(parameter) if grad is None else grad for grad in (one, other)]
            torch.testing.assert_close(*pair, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")

    return check
