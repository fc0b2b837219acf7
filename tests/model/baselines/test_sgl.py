from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from recmind.config import load_config
from recmind.errors import ConfigError

RATIO, LAYERS, SEED = 0.4, 3, 1
OWN = {"ratio": RATIO, "weight": 0.7, "temperature": 0.25}


def mean_over(matrices: list[Tensor], free: Tensor) -> Tensor:
    """Mean of E^(0) to E^(L), a matrix a layer."""
    layers = [free]
    for matrix in matrices:
        layers.append(matrix @ layers[-1])
    return torch.stack(layers).mean(0)


class Sampler:
    """The thinned matrices of the example, drawn as the paper says, from the edges in the order of the users."""

    def __init__(self, example, make, augmentation: str) -> None:
        self.example, self.make, self.augmentation = example, make, augmentation
        self.edges = list(zip(example.users.tolist(), example.items.tolist(), strict=True))
        self.generator = torch.Generator().manual_seed(SEED)

    def matrix(self) -> Tensor:
        if self.augmentation == "node":
            kept = (torch.rand(13, generator=self.generator) >= RATIO).tolist()
            edges = [(u, i) for u, i in self.edges if kept[u] and kept[6 + i]]
        else:
            kept = (torch.rand(len(self.edges), generator=self.generator) >= RATIO).tolist()
            edges = [edge for edge, stays in zip(self.edges, kept, strict=True) if stays]
        assert 0 < len(edges) < len(self.edges)
        return torch.from_numpy(self.make(edges, 6, 7).normalised)


@pytest.mark.parametrize("augmentation", ["edge", "node", "walk"])
def test_equations(built, example, make, dense, agrees, wanted, augmentation: str):
    model = built("sgl", augmentation=augmentation, **OWN)
    model.start_epoch(torch.Generator().manual_seed(SEED))
    sampler = Sampler(example, make, augmentation)
    views = []
    for _ in range(2):
        views.append([sampler.matrix() for _ in range(LAYERS)] if augmentation == "walk" else [sampler.matrix()] * 3)
    assert not all(torch.equal(one, other) for one, other in zip(*views, strict=True))
    if augmentation == "walk":
        assert not any(torch.equal(one, other) for one, other in pairwise(views[0]))

    def oracle(generator, nodes):
        one, other = (mean_over(matrices, model.free) for matrices in views)
        return mean_over([dense] * LAYERS, model.free), [(one, other)]

    agrees(model, oracle, wanted)


def test_graphs_stay_for_an_epoch_and_follow_its_generator(built):
    model = built("sgl", **OWN)

    def views(seed: int | None) -> tuple[Tensor, Tensor]:
        if seed is not None:
            model.start_epoch(torch.Generator().manual_seed(seed))
        return model(torch.Generator().manual_seed(99)).pairs[0]

    first, again, other, back = views(SEED), views(None), views(SEED + 1), views(SEED)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[0], back[0])


@pytest.mark.parametrize("augmentation", ["edge", "node", "walk"])
def test_with_nothing_left_out_all_views_are_one(built, augmentation: str):
    model = built("sgl", augmentation=augmentation, ratio=0.0)
    model.start_epoch(torch.Generator().manual_seed(0))
    views = model(torch.Generator().manual_seed(0))
    for view in views.pairs[0]:
        torch.testing.assert_close(view, views.graph, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("augmentation", ["edge", "node", "walk"])
def test_where_nothing_is_left_a_node_keeps_its_share_of_itself(built, augmentation: str):
    model = built("sgl", augmentation=augmentation, ratio=0.999)
    model.start_epoch(torch.Generator().manual_seed(0))
    views = model(torch.Generator().manual_seed(0))
    for view in views.pairs[0]:
        torch.testing.assert_close(view, model.free / 4, rtol=1e-12, atol=1e-14)


def test_in_use_it_is_lightgcn(built):
    model = built("sgl", **OWN)
    model.start_epoch(torch.Generator().manual_seed(0))
    other = built("lightgcn")
    assert torch.equal(model.free, other.free)
    assert torch.equal(model.final(model()), other.final(other()))


@pytest.mark.parametrize("setting", ["ratio=1.0", "ratio=-0.1", "augmentation=edges", "temperature=0", "weight=-1"])
def test_settings_out_of_range_are_refused_by_their_key(setting: str):
    key = f"model.baselines.sgl.{setting}"
    with pytest.raises(ConfigError, match=key.partition("=")[0].replace(".", r"\.")):
        load_config(model="sgl", overrides=[key])


def test_a_model_without_layers_is_refused(built):
    with pytest.raises(ConfigError, match=r"model\.layers: sgl contrasts layers"):
        built("sgl", layers=0)
