from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import BaselinesConfig, ModelConfig, XSimGCLConfig
from recmind.errors import ConfigError
from recmind.model.baselines.xsimgcl import XSimGCL
from recmind.model.graph import NodeSubset

NOISE, WEIGHT, TAU = 0.3, 0.7, 0.25


def xsimgcl(example, *, layers: int = 3, layer: int = 2, noise: float = NOISE) -> XSimGCL:
    own = XSimGCLConfig(noise=noise, weight=WEIGHT, temperature=TAU, layer=layer)
    config = ModelConfig(name="xsimgcl", dim=4, layers=layers, init_std=1.0, baselines=BaselinesConfig(xsimgcl=own))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return XSimGCL(example.graph, config)


def by_hand(example, model: XSimGCL, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean over layers 1 to 3 and layer 2 of the paper's recursion, float64."""
    generator = torch.Generator().manual_seed(seed or 0)
    current, layers = model.free.detach().double().numpy(), []
    for _ in range(3):
        current = example.normalised @ current
        if seed is not None:
            drawn = torch.rand(current.shape, generator=generator).double().numpy()
            sign = np.where(np.abs(current) < 1e-6, 0, np.sign(current))
            current = current + NOISE * sign * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        layers.append(current)
    return np.mean(layers, axis=0), layers[1]


@pytest.mark.parametrize("seed", [None, 5])
def test_views_are_the_papers_recursion(example, seed):
    model = xsimgcl(example)
    # Nodes without an edge are 0 and their noise depends on rounding: they are compared without it only.
    rows = np.flatnonzero(example.normalised.any(1)) if seed is not None else slice(None)
    views = model(None if seed is None else torch.Generator().manual_seed(seed))
    assert views.layer is not None
    for found, expected in zip((views.graph, views.layer), by_hand(example, model, seed), strict=True):
        np.testing.assert_allclose(found.detach().numpy()[rows], expected[rows], rtol=1e-4, atol=1e-5)


def test_noise_has_the_length_that_is_set(example):
    model = xsimgcl(example)
    x = torch.randn(13, 4)
    noise = model._noise(x, torch.Generator().manual_seed(1))
    np.testing.assert_allclose(noise.norm(dim=1), [NOISE] * 13, rtol=1e-5)
    assert torch.equal(noise.sign(), x.sign())


def test_the_contrast_is_the_papers(example):
    model = xsimgcl(example)
    views = model(torch.Generator().manual_seed(5))
    users, items = torch.tensor([0, 1, 0, 5]), torch.tensor([0, 3, 2, 6])
    mean, layer = (part.detach().double().numpy() for part in (views.graph, views.layer))
    expected = 0.0
    for nodes in ([0, 1, 5], [6, 8, 9, 12]):
        a, p = (part[nodes] / np.linalg.norm(part[nodes], axis=1, keepdims=True) for part in (mean, layer))
        logits = np.exp(a @ p.T / TAU)
        expected += -np.log(np.diag(logits) / logits.sum(1)).mean()
    assert float(model.contrast(views, users, items, items, torch.Generator()).detach()) == pytest.approx(WEIGHT * expected, rel=1e-5)


def test_wanted_nodes_have_the_views_and_the_contrast_of_the_whole(example):
    model = xsimgcl(example)
    users, items = torch.tensor([0, 1, 5]), torch.tensor([0, 3, 6])
    wanted = NodeSubset.of(13, users, items + 6)
    whole, part = (model(torch.Generator().manual_seed(5), chosen) for chosen in (None, wanted))
    assert torch.equal(whole.graph[wanted.nodes], part.graph)
    losses = [model.contrast(views, users, items, items, torch.Generator()) for views in (whole, part)]
    torch.testing.assert_close(losses[0], losses[1])
    gradients = [torch.autograd.grad(loss, model.free)[0] for loss in losses]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0


def test_a_layer_that_is_not_there_is_refused(example):
    with pytest.raises(ConfigError, match=r"xsimgcl\.layer(.|\n)*3(.|\n)*1 to model\.layers = 2"):
        xsimgcl(example, layers=2, layer=3)
