from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from recmind import kernels
from recmind.config import ModelConfig
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.propagation import gather_rows, hop, mean_of_layers, propagate, with_means_of_items

ROUNDING = {"rtol": 1e-12, "atol": 1e-14}

SUBSETS = {
    "some": [0, 2, 7, 12],
    "one": [8],
    "without an edge": [3],
    "with and without": [3, 4, 6, 11],
    "users": [0, 1, 2, 3, 4, 5],
    "all": list(range(13)),
}


@pytest.fixture(params=SUBSETS.values(), ids=SUBSETS.keys())
def wanted(request) -> NodeSubset:
    return NodeSubset.of(13, torch.tensor(request.param))


def view(x: torch.Tensor, graph: BipartiteGraph, layers: int) -> torch.Tensor:
    return propagate(x, graph, layers)[0]


class TestProduct:
    def test_equals_the_dense_product(self, example, randn):
        x = randn(13, 3)
        expected = example.normalised @ x.numpy()
        np.testing.assert_allclose(kernels.product(example.double(), x).numpy(), expected, **ROUNDING)

    def test_by_hand(self, make):
        # User 0 has both items, user 1 the second: d = 2, 1 and 1, 2.
        graph = make([(0, 0), (0, 1), (1, 1)], 2, 2).double()
        x = torch.tensor([[1.0], [2.0], [4.0], [8.0]], dtype=torch.float64)
        expected = [
            [4 / np.sqrt(2 * 1) + 8 / np.sqrt(2 * 2)],
            [8 / np.sqrt(1 * 2)],
            [1 / np.sqrt(1 * 2)],
            [1 / np.sqrt(2 * 2) + 2 / np.sqrt(2 * 1)],
        ]
        np.testing.assert_allclose(kernels.product(graph, x).numpy(), expected, **ROUNDING)

    def test_nothing_reaches_a_node_without_an_edge(self, example, randn):
        out = kernels.product(example.double(), randn(13, 3))
        assert out[3].tolist() == [0, 0, 0]
        assert out[6 + 5].tolist() == [0, 0, 0]


class TestPropagate:
    @pytest.mark.parametrize("layers", range(5))
    def test_equals_the_mean_of_dense_powers(self, example, randn, layers: int):
        x = randn(13, 3)
        powers = [np.linalg.matrix_power(example.normalised, power) @ x.numpy() for power in range(layers + 1)]
        np.testing.assert_allclose(view(x, example.double(), layers).numpy(), np.mean(powers, 0), **ROUNDING)

    @pytest.mark.parametrize("layers", range(5))
    def test_gradient(self, example, randn, layers: int):
        graph = example.double()
        assert gradcheck(lambda x: view(x, graph, layers), randn(13, 2, grad=True))

    def test_gradient_of_a_view_that_is_not_contiguous(self, example, randn):
        graph = example.double()
        assert gradcheck(lambda x: view(x.T, graph, 2).T, randn(2, 13, grad=True))

    @pytest.mark.parametrize("layers", [1, 3])
    def test_nodes_without_an_edge_keep_their_share_of_themselves(self, example, randn, layers: int):
        x = randn(13, 3)
        out = view(x, example.double(), layers)
        for node in (3, 6 + 5):
            np.testing.assert_allclose(out[node].numpy(), x[node].numpy() / (layers + 1), rtol=1e-12)

    def test_one_user_and_one_item(self, make, randn):
        # Â swaps the two, so an even number of hops comes home.
        x = randn(2, 3)
        out = view(x, make([(0, 0)], 1, 1).double(), 2)
        np.testing.assert_allclose(out.numpy(), (x + x.flip(0) + x).numpy() / 3, rtol=1e-12)

    def test_renumbering_users_and_items_renumbers_the_result(self, example, make, randn):
        rng = np.random.default_rng(3)
        users, items = rng.permutation(6), rng.permutation(7)
        edges = [(users[u], items[i]) for u, i in zip(example.users, example.items, strict=True)]
        nodes = torch.from_numpy(np.concatenate([users, 6 + items]))
        x = randn(13, 3)
        moved = torch.empty_like(x)
        moved[nodes] = x
        there = view(moved, make(edges, 6, 7).double(), 3)
        np.testing.assert_allclose(there[nodes].numpy(), view(x, example.double(), 3).numpy(), rtol=1e-9)

    def test_the_order_of_interactions_does_not_matter(self, example, make, randn):
        shuffled = make(list(zip(example.users, example.items, strict=True))[::-1], 6, 7)
        x = randn(13, 3)
        assert torch.equal(view(x, shuffled.double(), 3), view(x, example.double(), 3))

    def test_gives_the_embeddings_back(self, example, randn):
        x = randn(13, 3)
        assert torch.equal(propagate(x, example.double(), 2)[1], x)


class TestPropagateWanted:
    @pytest.mark.parametrize("layers", range(4))
    def test_rows_of_the_whole(self, example, randn, wanted, layers: int):
        x = randn(13, 3)
        (whole, _), (part, rows) = (propagate(x, example.double(), layers, subset) for subset in (None, wanted))
        np.testing.assert_allclose(part.numpy(), whole[wanted.nodes].numpy(), **ROUNDING)
        assert torch.equal(rows, x[wanted.nodes])

    @pytest.mark.parametrize("layers", range(4))
    def test_gradient(self, example, randn, wanted, layers: int):
        graph = example.double()
        assert gradcheck(lambda x: propagate(x, graph, layers, wanted), randn(13, 2, grad=True))

    @pytest.mark.skipif(kernels.instruction_set() is None, reason="torch's sparse products round in another order")
    @pytest.mark.parametrize("storage", [None, torch.bfloat16])
    @pytest.mark.parametrize("layers", range(4))
    def test_the_same_bits_as_the_whole(self, example, randn, wanted, layers: int, storage):
        x, target = randn(13, 5).float(), randn(2, len(wanted), 5).float()
        results = []
        for subset in (None, wanted):
            start = x.clone().requires_grad_()
            views = propagate(start, example.graph, layers, subset, storage)
            views = [v[wanted.nodes] if subset is None else v for v in views]
            sum((v * t).sum() for v, t in zip(views, target, strict=True)).backward()
            results.append((*views, start.grad))
        for whole, part in zip(*results, strict=True):
            assert torch.equal(part, whole)

    def test_the_precision_of_storage_shows_up_in_between_alone(self, example, randn):
        x = randn(13, 3).float()
        exact, _ = propagate(x, example.graph, 1)
        low, rows = propagate(x, example.graph, 1, storage=torch.bfloat16)
        assert low.dtype == torch.float32
        assert torch.equal(rows, x)
        # Only the neighbours' rows are rounded, to eight bits; their weights are at most one each.
        received = np.abs(example.normalised) @ x.abs().numpy() / 2
        assert bool(((low - exact).abs().numpy() <= 2**-8 * received + 1e-6).all())
        assert not torch.equal(low, exact)
        assert torch.equal(low[3], exact[3])


class TestHop:
    def test_equals_the_dense_product(self, example, randn, wanted):
        x = randn(13, 3)
        expected = example.normalised @ x.numpy()
        np.testing.assert_allclose(hop(x, example.double()).numpy(), expected, **ROUNDING)
        np.testing.assert_allclose(hop(x, example.double(), wanted).numpy(), expected[wanted.nodes.numpy()], **ROUNDING)

    @pytest.mark.parametrize("everywhere", [True, False])
    def test_gradient(self, example, randn, wanted, everywhere: bool):
        graph = example.double()
        assert gradcheck(lambda x: hop(x, graph, None if everywhere else wanted), randn(13, 2, grad=True))

    @pytest.mark.skipif(kernels.instruction_set() is None, reason="torch's sparse products round in another order")
    @pytest.mark.parametrize("storage", [None, torch.bfloat16])
    def test_in_single_precision_the_same_bits_as_the_whole(self, example, randn, wanted, storage):
        x, target = randn(13, 5).float(), randn(len(wanted), 5).float()
        results = []
        for subset in (None, wanted):
            start = x.clone().requires_grad_()
            view = hop(start, example.graph, subset, storage)
            view = view[wanted.nodes] if subset is None else view
            (view * target).sum().backward()
            results.append((view, start.grad))
        for whole, part in zip(*results, strict=True):
            assert torch.equal(part, whole)
        exact = example.normalised[wanted.nodes.numpy()] @ x.double().numpy()
        tolerance = 1e-6 if storage is None else 2**-7
        np.testing.assert_allclose(results[0][0].detach().numpy(), exact, rtol=tolerance, atol=4 * tolerance)

    def test_of_hops_the_mean_is_what_propagation_gives(self, example, randn, wanted):
        x, graph = randn(13, 3, grad=True), example.double()
        found = mean_of_layers([x, hop(x, graph), hop(hop(x, graph), graph, wanted)], wanted)
        expected = propagate(x, graph, 2, wanted)[0]
        target = randn(len(wanted), 3)
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), **ROUNDING)
        gradients = [torch.autograd.grad((view * target).sum(), x)[0].numpy() for view in (found, expected)]
        np.testing.assert_allclose(*gradients, **ROUNDING)

    def test_the_mean_of_one_layer_is_that_layer(self, randn):
        x = randn(4, 3)
        assert mean_of_layers([x]) is x


class TestLightGCN:
    @pytest.mark.parametrize("layers", [1, 3])
    def test_equals_torch_geometric(self, example, layers: int):
        geometric = pytest.importorskip("torch_geometric.nn.models", reason="the oracle is in the extra `test`")
        ours = LightGCN(example.graph, ModelConfig(name="lightgcn", dim=4, layers=layers, init_std=1.0))
        theirs = geometric.LightGCN(num_nodes=13, embedding_dim=4, num_layers=layers)
        with torch.no_grad():
            theirs.embedding.weight.copy_(ours.free)
        u, i = torch.from_numpy(example.users).long(), torch.from_numpy(example.items).long() + 6
        edges = torch.stack([torch.cat([u, i]), torch.cat([i, u])])
        target = torch.randn(13, 4, generator=torch.Generator().manual_seed(0))
        views = ours()
        mine, other = ours.final(views), theirs.get_embedding(edges)
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=1e-5, atol=1e-6)
        (mine * target).sum().backward()
        (other * target).sum().backward()
        expected = theirs.embedding.weight.grad
        np.testing.assert_allclose(ours.free.grad.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


class TestWithMeansOfItems:
    def test_is_the_mean(self, example, randn):
        x = randn(7, 3)
        out = with_means_of_items(x, example.double())
        np.testing.assert_allclose(out[0].numpy(), (x[0] + x[1] + x[2]).numpy() / 3, **ROUNDING)
        np.testing.assert_allclose(out[1].numpy(), (x[1] + x[3]).numpy() / 2, **ROUNDING)
        np.testing.assert_allclose(out[2].numpy(), x[0].numpy(), **ROUNDING)
        assert out[3].tolist() == [0, 0, 0]
        np.testing.assert_allclose(out[4].numpy(), (x[2] + x[4]).numpy() / 2, **ROUNDING)
        np.testing.assert_allclose(out[5].numpy(), x[6].numpy(), **ROUNDING)
        assert torch.equal(out[6:], x)

    def test_gradient(self, example, randn):
        graph = example.double()
        assert gradcheck(lambda x: with_means_of_items(x, graph), randn(7, 2, grad=True))

    def test_gradient_in_single_precision_is_the_transpose(self, example, randn):
        x, target = randn(7, 3).float().requires_grad_(), randn(13, 3).float()
        (with_means_of_items(x, example.graph) * target).sum().backward()
        degrees = example.adjacency.sum(1, keepdims=True).clip(1)
        expected = target[6:].numpy() + (example.adjacency / degrees).T @ target[:6].numpy()
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5, atol=1e-6)


class TestGatherRows:
    def test_values_and_summed_gradient_of_repeats(self, randn):
        x, weight = randn(4, 2, grad=True), randn(5, 2)
        nodes = torch.tensor([2, 0, 2, 2, 3])
        out = gather_rows(x, nodes)
        assert torch.equal(out, x.detach()[nodes])
        (out * weight).sum().backward()
        expected = torch.stack([weight[1], torch.zeros(2), weight[0] + weight[2] + weight[3], weight[4]])
        np.testing.assert_allclose(x.grad.numpy(), expected.numpy(), rtol=1e-12)

    def test_gradient(self, randn):
        nodes = torch.tensor([1, 1, 0, 3, 1])
        assert gradcheck(lambda x: gather_rows(x, nodes), randn(4, 2, grad=True))

    def test_no_rows(self, randn):
        x = randn(4, 2, grad=True)
        gather_rows(x, torch.zeros(0, dtype=torch.int64)).sum().backward()
        assert torch.equal(x.grad, torch.zeros(4, 2))
