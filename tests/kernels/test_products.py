"""Products with the graph: every body of them against float64 matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recmind import kernels
from recmind.kernels.tiles import arrange, tile_width
from recmind.model.graph import BipartiteGraph, NodeSubset

EPS = 2.0**-23
"""Spacing of float32 at 1."""
WIDTHS = [1, 3, 5, 16, 64, 70, 128, 200]


def spread(x: torch.Tensor, at: NodeSubset | None, n: int) -> np.ndarray:
    """All rows in float64, zero where the subset has none."""
    if at is None:
        return x.double().numpy()
    out = np.zeros((n, x.shape[1]))
    out[at.nodes.numpy()] = x.double().numpy()
    return out


def near(found: torch.Tensor, expected: np.ndarray, magnitude: np.ndarray, terms: float) -> None:
    """Within the bound of a float32 sum of so many terms whose absolute values add up to ``magnitude``."""
    assert found.shape == expected.shape
    bound = (terms + 8) * EPS * magnitude
    difference = np.abs(found.double().numpy() - expected)
    assert bool((difference <= bound).all()), float((difference - bound).max())


class Case:
    """One product, with its result in float64 and the sum of absolute values behind each entry."""

    def __init__(self, graph: BipartiteGraph, dense: csr_array, d: int, given, wanted, base, base_at, numbers) -> None:
        n, self.graph = graph.n_nodes, graph
        self.x = numbers(n if given is None else len(given), d, seed=1)
        rows = n if wanted is None else len(wanted)
        self.base = numbers(rows if base_at is None else len(base_at), d, seed=2) if base else None
        self.given, self.wanted, self.base_at = given, wanted, base_at if base else None
        self.dense, self.terms = dense, float(graph.degrees.max()) if n else 0.0

    def run(self, alpha: float = 1.0, beta: float = 1.0, tiled: bool = False) -> torch.Tensor:
        return kernels.product(
            self.graph,
            kernels.operand(self.graph, self.x, at=self.given),
            wanted=self.wanted,
            base=self.base,
            base_at=self.base_at,
            alpha=alpha,
            beta=beta,
            tiled=tiled,
        )

    def check(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        n = self.graph.n_nodes
        rows = slice(None) if self.wanted is None else self.wanted.nodes.numpy()
        x = spread(self.x, self.given, n)
        expected, magnitude = alpha * (self.dense @ x)[rows], abs(alpha) * (self.dense @ np.abs(x))[rows]
        if self.base is not None:
            base = spread(self.base, self.base_at, n)
            base = base if self.base_at is None else base[rows]
            expected, magnitude = expected + beta * base, magnitude + abs(beta) * np.abs(base)
        found = self.run(alpha, beta)
        assert found.dtype == torch.float32
        near(found, expected, magnitude, self.terms)
        if self.wanted is None:
            assert torch.equal(kernels.rows_of(self.run(alpha, beta, tiled=True)), found)


class TestProduct:
    @pytest.mark.parametrize("d", WIDTHS)
    def test_everything_at_once(self, body, graph, normalised, normal, d: int):
        Case(graph, normalised(graph), d, None, None, base=False, base_at=None, numbers=normal).check()

    @pytest.mark.parametrize("known", [None, "some", "one", "none", "all"])
    def test_subsets_in_all_combinations(self, body, normalised, normal, make, subset, known):
        graph = make([(0, 0), (0, 1), (0, 3), (1, 1), (3, 4), (4, 1), (4, 4)], 5, 6)
        dense = normalised(graph)
        kinds = [None, "some", "one", "none", "all"]
        for rows, base, d in itertools.product(kinds, ["without", *kinds], [3, 21]):
            base_at = None if base == "without" else subset(graph, base, 3)
            at = subset(graph, known, 1), subset(graph, rows, 2)
            Case(graph, dense, d, *at, base != "without", base_at, normal).check(-0.7, 0.3)

    @pytest.mark.parametrize("d", WIDTHS)
    def test_subsets_on_every_graph(self, body, graph, normalised, normal, subset, d: int):
        given, wanted, base_at = (subset(graph, "some", seed) for seed in (4, 5, 6))
        Case(graph, normalised(graph), d, given, wanted, True, base_at, normal).check(0.25, -2.0)

    @pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (1.0, 0.0), (1 / 3, 1 / 3), (-2.0, 5.0)])
    def test_alpha_and_beta(self, body, graph, normalised, normal, alpha: float, beta: float):
        Case(graph, normalised(graph), 19, None, None, base=True, base_at=None, numbers=normal).check(alpha, beta)

    def test_by_hand(self, body, make):
        graph = make([(0, 0), (0, 1), (1, 1)], 3, 2)
        x = torch.tensor([[1.0], [2.0], [9.0], [4.0], [8.0]])
        expected = [4 / 2**0.5 + 8 / 2, 8 / 2**0.5, 0, 1 / 2**0.5, 1 / 2 + 2 / 2**0.5]
        np.testing.assert_allclose(kernels.product(graph, x)[:, 0].numpy(), expected, rtol=1e-6)

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_random_graphs(self, body, normalised, normal, make, data):
        n_users, n_items = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        pair = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
        graph = make(sorted(data.draw(st.sets(pair))), n_users, n_items)
        some = st.none() | st.sets(st.integers(0, graph.n_nodes - 1)).map(
            lambda nodes: NodeSubset.of(graph.n_nodes, torch.tensor(sorted(nodes), dtype=torch.int64))
        )
        given, wanted, base_at = (data.draw(some) for _ in range(3))
        d, base = data.draw(st.integers(1, 40)), data.draw(st.booleans())
        alpha, beta = (data.draw(st.floats(-4, 4, width=16)) for _ in range(2))
        Case(graph, normalised(graph), d, given, wanted, base, base_at, normal).check(alpha, beta)


class TestHop:
    """Â x + base, read back through a product with itself."""

    @pytest.mark.parametrize("d", WIDTHS)
    @pytest.mark.parametrize("known", [None, "some", "none"])
    def test_is_the_operand_of_the_next_product(self, body, graph, normalised, normal, subset, known, d: int):
        at, dense = subset(graph, known), normalised(graph)
        x, base = (normal(graph.n_nodes if at is None else len(at), d, seed=seed) for seed in (1, 2))
        for with_base in (False, True):
            added = kernels.operand(graph, base, at=at) if with_base else None
            found = kernels.product(graph, kernels.hop(graph, kernels.operand(graph, x, at=at), added))
            start, plus = spread(x, at, graph.n_nodes), spread(base, at, graph.n_nodes) * with_base
            expected = dense @ (dense @ start + plus)
            magnitude = dense @ (dense @ np.abs(start) + np.abs(plus))
            near(found, expected, magnitude, 2 * float(graph.degrees.max()))


class TestBfloat16:
    @pytest.mark.parametrize("d", WIDTHS)
    def test_read(self, body, graph, normalised, normal, subset, d: int):
        def low(*shape: int, seed: int) -> torch.Tensor:
            return normal(*shape, seed=seed).bfloat16() if seed == 1 else normal(*shape, seed=seed)

        for known in (None, "some"):
            case = Case(graph, normalised(graph), d, subset(graph, known), None, True, None, low)
            whole = spread(case.x, case.given, graph.n_nodes)
            near(case.run(), *self.expected(case, whole), case.terms)

    def expected(self, case: Case, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Scaled with D^-1/2 before it is rounded again: up to 2^-8 of each term more.
        base = case.base.double().numpy()
        terms = case.dense @ np.abs(x)
        return case.dense @ x + base, (terms + np.abs(base)) + terms * 2.0**-8 / ((case.terms + 8) * EPS)

    @pytest.mark.parametrize("d", [5, 64, 70])
    def test_a_hop_is_rounded_once_and_to_nearest_even(self, compiled, graph, normal, d: int):
        x = kernels.operand(graph, normal(graph.n_nodes, d))
        exact, low = kernels.hop(graph, x), kernels.hop(graph, x, dtype=torch.bfloat16)
        assert torch.equal(kernels.rows_of(low.tiles), kernels.rows_of(exact.tiles).bfloat16())

    @pytest.mark.parametrize("d", [7, 64])
    def test_rounding_of_chosen_numbers(self, compiled, make, d: int):
        # Ties both ways, neighbours of ties, the largest floats, subnormals, zeros of both signs, infinities.
        bits = [0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x3F818001, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF]
        bits += [0x00000001, 0x00008000, 0x00018000, 0x80000000, 0x00000000, 0x7F800000, 0xFF800000, 0xBF808000]
        numbers = torch.from_numpy(np.resize(np.array(bits, dtype=np.uint32).view(np.float32), (2, d)).copy())
        out = kernels.operand(make([(0, 0)], 1, 1), numbers, dtype=torch.bfloat16)
        assert torch.equal(kernels.rows_of(out.tiles).view(torch.int16), numbers.bfloat16().view(torch.int16))

    @pytest.mark.parametrize("d", [7, 64])
    @pytest.mark.parametrize("payload", [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFF8000])
    def test_not_a_number_stays_so_whatever_its_payload(self, compiled, make, payload: int, d: int):
        nan = torch.from_numpy(np.full((2, d), payload, dtype=np.uint32).view(np.float32))
        assert bool(nan.isnan().all())
        assert bool(kernels.operand(make([(0, 0)], 1, 1), nan, dtype=torch.bfloat16).tiles.isnan().all())


class TestTiles:
    @pytest.mark.parametrize("d", [32, 64, 128])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_there_and_back(self, compiled, normal, dtype, d: int):
        x, scale, width = normal(37, d), normal(37, seed=1), 64 // dtype.itemsize
        there = arrange(x, torch.empty(d // width, 37, width, dtype=dtype), scale)
        assert torch.equal(kernels.rows_of(there), (x * scale[:, None]).to(dtype))
        if dtype == torch.float32:
            assert torch.equal(arrange(there, torch.empty(37, d)), kernels.rows_of(there))

    def test_width(self):
        megabytes = 2**20

        def widths(rows: int, d: int, dtype: torch.dtype = torch.float32) -> int:
            return tile_width(rows, d, dtype, 2 * megabytes)

        # 256 bytes a row: 5,000 fit whole, 10,000 by halves, 20,000 and 40,000 by cache lines, 120,000 not at all.
        assert [widths(rows, 64) for rows in (5_000, 10_000, 20_000, 40_000, 120_000)] == [64, 32, 16, 16, 64]
        assert [widths(rows, 64, torch.bfloat16) for rows in (10_000, 20_000, 40_000, 120_000)] == [64, 32, 32, 64]
        assert [widths(40_000, d) for d in (1, 16, 48, 70, 32, 96, 128)] == [1, 16, 48, 70, 16, 16, 16]
        assert [widths(8_000, d) for d in (64, 96, 192)] == [32, 48, 48]


class TestMeans:
    @pytest.mark.parametrize("d", WIDTHS)
    def test_mean_of_items(self, body, graph, adjacency, normal, d: int):
        items, out = normal(graph.n_items, d), torch.full((graph.n_users, d), torch.nan)
        kernels.mean_of_items(graph, items, out)
        share = adjacency(graph).toarray()[: graph.n_users, graph.n_users :]
        share /= share.sum(1, keepdims=True).clip(1)
        terms = 2 * float(graph.degrees.max())  # plain torch divides by roots, one after the other
        near(out, share @ items.double().numpy(), share @ items.abs().double().numpy(), terms)

    @pytest.mark.parametrize("d", WIDTHS)
    def test_shares_of_users(self, body, graph, adjacency, normal, d: int):
        users, base = normal(graph.n_users, d), normal(graph.n_items, d, seed=1)
        share = adjacency(graph).toarray()[: graph.n_users, graph.n_users :]
        share = (share / share.sum(1, keepdims=True).clip(1)).T
        expected = base.double().numpy() + share @ users.double().numpy()
        magnitude = base.abs().double().numpy() + share @ users.abs().double().numpy()
        near(kernels.shares_of_users(graph, users, base), expected, magnitude, 2 * float(graph.degrees.max()))

    def test_each_is_the_transpose_of_the_other(self, body, hub, normal):
        items, users = normal(hub.n_items, 3), normal(hub.n_users, 3, seed=1)
        means = torch.empty_like(users)
        kernels.mean_of_items(hub, items, means)
        back = kernels.shares_of_users(hub, users, torch.zeros_like(items))
        one, other = (means.double() * users).sum(), (back.double() * items).sum()
        assert float(one) == pytest.approx(float(other), rel=1e-4)


class TestNotANumber:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("d", [5, 70])
    def test_reaches_exactly_the_neighbours(self, compiled, make, adjacency, normal, d: int, dtype):
        graph = make([(0, 0), (0, 1), (0, 3), (1, 1), (3, 4), (4, 1), (4, 4)], 5, 6)
        for node in range(graph.n_nodes):
            x = normal(graph.n_nodes, d).to(dtype)
            x[node, d - 1] = torch.nan
            out = kernels.product(graph, x).isnan()
            assert not out[:, : d - 1].any()
            assert out[:, d - 1].tolist() == (adjacency(graph).toarray()[:, node] > 0).tolist()

    def test_in_a_row_that_nobody_reads(self, compiled, make, normal):
        graph = make([(0, 0), (1, 1)], 2, 2)
        given = NodeSubset.of(4, torch.tensor([0, 3]))
        x = normal(2, 6)
        x[1] = torch.nan  # item 1, whose only user is 1
        out = kernels.product(
            graph, kernels.operand(graph, x, at=given), wanted=NodeSubset.of(4, torch.tensor([0, 2, 3]))
        )
        assert bool(out.isfinite().all())

    def test_infinity_stays_with_the_neighbours_too(self, compiled, make, adjacency, normal):
        graph = make([(0, 0), (0, 1), (1, 1)], 3, 2)
        x = normal(5, 20)
        x[4] = torch.inf
        out = kernels.product(graph, x)
        assert (~out.isfinite()).all(1).tolist() == (adjacency(graph).toarray()[:, 4] > 0).tolist()
        assert bool(out[[2, 3, 4]].isfinite().all())


class TestStrides:
    """Tables that are views of others give what their copies give."""

    def views(self, x: torch.Tensor) -> list[torch.Tensor]:
        wide = torch.full((2 * x.shape[0], 2 * x.shape[1]), torch.nan)
        wide[::2, 1::2] = x
        return [x.T.contiguous().T, wide[::2, 1::2]]

    def test_product(self, compiled, hub, normal, subset):
        x, base = normal(hub.n_nodes, 7), normal(hub.n_nodes, 7, seed=1)
        expected = kernels.product(hub, x, base=base)
        for one in self.views(x):
            for other in self.views(base):
                assert torch.equal(kernels.product(hub, one, base=other), expected)
        row = normal(1, 7)
        assert torch.equal(
            kernels.product(hub, row.expand(hub.n_nodes, 7)), kernels.product(hub, row.repeat(hub.n_nodes, 1))
        )

    def test_means(self, compiled, hub, normal):
        items, users = normal(hub.n_items, 7), normal(hub.n_users, 7, seed=1)
        out = torch.empty_like(users)
        kernels.mean_of_items(hub, items, out)
        expected = kernels.shares_of_users(hub, users, items)
        for one, other in zip(self.views(items), self.views(users), strict=True):
            again = torch.empty_like(users)
            kernels.mean_of_items(hub, one, again)
            assert torch.equal(again, out)
            assert torch.equal(kernels.shares_of_users(hub, other, one), expected)

    def test_a_result_is_never_written_to_a_copy(self, compiled, hub, normal):
        with pytest.raises(TypeError):
            kernels.mean_of_items(hub, normal(hub.n_items, 7), torch.empty(7, hub.n_users).T)
