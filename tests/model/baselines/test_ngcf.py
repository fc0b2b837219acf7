from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recmind.config import load_config
from recmind.errors import ConfigError

SLOPE = 0.15


def messages(example, current: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """LeakyReLU(m_{u←u} + Σ_i m_{u←i}) of every node, message by message (equations 3 to 5)."""
    degrees = [*example.adjacency.sum(1), *example.adjacency.sum(0)]
    totals = [w1.T @ row for row in current]
    for u, i in zip(*np.nonzero(example.adjacency), strict=True):
        for here, there in ((u, 6 + i), (6 + i, u)):
            both = w1.T @ current[there] + w2.T @ (current[there] * current[here])
            totals[here] = totals[here] + both / np.sqrt(degrees[here] * degrees[there])
    x = torch.stack(totals)
    return torch.where(x > 0, x, SLOPE * x)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_equations(built, example, agrees, wanted, layers: int, normalise: bool):
    model = built("ngcf", layers=layers, dropout=0.0, slope=SLOPE, normalise=normalise)
    assert len(list(model.parameters())) == 1 + 2 * layers

    def oracle(generator, nodes):
        parts = [model.free]
        for w1, w2 in zip(model.sums, model.products, strict=True):
            parts.append(messages(example, parts[-1], w1, w2))
        ends = [functional.normalize(part, dim=1) for part in parts[1:]] if normalise else parts[1:]
        return torch.cat([parts[0], *ends], dim=1), []

    agrees(model, oracle, wanted)


def test_messages_are_dropped_in_training_alone(built, example, agrees, wanted):
    model = built("ngcf", layers=2, dropout=0.4, slope=SLOPE)

    def oracle(generator, nodes):
        parts = [model.free]
        for layer, (w1, w2) in enumerate(zip(model.sums, model.products, strict=True)):
            rows = nodes if layer == 1 else torch.arange(13)
            kept = torch.zeros(13, 4, dtype=torch.float64)
            kept[rows] = torch.empty(len(rows), 4).bernoulli_(0.6, generator=generator).double()
            parts.append(messages(example, parts[-1], w1, w2) * kept / 0.6)
        return torch.cat(parts, dim=1), []

    # The code divides in float32.
    trained = model(torch.Generator().manual_seed(4), wanted).graph
    nodes = torch.arange(13) if wanted is None else wanted.nodes
    expected = oracle(torch.Generator().manual_seed(4), nodes)[0][nodes]
    torch.testing.assert_close(trained, expected, rtol=1e-6, atol=1e-7)
    assert bool((trained[:, 4:] == 0).any())
    once, again = model().graph, model().graph
    assert torch.equal(once, again)
    assert not bool((once[[0, 1, 8], 4:] == 0).any())


def test_the_vectors_are_those_of_all_layers(built):
    model = built("ngcf", layers=2, dim=3)
    assert model.final(model()).shape == (13, 9)


@pytest.mark.parametrize("setting", ["dropout=1.0", "slope=1.5", "normalise=perhaps"])
def test_settings_out_of_range_are_refused_by_their_key(setting: str):
    key = f"model.baselines.ngcf.{setting}"
    with pytest.raises(ConfigError, match=key.partition("=")[0].replace(".", r"\.")):
        load_config(model="ngcf", overrides=[key])
