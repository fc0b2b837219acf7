from __future__ import annotations

import pytest
import torch
from torch import nn

from recmind.language.gradient_cache import backward_in_parts


def contrastive(vectors: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """A loss in which every vector meets every other one, with a parameter of its own."""
    logits = scale * vectors @ vectors.roll(1, 0).T
    return nn.functional.cross_entropy(logits, torch.arange(len(vectors)))


@pytest.fixture
def world():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.4), nn.Tanh(), nn.Linear(8, 4)).double()
    scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
    parts = list(torch.randn(10, 5, dtype=torch.float64).split([4, 1, 3, 2]))
    return encoder, scale, parts


def gradients(world, cached: bool, seed: int = 7):
    encoder, scale, parts = world
    encoder.zero_grad()
    scale.grad = None
    torch.manual_seed(seed)
    if cached:
        loss = backward_in_parts(parts, encoder, lambda vectors: contrastive(vectors, scale))
    else:
        loss = contrastive(torch.cat([encoder(part) for part in parts]), scale)
        loss.backward()
    state = torch.get_rng_state()
    return loss.detach(), [p.grad.clone() for p in encoder.parameters()] + [scale.grad.clone()], state


class TestEqualToThePlainStep:
    @pytest.mark.parametrize("training", [False, True], ids=["without dropout", "with dropout"])
    def test_in_value_and_gradient(self, world, training: bool):
        world[0].train(training)
        loss, expected, _ = gradients(world, cached=False)
        cached, found, _ = gradients(world, cached=True)
        torch.testing.assert_close(cached, loss, rtol=0, atol=1e-14)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)

    def test_the_comparison_would_notice_other_dropout(self, world):
        world[0].train()
        _, first, _ = gradients(world, cached=True, seed=7)
        _, second, _ = gradients(world, cached=True, seed=8)
        assert max((a - b).abs().max() for a, b in zip(first, second, strict=True)) > 1e-3

    def test_the_generator_ends_where_the_plain_step_leaves_it(self, world):
        world[0].train()
        assert torch.equal(gradients(world, cached=True)[2], gradients(world, cached=False)[2])

    def test_gradients_are_added(self, world):
        encoder, scale, parts = world
        _, once, _ = gradients(world, cached=True)
        torch.manual_seed(7)
        backward_in_parts(parts, encoder, lambda vectors: contrastive(vectors, scale))
        torch.testing.assert_close([p.grad for p in encoder.parameters()], [2 * g for g in once[:-1]])


def test_one_part_is_encoded_once(world):
    encoder, scale, parts = world
    calls = []

    def counted(part: torch.Tensor) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return encoder(part)

    backward_in_parts([torch.cat(parts)], counted, lambda vectors: contrastive(vectors, scale))
    assert calls == [True]
    calls.clear()
    backward_in_parts(parts, counted, lambda vectors: contrastive(vectors, scale))
    assert calls == [False] * 4 + [True] * 4


def test_no_graph_of_two_parts_is_held_at_once(world):
    encoder, scale, parts = world
    alive: list[int] = []
    held = 0

    class Marked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            nonlocal held
            held += torch.is_grad_enabled() or x.requires_grad
            alive.append(held)
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            nonlocal held
            held -= 1
            return grad

    backward_in_parts(parts, lambda part: Marked.apply(encoder(part)), lambda vectors: contrastive(vectors, scale))
    assert held == 0
    assert max(alive) == 1
