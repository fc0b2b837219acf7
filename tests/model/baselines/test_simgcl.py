from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recmind.errors import ConfigError
from recmind.model.baselines.simgcl import noise_like

NOISE = 0.3
OWN = {"noise": NOISE, "weight": 0.7, "temperature": 0.25}


def noisy_by_hand(dense: Tensor, free: Tensor, layers: int, generator: torch.Generator, nodes: Tensor) -> list[Tensor]:
    """E^(1) to E^(L) of equation 7; noise of the last layer is drawn for the wanted nodes alone."""
    found, current = [], free
    for layer in range(1, layers + 1):
        current = dense @ current
        rows = nodes if layer == layers else torch.arange(len(free))
        noise = torch.zeros_like(current)
        for row, drawn in zip(rows, torch.rand(len(rows), free.shape[1], generator=generator).double(), strict=True):
            noise[row] = NOISE * torch.sign(current[row].detach()) * drawn / drawn.norm()
        current = current + noise
        found.append(current)
    return found


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_equations(built, dense, agrees, wanted, layers: int):
    model = built("simgcl", layers=layers, **OWN)

    def oracle(generator, nodes):
        clean = [torch.matrix_power(dense, power) @ model.free for power in range(1, layers + 1)]
        one, other = (torch.stack(noisy_by_hand(dense, model.free, layers, generator, nodes)).mean(0) for _ in range(2))
        return torch.stack(clean).mean(0), [(one, other)]

    agrees(model, oracle, wanted)


def test_in_use_there_is_no_noise_and_no_pair(built, dense):
    model = built("simgcl", layers=2, **OWN)
    views = model()
    assert views.pairs == ()
    torch.testing.assert_close(model.final(views), (dense @ model.free + dense @ dense @ model.free) / 2)


def test_without_noise_both_views_are_that_of_the_recommendation(built):
    model = built("simgcl", noise=0.0)
    views = model(torch.Generator().manual_seed(0))
    for view in views.pairs[0]:
        torch.testing.assert_close(view, views.graph, rtol=1e-12, atol=1e-14)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.01, 3.0), st.integers(0, 1000))
def test_noise_has_the_length_and_the_signs_that_it_should(n: int, d: int, length: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    noise = noise_like(x, length, generator)
    torch.testing.assert_close(noise.norm(dim=1), torch.full((n,), length, dtype=torch.float64))
    assert bool((noise * x >= 0).all())


def test_noise_leaves_nodes_without_an_edge_where_they_are():
    assert noise_like(torch.zeros(2, 3), 0.5, torch.Generator()).tolist() == [[0, 0, 0]] * 2


def test_a_model_without_layers_is_refused(built):
    with pytest.raises(ConfigError, match=r"model\.layers: simgcl contrasts layers(.|\n)*1 to 8"):
        built("simgcl", layers=0)
