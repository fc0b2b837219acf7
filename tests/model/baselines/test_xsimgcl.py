from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recmind.errors import ConfigError

NOISE = 0.3
OWN = {"noise": NOISE, "weight": 0.7, "temperature": 0.25}


def noisy_by_hand(dense: Tensor, free: Tensor, generator: torch.Generator, nodes: Tensor) -> list[Tensor]:
    """The paper's recursion over three layers; noise of the last one is drawn for the wanted nodes alone."""
    found, current = [], free
    for rows in (torch.arange(len(free)), torch.arange(len(free)), nodes):
        current = dense @ current
        noise = torch.zeros_like(current)
        for row, drawn in zip(rows, torch.rand(len(rows), free.shape[1], generator=generator).double(), strict=True):
            noise[row] = NOISE * torch.sign(current[row].detach()) * drawn / drawn.norm()
        current = current + noise
        found.append(current)
    return found


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_equations(built, dense, agrees, wanted, layer: int):
    model = built("xsimgcl", layer=layer, **OWN)

    def oracle(generator, nodes):
        layers = noisy_by_hand(dense, model.free, generator, nodes)
        mean = torch.stack(layers).mean(0)
        return mean, [(mean, layers[layer - 1])]

    agrees(model, oracle, wanted)


def test_in_use_there_is_no_noise_and_no_pair(built, dense):
    model = built("xsimgcl", layers=2, **OWN)
    views = model()
    assert views.pairs == ()
    torch.testing.assert_close(model.final(views), (dense @ model.free + dense @ dense @ model.free) / 2)


def test_a_layer_that_is_not_there_is_refused(built):
    with pytest.raises(ConfigError, match=r"xsimgcl\.layer(.|\n)*3(.|\n)*1 to model\.layers = 2"):
        built("xsimgcl", layers=2, layer=3)
