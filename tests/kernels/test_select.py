"""The scan of products: every instruction set against a full sort of the same scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array
from torch import Tensor

from recmind.kernels import scan

INF, NAN = torch.inf, torch.nan


def left_out_of(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return starts, np.array([item for row in rows for item in sorted(row)], dtype=np.int32)


def check(
    users: Tensor,
    items: Tensor,
    wanted: int,
    left_out: list[list[int]] | None = None,
    raised: csr_array | None = None,
) -> None:
    """Values equal to a full sort of the scores, each named item has its value, none is named twice or left out."""
    values, columns = scan.best_products(users, items, wanted, left_out_of(left_out) if left_out else None, raised)
    scores = scan.all_products(users, items)
    if raised is not None:
        scores += torch.from_numpy(raised.toarray())
    for row, gone in enumerate(left_out or []):
        scores[row, gone] = -INF
    assert torch.equal(values, scores.sort(dim=1, descending=True).values[:, :wanted])
    assert bool(((columns == -1) == (values == -INF)).all())
    assert torch.equal(scores.gather(1, columns.clamp(min=0))[columns >= 0], values[columns >= 0])
    for row in columns.tolist():
        named = [item for item in row if item >= 0]
        assert len(named) == len(set(named))


def some(n_users: int, n_items: int, density: float, seed: int = 0) -> csr_array:
    """What is added to some of the scores; a few of it below zero."""
    table = random_array((n_users, n_items), density=density, format="csr", rng=seed, dtype=np.float32)
    table.data -= np.float32(0.2)
    table.sort_indices()
    return csr_array(table)


@pytest.mark.usefixtures("compiled")
class TestBest:
    @given(
        n_users=st.integers(1, 20),
        n_items=st.integers(1, 700),
        d=st.integers(1, 20),
        levels=st.sampled_from([1, 2, 10, 10**6]),
        place=st.sampled_from(["1", "n-1", "n", "any"]),
        share=st.sampled_from([0.0, 0.1, 0.97, 1.0]),
        raised=st.sampled_from([None, 0.0, 0.02, 0.3, 1.0]),
        seed=st.integers(0, 1000),
    )
    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_equals_a_full_sort(self, n_users, n_items, d, levels, place, share, raised, seed):
        rng = np.random.default_rng(seed)
        users, items = (
            torch.from_numpy(rng.integers(-levels, levels, (n, d)).astype(np.float32) / levels)
            for n in (n_users, n_items)
        )
        wanted = {"1": 1, "n-1": max(1, n_items - 1), "n": n_items, "any": int(rng.integers(1, n_items + 1))}[place]
        gone = [np.flatnonzero(rng.random(n_items) < share).tolist() for _ in range(n_users)]
        check(users, items, wanted, gone, None if raised is None else some(n_users, n_items, raised, seed))

    @pytest.mark.parametrize("order", ["ascending", "descending", "organ pipe", "sawtooth"])
    @pytest.mark.parametrize("wanted", [1, 41, 3000])
    def test_any_order_of_the_catalogue(self, order, wanted):
        n = torch.arange(5000.0)
        score = {"ascending": n, "descending": -n, "organ pipe": (n - 2500).abs(), "sawtooth": n % 97}[order]
        check(torch.tensor([[1.0], [-1.0], [0.5]]), score[:, None], wanted)

    def test_more_users_than_one_chunk_holds(self):
        generator = torch.Generator().manual_seed(0)
        users, items = (torch.randn(n, 8, generator=generator) for n in (1100, 300))
        check(users, items, 11, [[row % 300, (7 * row + 1) % 300] for row in range(1100)], some(1100, 300, 0.1))

    def test_infinities_are_scores_but_minus_infinity_is_not_named(self):
        items = torch.tensor([0.0, INF, -INF, 3.0, INF, -INF])[:, None]
        values, columns = scan.best_products(torch.ones(1, 1), items, 6)
        assert values.tolist() == [[INF, INF, 3.0, 0.0, -INF, -INF]]
        assert (sorted(columns[0, :2].tolist()), columns[0, 2:].tolist()) == ([1, 4], [3, 0, -1, -1])

    @pytest.mark.parametrize("item", [0, 1, 63, 64, 500, 998])
    @pytest.mark.parametrize("fill", [0.0, INF])
    def test_nan_anywhere_marks_its_row_alone(self, item, fill):
        items = torch.full((999, 2), fill)
        items[:, 1] = 1.0
        items[item, 0] = NAN
        values, columns = scan.best_products(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).roll(1, 0), items, 5)
        assert torch.isnan(values[1]).all()
        assert columns[1].tolist() == [-1] * 5

    def test_what_is_raised_does_not_mend_a_nan(self):
        raised = csr_array(np.array([[5.0, 0.0, 7.0]], dtype=np.float32))
        values, _ = scan.best_products(torch.ones(1, 1), torch.tensor([1.0, 2.0, NAN])[:, None], 2, None, raised)
        assert torch.isnan(values).all()

    @pytest.mark.parametrize(
        ("starts", "columns", "message"),
        [
            ([0, 2, 3], [1, 0, 4], "columns ascend"),
            ([0, 2, 3], [1, 1, 4], "columns ascend"),
            ([0, 2, 3], [1, 2, 5], "within bounds"),
            ([0, 2, 3], [-1, 2, 4], "within bounds"),
            ([0, 2, 2], [1, 2, 4], "end with the number"),
            ([0, 3], [1, 2, 4], "one more than the users"),
            ([0, 4, 3], [1, 2, 4], "do not fall"),
        ],
    )
    def test_rows_that_are_none_are_refused(self, starts, columns, message):
        wrong = SimpleNamespace(
            indptr=np.array(starts), indices=np.array(columns, dtype=np.int32), data=np.ones(3, dtype=np.float32)
        )
        with pytest.raises(ValueError, match=message):
            scan.best_products(torch.ones(2, 2), torch.ones(5, 2), 1, None, wrong)

    def test_all_nan(self):
        values, _ = scan.best_products(torch.ones(7, 3), torch.full((2000, 3), NAN), 5)
        assert torch.isnan(values).all()

    def test_nan_that_is_left_out_does_no_harm(self):
        items = torch.tensor([1.0, NAN, 2.0])[:, None]
        values, columns = scan.best_products(torch.ones(1, 1), items, 2, left_out_of([[1]]))
        assert (values.tolist(), columns.tolist()) == ([[2.0, 1.0]], [[2, 0]])

    def test_vectors_of_infinity_do_not_meet_the_padding(self):
        values, columns = scan.best_products(torch.full((1, 2), INF), torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), 2)
        assert (values.tolist(), columns.tolist()) == ([[INF, -INF]], [[0, -1]])

    def test_no_users(self):
        values, columns = scan.best_products(torch.empty(0, 4), torch.ones(9, 4), 3)
        assert values.shape == columns.shape == (0, 3)

    def test_threads_do_not_change_a_bit(self, with_threads):
        generator = torch.Generator().manual_seed(1)
        users, items = (torch.randint(-2, 3, (n, 6), generator=generator).float() for n in (1500, 700))
        found = []
        for threads in (1, 2, 5):
            with_threads(threads)
            found.append(scan.best_products(users, items, 30))
        assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.usefixtures("compiled")
class TestProducts:
    @pytest.mark.parametrize(("n_users", "n_items", "d"), [(1, 1, 1), (5, 64, 3), (13, 131, 64), (30, 700, 129)])
    def test_near_float64_and_the_same_bits_in_every_function(self, n_users, n_items, d):
        generator = torch.Generator().manual_seed(d)
        users, items = (torch.randn(n, d, generator=generator) for n in (n_users, n_items))
        scores = scan.all_products(users, items)
        bound = (d + 1) * 2.0**-24 * (users.double().abs() @ items.double().abs().T)
        assert bool(((scores.double() - users.double() @ items.double().T).abs() <= bound).all())
        rows, columns = (
            x.reshape(-1) for x in torch.meshgrid(torch.arange(n_users), torch.arange(n_items), indexing="ij")
        )
        assert torch.equal(scan.pair_products(users, items, rows, columns).view(n_users, n_items), scores)
        assert torch.equal(scan.all_products(users[2:3], items), scores[2:3])
        values, found = scan.best_products(users, items, n_items)
        assert torch.equal(scores.gather(1, found), values)

    @pytest.mark.parametrize("pair", [(-1, 0), (3, 0), (0, 5), (0, -1)])
    def test_a_pair_outside_is_refused(self, pair):
        row, column = (torch.tensor([code]) for code in pair)
        with pytest.raises(ValueError, match="outside"):
            scan.pair_products(torch.ones(3, 2), torch.ones(5, 2), row, column)

    @pytest.mark.parametrize("wanted", [0, 6])
    def test_more_than_there_are_is_refused(self, wanted):
        with pytest.raises(ValueError, match="wanted is 1 to n_items"):
            scan.best_products(torch.ones(3, 2), torch.ones(5, 2), wanted)
