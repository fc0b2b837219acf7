from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from recmind import kernels
from recmind.model.gating import Gate, late_gate, propagate_gated
from recmind.model.graph import NodeSubset
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


class TestPropagateGated:
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_equals_the_equations_node_by_node(self, example, randn, layers: int):
        x, z, gate = randn(13, 2), randn(13, 2), random_gate(layers, 2)
        log_degree = example.double().normalised_log_degree()
        out, language_rows, gammas = propagate_gated(x, z, log_degree, example.double(), gate)
        assert torch.equal(language_rows, z)
        current, language = x.numpy(), z.numpy()
        weight, bias = gate.weight.detach().numpy(), gate.bias.detach().numpy()
        total = current.copy()
        for layer in range(layers):
            mixed = np.empty_like(current)
            for v in range(13):
                side = 0 if v < 6 else 1
                inputs = np.concatenate([current[v], language[v], [float(log_degree[v])]])
                gamma = sigmoid(weight[layer, side] @ inputs + bias[layer, side])
                assert float(gammas[layer][v].detach()) == pytest.approx(gamma, rel=1e-12)
                mixed[v] = gamma * current[v] + (1 - gamma) * language[v]
            current = example.normalised @ mixed
            total += current
        np.testing.assert_allclose(out.detach().numpy(), total / (layers + 1), rtol=1e-10, atol=1e-12)

    def test_an_open_gate_is_plain_propagation(self, example, randn):
        x, z, gate = randn(13, 3), randn(13, 3), Gate(3, 3, 50.0).double()
        graph = example.double()
        out, _, gammas = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        np.testing.assert_allclose(out.detach().numpy(), propagate(x, graph, 3)[0].numpy(), rtol=1e-9, atol=1e-12)
        assert gammas.shape == (3, 13)
        assert float(gammas.min()) > 1 - 1e-12

    def test_a_closed_gate_sends_only_language(self, example, randn):
        x, z, gate = randn(13, 3), randn(13, 3), Gate(2, 3, -50.0).double()
        graph = example.double()
        out, _, _ = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        received = example.normalised @ z.numpy()
        np.testing.assert_allclose(out.detach().numpy(), (x.numpy() + 2 * received) / 3, rtol=1e-10, atol=1e-12)

    def test_at_the_start_both_views_have_the_same_share(self, example, randn):
        graph = example.double()
        _, _, gammas = propagate_gated(
            randn(13, 3), randn(13, 3), graph.normalised_log_degree(), graph, Gate(2, 3, 0.0).double()
        )
        assert torch.equal(gammas, torch.full((2, 13), 0.5, dtype=torch.float64))

    @pytest.mark.parametrize("side", [0, 1])
    @pytest.mark.parametrize("layer", [0, 1])
    def test_each_side_and_layer_has_a_gate_of_its_own(self, example, randn, side: int, layer: int):
        graph, x, z = example.double(), randn(13, 2), randn(13, 2)
        gate = random_gate(2, 2)
        _, _, before = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        with torch.no_grad():
            gate.bias[layer, side] += 1
        _, _, after = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        own, other = (slice(0, 6), slice(6, 13)) if side == 0 else (slice(6, 13), slice(0, 6))
        assert bool((after[layer][own] > before[layer][own]).all())
        assert torch.equal(after[layer][other], before[layer][other])
        if layer == 1:
            assert torch.equal(after[0], before[0])

    def test_gates_ask_for_no_gradient(self, example, randn):
        graph = example.double()
        x, z, gate = randn(13, 2, grad=True), randn(13, 2, grad=True), random_gate(2, 2)
        view, language, gammas = propagate_gated(x, z, graph.normalised_log_degree(), graph, gate)
        assert view.requires_grad
        assert language.requires_grad
        assert not gammas.requires_grad


SUBSETS = {
    "some": [0, 2, 7, 12],
    "one": [8],
    "without an edge": [3],
    "with and without": [3, 4, 6, 11],
    "all": list(range(13)),
}


def subset_of(nodes: list[int] | None) -> NodeSubset | None:
    return None if nodes is None else NodeSubset.of(13, torch.tensor(nodes))


class TestGradient:
    """The gradients are written by hand; here they meet finite differences and torch's own."""

    def inputs(self, randn, layers: int, dim: int = 2) -> list[torch.Tensor]:
        gate = random_gate(layers, dim)
        parameters = [p.detach().clone().requires_grad_() for p in (gate.weight, gate.bias)]
        return [randn(13, dim, grad=True), randn(13, dim, grad=True), *parameters]

    @pytest.mark.parametrize("nodes", [None, *SUBSETS.values()], ids=["default", *SUBSETS])
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_finite_differences(self, example, randn, layers: int, nodes):
        graph, wanted = example.double(), subset_of(nodes)
        log_degree = graph.normalised_log_degree()

        def run(x, z, weight, bias):
            view, language, _ = propagate_gated(
                x, z, log_degree, graph, SimpleNamespace(weight=weight, bias=bias), wanted
            )
            return view, language

        assert gradcheck(run, self.inputs(randn, layers))

    @pytest.mark.parametrize("nodes", [None, [3, 4, 6, 11]])
    def test_one_table_as_embeddings_and_language(self, example, randn, nodes):
        # As in a model that starts from its language view: both gradients meet in one table.
        graph, gate, wanted = example.double(), random_gate(2, 2), subset_of(nodes)
        log_degree = graph.normalised_log_degree()
        assert gradcheck(lambda x: propagate_gated(x, x, log_degree, graph, gate, wanted)[:2], randn(13, 2, grad=True))

    @pytest.mark.parametrize("dim", [1, 2, 5, 64])
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_single_precision_equals_torch_on_dense_matrices(self, example, randn, layers: int, dim: int):
        found, expected = self.inputs(randn, layers, dim), self.inputs(randn, layers, dim)
        for single, double in zip(found, expected, strict=True):
            single.data, double.data = double.data.float(), double.data.float().double()
        target = randn(2, 13, dim)
        gate = SimpleNamespace(weight=found[2], bias=found[3])
        graph = example.graph
        views = propagate_gated(found[0], found[1], graph.normalised_log_degree(), graph, gate)[:2]
        sum((v * t.float()).sum() for v, t in zip(views, target, strict=True)).backward()

        x, z, weight, bias = expected
        current, total = x, x
        for layer in range(layers):
            read = torch.cat([current, z, example.double().normalised_log_degree()[:, None]], dim=1)
            logits = [read[:6] @ weight[layer, 0] + bias[layer, 0], read[6:] @ weight[layer, 1] + bias[layer, 1]]
            gamma = torch.cat(logits).sigmoid()[:, None]
            current = torch.from_numpy(example.normalised) @ (gamma * current + (1 - gamma) * z)
            total = total + current
        ((total / (layers + 1) * target[0]).sum() + (z * target[1]).sum()).backward()
        np.testing.assert_allclose(views[0].detach(), (total / (layers + 1)).detach(), rtol=1e-4, atol=1e-5)
        for single, double in zip(found, expected, strict=True):
            scale = float(double.grad.abs().max())
            np.testing.assert_allclose(single.grad, double.grad, rtol=1e-4, atol=1e-5 * scale)


class TestWanted:
    def run(self, example, randn, layers: int, wanted, rows, dtype: torch.dtype, storage=None):
        graph = example.graph if dtype == torch.float32 else example.double()
        x, z = (randn(13, 5).to(dtype).requires_grad_() for _ in range(2))
        gate, target = random_gate(layers, 5).to(dtype), randn(2, len(rows), 5).to(dtype)
        log_degree = graph.normalised_log_degree()
        view, language, gammas = propagate_gated(x, z, log_degree, graph, gate, wanted, storage)
        if wanted is None:
            view, language = view[rows], language[rows]
        ((view * target[0]).sum() + (language * target[1]).sum()).backward()
        return view, language, gammas, x.grad, z.grad, gate.weight.grad, gate.bias.grad

    @pytest.fixture
    def again(self):
        """Two runs with the same numbers: for the wanted nodes, and rows of the run for all."""

        def both(example, nodes, layers: int, *kind):
            results = []
            for wanted in (None, subset_of(nodes)):
                generator = torch.Generator().manual_seed(11)

                def draw(*shape: int, generator=generator) -> torch.Tensor:
                    return torch.randn(*shape, generator=generator, dtype=torch.float64)

                results.append(self.run(example, draw, layers, wanted, torch.tensor(nodes), *kind))
            return zip(*results, strict=True)

        return both

    @pytest.mark.parametrize("nodes", SUBSETS.values(), ids=SUBSETS.keys())
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_rows_and_gradients_of_the_whole(self, example, again, layers: int, nodes: list[int]):
        for whole, part in again(example, nodes, layers, torch.float64):
            np.testing.assert_allclose(part.detach(), whole.detach(), rtol=1e-11, atol=1e-13)

    @pytest.mark.skipif(kernels.instruction_set() is None, reason="torch's sparse products round in another order")
    @pytest.mark.parametrize("storage", [None, torch.bfloat16])
    @pytest.mark.parametrize("nodes", SUBSETS.values(), ids=SUBSETS.keys())
    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_the_same_bits_as_the_whole(self, example, again, layers: int, nodes: list[int], storage):
        for whole, part in again(example, nodes, layers, torch.float32, storage):
            assert torch.equal(part, whole)

    def test_low_storage_is_near(self, example, again):
        exact = again(example, [0, 3, 8], 3, torch.float32)
        low = again(example, [0, 3, 8], 3, torch.float32, torch.bfloat16)
        for (_, one), (_, other) in zip(exact, low, strict=True):
            assert other.dtype == torch.float32
            # Each layer rounds to eight bits once; the numbers are of order 1.
            scale = max(1.0, float(one.detach().abs().max()))
            np.testing.assert_allclose(other.detach(), one.detach(), atol=3 * 2**-8 * scale)

    def test_nothing_wanted(self, example, randn):
        nothing = NodeSubset.of(13, torch.zeros(0, dtype=torch.int64))
        results = self.run(example, randn, 2, nothing, [], torch.float32)
        assert results[0].shape == results[1].shape == (0, 5)
        assert all(not gradient.any() for gradient in results[3:])


class TestLateGate:
    def test_equals_the_equation_node_by_node(self, randn):
        graph, language, gate = randn(3, 2), randn(3, 2), random_gate(1, 2)
        log_degree, items = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64), torch.tensor([False, True, True])
        found = late_gate(graph, language, log_degree, gate, items)
        weight, bias = gate.weight.detach().numpy()[0], gate.bias.detach().numpy()[0]
        for node, side in enumerate((0, 1, 1)):
            inputs = [*graph[node].numpy(), *language[node].numpy(), float(log_degree[node])]
            expected = sigmoid(sum(w * x for w, x in zip(weight[side], inputs, strict=True)) + bias[side])
            assert found[node].item() == pytest.approx(expected, rel=1e-12)
        assert found.shape == (3, 1)

    def test_starts_with_both_views_alike(self, randn):
        gate = Gate(1, 2, 0.0).double()
        found = late_gate(randn(4, 2), randn(4, 2), randn(4), gate, torch.tensor([False, False, True, True]))
        assert torch.equal(found, torch.full((4, 1), 0.5, dtype=torch.float64))
