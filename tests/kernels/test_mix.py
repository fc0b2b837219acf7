"""The gate: every body against float64, gradients against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmind import kernels
from recmind.kernels import reference, tiles
from recmind.kernels.tiles import arrange, tiled_shape
from recmind.model.graph import BipartiteGraph, NodeSubset

WIDTHS = [1, 3, 5, 16, 64, 70, 128, 200]
SIZES = {"some": (11, 6), "no users": (5, 0), "no items": (4, 4), "one a side": (2, 1), "several chunks": (2600, 1500)}


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def sizes(request) -> tuple[int, int]:
    """Nodes, and users among them."""
    return request.param


@pytest.fixture
def tables(normal):
    """E, z^L, d̃, weight and bias; the weight leaves the gates neither open nor closed."""

    def draw(n: int, d: int) -> tuple[torch.Tensor, ...]:
        weight = normal(2, 2 * d + 1, seed=4) / d**0.5
        return normal(n, d, seed=1), normal(n, d, seed=2), normal(n, seed=3).abs(), weight, normal(2, seed=5)

    return draw


@pytest.fixture
def graph_with(make):
    """A graph of so many nodes and users in which every node has an edge, where there are two sides."""

    def build(n: int, n_users: int) -> BipartiteGraph:
        n_items = n - n_users
        pairs = {(k % n_users, k % n_items) for k in range(max(n_users, n_items))} if n_users and n_items else set()
        return make(sorted(pairs), n_users, n_items)

    return build


def rows(graph: BipartiteGraph, x: kernels.Operand) -> torch.Tensor:
    """An operand as rows; 0 for nodes without an edge, which nobody reads."""
    found = kernels.rows_of(x.tiles)
    return found * (graph.degrees.sqrt()[:, None] if x.scaled else graph.degrees[:, None] > 0)


def read(graph: BipartiteGraph, x: torch.Tensor) -> torch.Tensor:
    """What of ``x`` an operand shows."""
    return torch.where(graph.degrees[:, None] > 0, x, 0)


class TestReference:
    def test_by_hand(self):
        embeddings = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]], dtype=torch.float64)
        language = torch.tensor([[3.0, -1.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
        log_degree = torch.tensor([0.25, 1.0, 0.5], dtype=torch.float64)
        weight = torch.tensor([[0.1, 0.2, 0.3, 0.4, 2.0], [-1.0, 0.5, 0.25, 0.0, 1.0]], dtype=torch.float64)
        bias = torch.tensor([-1.0, 3.0], dtype=torch.float64)
        mixed, gamma = reference.mix(embeddings, language, log_degree, weight, bias, 2)
        first = sigmoid(0.1 * 1 + 0.2 * 2 + 0.3 * 3 + 0.4 * -1 + 2 * 0.25 - 1)
        second = sigmoid(0.1 * 0.5 + 0.2 * -1 + 0.3 * 0 + 0.4 * 2 + 2 * 1 - 1)
        third = sigmoid(-1 * 2 + 0.5 * 0 + 0.25 * 1 + 0 * 1 + 1 * 0.5 + 3)
        np.testing.assert_allclose(gamma.numpy(), [first, second, third], rtol=1e-12)
        by_hand = [
            [first * 1 + (1 - first) * 3, first * 2 + (1 - first) * -1],
            [second * 0.5, second * -1 + (1 - second) * 2],
            [third * 2 + (1 - third) * 1, 1 - third],
        ]
        np.testing.assert_allclose(mixed.numpy(), by_hand, rtol=1e-12)

    @given(st.lists(st.floats(-1.5, 1.5), min_size=8, max_size=8))
    def test_gates_lie_between_zero_and_one(self, numbers: list[float]):
        x = torch.tensor(numbers, dtype=torch.float64)
        weight = torch.cat([x[:4], x[5:6]]).repeat(2, 1)
        _, gamma = reference.mix(x[None, :2], x[None, 2:4], x[4:5], weight, x[6:8], 1)
        assert 0 < float(gamma) < 1


class TestMix:
    @pytest.mark.parametrize("d", WIDTHS)
    def test_equals_double_precision(self, body, sizes, tables, graph_with, d: int):
        n, n_users = sizes
        given, graph = tables(n, d), graph_with(n, n_users)
        mixed, gamma = kernels.mix(graph, *given)
        expected, exact = reference.mix(*(table.double() for table in given), n_users)
        # The logit adds 2 d terms of order d^-1/2; a gate moves by at most a quarter of the logit's error.
        np.testing.assert_allclose(gamma, exact, rtol=0, atol=2.0**-23 * (4 + 2 * d**0.5))
        close = {"rtol": 1e-6, "atol": 2.0**-21 * (4 + 2 * d**0.5)}
        np.testing.assert_allclose(rows(graph, mixed), read(graph, expected), **close)
        assert (mixed.tiles.dtype, gamma.dtype) == (torch.float32, torch.float32)

    @pytest.mark.parametrize("d", [5, 64, 70])
    def test_low_precision_is_the_rounded_result(self, body, sizes, tables, graph_with, d: int):
        n, n_users = sizes
        graph = graph_with(n, n_users)
        (mixed, gamma), (low, same) = (kernels.mix(graph, *tables(n, d), dtype) for dtype in (None, torch.bfloat16))
        assert torch.equal(kernels.rows_of(low.tiles), kernels.rows_of(mixed.tiles).bfloat16())
        assert torch.equal(same, gamma)

    @pytest.mark.parametrize("d", [32, 64, 128])
    def test_reads_tiles_like_rows(self, compiled, sizes, tables, normal, graph_with, d: int):
        n, n_users = sizes
        graph, (embeddings, *others) = graph_with(n, n_users), tables(n, d)
        shape = tiled_shape(graph, n, d, torch.float32)
        in_tiles = arrange(embeddings, torch.empty(shape))
        (expected, gamma), (found, same) = (kernels.mix(graph, x, *others) for x in (embeddings, in_tiles))
        np.testing.assert_allclose(found.tiles, expected.tiles, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(same, gamma, rtol=1e-5)
        grad, plus = normal(n, d, seed=6), normal(n, d, seed=7)
        language, log_degree, weight, _ = others
        shared = (language, log_degree, gamma, weight, None, plus, None)
        results = [
            kernels.mix_backward(graph, g, x, *shared, further=True)
            for g, x in ((grad, embeddings), (arrange(grad, torch.empty(shape)), in_tiles))
        ]
        for one, other in zip(*results, strict=True):
            one, other = (x.tiles if isinstance(x, kernels.Operand) else x for x in (one, other))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * max(1.0, float(one.abs().max())))

    def test_tiles_whose_ends_do_not_meet(self, compiled, tables, normal, graph_with, monkeypatch):
        monkeypatch.setattr(tiles, "tile_width", lambda rows, d, dtype, cache: 48 if dtype == torch.float32 else 32)
        graph, (embeddings, *others) = graph_with(11, 6), tables(11, 96)
        in_tiles = arrange(embeddings, torch.empty(2, 11, 48))
        (exact, gamma), (low, same) = (kernels.mix(graph, in_tiles, *others, dtype) for dtype in (None, torch.bfloat16))
        assert exact.tiles.shape == (2, 11, 48)
        assert low.tiles.shape == (3, 11, 32)
        assert torch.equal(kernels.rows_of(low.tiles), kernels.rows_of(exact.tiles).bfloat16())
        assert torch.equal(same, gamma)
        expected, _ = reference.mix(*(table.double() for table in (embeddings, *others)), graph.n_users)
        np.testing.assert_allclose(rows(graph, exact), expected, rtol=1e-5, atol=1e-5)
        there = kernels.operand(graph, embeddings, dtype=torch.bfloat16)
        again = arrange(in_tiles, torch.empty(3, 11, 32, dtype=torch.bfloat16), graph.inverse_roots)
        assert torch.equal(there.tiles, again)

    @pytest.mark.parametrize("bias", [-1e4, -100.0, 100.0, 1e4])
    def test_closed_and_open_gates_are_exact(self, body, tables, graph_with, bias: float):
        embeddings, language, log_degree, weight, _ = tables(8, 21)
        graph = graph_with(8, 3)
        mixed, gamma = kernels.mix(graph, embeddings, language, log_degree, weight, torch.full((2,), bias))
        assert bool(mixed.tiles.isfinite().all())
        np.testing.assert_allclose(gamma, float(bias > 0), atol=1e-30)
        np.testing.assert_allclose(rows(graph, mixed), embeddings if bias > 0 else language, rtol=1e-6, atol=1e-6)

    def test_not_a_number_stays_in_its_row(self, compiled, tables, graph_with):
        embeddings, language, *rest = tables(8, 21)
        embeddings[2, 20] = language[5, 0] = torch.nan
        mixed, gamma = kernels.mix(graph_with(8, 3), embeddings, language, *rest)
        assert gamma.isnan().nonzero().flatten().tolist() == [2, 5]
        assert kernels.rows_of(mixed.tiles).isnan().any(1).nonzero().flatten().tolist() == [2, 5]

    def test_tables_that_are_views(self, compiled, tables, graph_with):
        given, graph = tables(8, 7), graph_with(8, 3)
        expected, exact = kernels.mix(graph, *given)
        embeddings, language, log_degree, weight, bias = given
        views = (
            embeddings.T.contiguous().T,
            torch.stack([language, language], dim=2)[:, :, 1],
            torch.stack([log_degree, log_degree], dim=1)[:, 0],
            weight.T.contiguous().T,
            bias.repeat_interleave(2)[::2],
        )
        found, gamma = kernels.mix(graph, *views)
        assert torch.equal(found.tiles, expected.tiles)
        assert torch.equal(gamma, exact)


class TestMixBackward:
    def exact(self, grad, tables, n_users, plus, at):
        """Torch's own gradients in double precision."""
        inputs = [table.double().requires_grad_(k != 2) for k, table in enumerate(tables)]
        mixed, _ = reference.mix(*inputs, n_users)
        mixed.backward(grad.double())
        embeddings, language, _, weight, bias = (table.grad for table in inputs)
        nodes = torch.arange(len(grad)) if at is None else at.nodes
        embeddings = embeddings.index_add(0, nodes, plus.double())
        return embeddings, language, weight, bias

    @pytest.mark.parametrize("further", [False, True])
    @pytest.mark.parametrize("d", WIDTHS)
    def test_equals_torch_in_double_precision(self, body, sizes, tables, normal, graph_with, d: int, further: bool):
        n, n_users = sizes
        given, grad, graph = tables(n, d), normal(n, d, seed=6), graph_with(n, n_users)
        _, gamma = kernels.mix(graph, *given)
        everyone = torch.arange(n)
        for nodes, earlier in ((None, False), (everyone[::2], True), (everyone[:0], False), (everyone, True)):
            at = None if nodes is None else NodeSubset.of(n, nodes)
            plus = normal(n if at is None else len(at), d, seed=7)
            expected = list(self.exact(grad, given, n_users, plus, at))
            before = normal(n, d, seed=8) if earlier else None
            if before is not None:
                expected[1] = expected[1] + before.double()
            found = list(
                kernels.mix_backward(graph, grad, *given[:3], gamma, given[3], before, plus, at, further=further)
            )
            if further:
                found[0], expected[0] = rows(graph, found[0]), read(graph, expected[0])
            assert [part.shape for part in found] == [part.shape for part in expected]
            for mine, exact in zip(found, expected, strict=True):
                assert mine.dtype == torch.float32
                scale = max(1, float(exact.abs().max()) if exact.numel() else 0)
                np.testing.assert_allclose(mine, exact, rtol=1e-4, atol=2e-6 * scale * max(1, d / 16))

    def test_tables_that_are_views(self, compiled, tables, normal, graph_with):
        n, d = 9, 7
        given, plus, before, graph = tables(n, d), normal(n, d, seed=7), normal(n, d, seed=8), graph_with(n, 4)
        _, gamma = kernels.mix(graph, *given)

        def run(view, start):
            # A gradient that reaches every row alike comes as one number without strides.
            grad = torch.ones(()).expand(n, d) if view is not None else torch.ones(n, d)
            turn = view or (lambda table: table)
            embeddings, language, log_degree, weight = turn(given[0]), turn(given[1]), given[2], turn(given[3])
            tables = (grad, embeddings, language, log_degree, gamma, weight, turn(start), turn(plus), None)
            return kernels.mix_backward(graph, *tables, further=False)

        expected = run(None, before.clone())
        for found, exact in zip(run(lambda table: table.T.contiguous().T, before.clone()), expected, strict=True):
            assert torch.equal(found, exact)
