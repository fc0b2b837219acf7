"""A query against a table in bytes: the answer of the whole product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.kernels import binding
from recmind.kernels.bytes import ByteTable

from .conftest import NO_KERNELS, SETS, switched

pytestmark = [] if SETS else [NO_KERNELS]


def best(vectors: np.ndarray, query: np.ndarray, k: int, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    scores[hidden] = -np.inf
    order = np.argsort(-scores, kind="stable")[: min(k, int((~hidden).sum()))]
    return scores[order], order


@pytest.mark.parametrize("name", SETS)
@settings(deadline=None, max_examples=80)
@given(
    n=st.integers(1, 200),
    d=st.integers(1, 70),
    k=st.integers(1, 250),
    seed=st.integers(0, 10_000),
    spread=st.floats(0, 6),
    out=st.floats(0, 1),
    share=st.none() | st.floats(0, 1),
)
def test_it_is_the_whole_product(
    name: str, n: int, d: int, k: int, seed: int, spread: float, out: float, share: float | None
):
    rng = np.random.default_rng(seed)
    # Lengths of rows and of columns that differ by orders of magnitude, and rows of zeros.
    sizes = 10 ** rng.uniform(-spread / 2, spread / 2, (n, 1)) * rng.integers(0, 2, (n, 1)).clip(0, 1)
    vectors = (rng.standard_normal((n, d)) * sizes).astype(np.float32)
    query = (rng.standard_normal(d) * 10 ** rng.uniform(-spread / 2, spread / 2, d)).astype(np.float32)
    left_out = np.flatnonzero(rng.random(n) < out).astype(np.int32)
    admitted = None if share is None else rng.random(n) < share
    hidden = np.zeros(n, dtype=bool) if admitted is None else ~admitted
    hidden[left_out] = True
    with switched(name):
        scores, rows = ByteTable.of(vectors).best(query, min(k, n), left_out, admitted)
    expected, _ = best(vectors, query, min(k, n), hidden)
    assert len(set(rows.tolist())) == len(rows) == len(expected)
    assert not hidden[rows].any()
    scale = np.abs(expected).max(initial=0) + 1e-30
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4 * scale)
    np.testing.assert_allclose(vectors[rows] @ query, scores, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", SETS)
def test_few_rows_are_looked_at_again(name: str, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20_000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = []

    class Counting:
        def candidates(self, *tables, **options):
            counts.append(cpu.candidates(*tables, **options))
            return counts[-1]

    with switched(name):
        cpu = binding.cpu
        monkeypatch.setattr(binding, "cpu", Counting())
        table = ByteTable.of(vectors)
        for row in range(20):
            assert table.best(vectors[row], 20)[1][0] == row
        monkeypatch.undo()
    assert max(counts) < 100


def test_the_smallest_numbers_there_are():
    vectors = np.full((6, 3), 1e-44, dtype=np.float32)
    vectors[4] *= 3
    assert ByteTable.of(vectors).best(np.ones(3, dtype=np.float32), 1)[1].tolist() == [4]


def test_products_of_wide_rows_do_not_overflow():
    vectors = np.ones((9, 5000), dtype=np.float32)
    vectors[3] *= 2
    scores, rows = ByteTable.of(vectors).best(np.ones(5000, dtype=np.float32), 2)
    assert rows.tolist() == [3, 0]
    assert scores.tolist() == [10000, 5000]


def test_equal_rows_stand_in_their_order():
    vectors = np.ones((50, 3), dtype=np.float32)
    assert ByteTable.of(vectors).best(np.ones(3, dtype=np.float32), 4)[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("k", [0, 4])
def test_a_wrong_length_of_the_list_is_refused(k: int):
    with pytest.raises(ValueError, match="wanted is 1 to n"):
        ByteTable.of(np.ones((3, 2), dtype=np.float32)).best(np.ones(2, dtype=np.float32), k)
