"""Products of sparse matrices against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from recmind.kernels import sparse


def some(rows: int, columns: int, density: float, seed: int) -> csr_array:
    return csr_array(random_array((rows, columns), density=density, format="csr", rng=seed, dtype=np.float32))


def check(a: csr_array, b: csr_array, **options: int) -> csr_array:
    found, expected = sparse.matmul(a, b, **options), csr_array(a @ b)
    expected.sort_indices()
    assert found.shape == expected.shape and found.dtype == np.float32
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(found.data, expected.data, rtol=1e-6)
    return found


@given(
    m=st.integers(0, 40),
    n=st.integers(1, 70),
    p=st.integers(1, 200),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_scipy(body, m, n, p, density, seed):
    check(some(m, n, density, seed), some(n, p, density, seed + 1))


def test_more_rows_than_one_chunk_and_any_threads(body):
    a, b = some(700, 90, 0.1, 0), some(90, 1000, 0.1, 1)
    one, three = (check(a, b, threads=threads) for threads in (1, 3))
    assert one.data.tobytes() == three.data.tobytes()


def test_columns_in_any_order_and_any_width_of_numbers(body):
    shuffled = csr_array((np.array([1.0, 2.0]), np.array([2, 0], dtype=np.int64), np.array([0, 2, 2])), shape=(2, 3))
    assert sparse.matmul(shuffled, csr_array(np.eye(3))).toarray().tolist() == [[2, 0, 1], [0, 0, 0]]


@pytest.mark.usefixtures("compiled")
def test_columns_outside_are_refused():
    inside, outside = csr_array(np.eye(3, dtype=np.float32)), csr_array(np.eye(3, dtype=np.float32))
    outside.indices[1] = 7
    with pytest.raises(ValueError, match="within bounds"):
        sparse.matmul(outside, inside)
    with pytest.raises(ValueError, match="within bounds"):
        sparse.matmul(inside, outside)
