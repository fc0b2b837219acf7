from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from recmind.model.gating import Gate, gate_values, mix, propagate_gated
from recmind.model.propagation import propagate


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def random_gate(layers: int, dim: int, seed: int = 0) -> Gate:
    gate = Gate(layers, dim, 0.0).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return gate


class TestGateValues:
    def test_by_hand(self):
        embeddings = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
        language = torch.tensor([[3.0, -1.0], [0.0, 2.0]], dtype=torch.float64)
        log_degree = torch.tensor([0.25, 1.0], dtype=torch.float64)
        weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 2.0], dtype=torch.float64)
        gamma = gate_values(embeddings, language, log_degree, weight, torch.tensor(-1.0, dtype=torch.float64))
        first = 0.1 * 1 + 0.2 * 2 + 0.3 * 3 + 0.4 * -1 + 2 * 0.25 - 1
        second = 0.1 * 0.5 + 0.2 * -1 + 0.3 * 0 + 0.4 * 2 + 2 * 1 - 1
        np.testing.assert_allclose(gamma.numpy(), [sigmoid(first), sigmoid(second)], rtol=1e-12)

    @given(st.lists(st.floats(-1.5, 1.5), min_size=8, max_size=8))
    def test_lies_between_zero_and_one(self, numbers: list[float]):
        x = torch.tensor(numbers, dtype=torch.float64)
        gamma = gate_values(x[None, :2], x[None, 2:4], x[4:5], torch.cat([x[:4], x[5:6]]), x[7])
        assert 0 < float(gamma) < 1


class TestMix:
    def test_by_hand(self):
        embeddings = torch.tensor([[1.0, 2.0], [4.0, 8.0], [5.0, 5.0], [7.0, 7.0]])
        language = torch.tensor([[3.0, 6.0], [0.0, 4.0], [1.0, 1.0], [2.0, 2.0]])
        mixed = mix(embeddings, language, torch.tensor([0.25, 0.75, 0.0, 1.0]))
        by_hand = [
            [0.25 * 1 + 0.75 * 3, 0.25 * 2 + 0.75 * 6],
            [0.75 * 4 + 0.25 * 0, 0.75 * 8 + 0.25 * 4],
            [1, 1],
            [7, 7],
        ]
        assert mixed.tolist() == by_hand


class TestPropagateGated:
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_equals_the_equations_node_by_node(self, example, randn, layers: int):
        x, z, gate = randn(13, 2), randn(13, 2), random_gate(layers, 2)
        log_degree = example.double().normalised_log_degree()
        out, gammas = propagate_gated(x, z, log_degree, example.double(), gate)
        current, language = x.numpy(), z.numpy()
        weight, bias = gate.weight.detach().numpy(), gate.bias.detach().numpy()
        total = current.copy()
        for layer in range(layers):
            mixed = np.empty_like(current)
            for v in range(13):
                side = 0 if v < 6 else 1
                inputs = np.concatenate([current[v], language[v], [float(log_degree[v])]])
                gamma = sigmoid(weight[layer, side] @ inputs + bias[layer, side])
                assert float(gammas[layer][v].detach()) == pytest.approx(gamma, rel=1e-5)
                mixed[v] = gamma * current[v] + (1 - gamma) * language[v]
            current = example.normalised @ mixed
            total += current
        np.testing.assert_allclose(out.detach().numpy(), total / (layers + 1), rtol=1e-5, atol=1e-6)

    def test_an_open_gate_is_plain_propagation(self, example, randn):
        x, z, gate = randn(13, 3), randn(13, 3), Gate(3, 3, 50.0).double()
        graph = example.double()
        out, gammas = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        np.testing.assert_allclose(out.detach().numpy(), propagate(x, graph, 3).numpy(), rtol=1e-9, atol=1e-12)
        assert all(float(gamma.detach().min()) > 1 - 1e-12 for gamma in gammas)

    def test_a_closed_gate_sends_only_language(self, example, randn):
        x, z, gate = randn(13, 3), randn(13, 3), Gate(2, 3, -50.0).double()
        graph = example.double()
        out, _ = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        received = example.normalised @ z.numpy()
        np.testing.assert_allclose(out.detach().numpy(), (x.numpy() + 2 * received) / 3, rtol=1e-5, atol=1e-6)

    def test_at_the_start_both_views_have_the_same_share(self, example, randn):
        graph = example.double()
        _, gammas = propagate_gated(
            randn(13, 3), randn(13, 3), graph.normalised_log_degree(), graph, Gate(2, 3, 0.0).double()
        )
        assert torch.equal(torch.stack(gammas), torch.full((2, 13), 0.5, dtype=torch.float64))

    @pytest.mark.parametrize("side", [0, 1])
    @pytest.mark.parametrize("layer", [0, 1])
    def test_each_side_and_layer_has_a_gate_of_its_own(self, example, randn, side: int, layer: int):
        graph, x, z = example.double(), randn(13, 2), randn(13, 2)
        gate = random_gate(2, 2)
        _, before = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        with torch.no_grad():
            gate.bias[layer, side] += 1
        _, after = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        own, other = (slice(0, 6), slice(6, 13)) if side == 0 else (slice(6, 13), slice(0, 6))
        assert bool((after[layer][own] > before[layer][own]).all())
        assert torch.equal(after[layer][other], before[layer][other])
        if layer == 1:
            assert torch.equal(after[0], before[0])

    def test_gradient(self, example, randn):
        graph, gate = example.double(), random_gate(2, 2)
        log_degree = graph.normalised_log_degree()

        def run(x, z, weight, bias):
            values = {"weight": weight, "bias": bias}

            class Bound:
                bias = values["bias"]

                def __call__(self, *arguments):
                    return torch.func.functional_call(gate, values, arguments)

            out, gammas = propagate_gated(x, z, log_degree, graph, Bound())
            return out, *gammas

        parameters = [p.detach().clone().requires_grad_() for p in (gate.weight, gate.bias)]
        assert gradcheck(run, (randn(13, 2, grad=True), randn(13, 2, grad=True), *parameters))
