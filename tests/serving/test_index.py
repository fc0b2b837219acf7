"""Exact search and faiss against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.errors import BundleError
from recmind.kernels import binding
from recmind.serving import index as module
from recmind.serving import search as searches
from recmind.serving.index import FaissSearch, build_index, open_search
from recmind.serving.search import ExactSearch

KINDS = ("ivf", "hnsw")


def tables(n: int = 3000, dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Items around 60 directions, with a column of popularity, and queries like them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((60, dim))
    items = centres[rng.integers(0, 60, n)] + 0.5 * rng.standard_normal((n, dim))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    items = np.hstack([items, rng.random((n, 1))]).astype(np.float32)
    queries = items[rng.integers(0, n, 80)] + 0.1 * rng.standard_normal((80, dim + 1))
    return items, queries.astype(np.float32)


def sorted_out(
    items: np.ndarray, query: np.ndarray, k: int, left_out: np.ndarray, admitted: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    scores = items @ query
    scores[left_out] = -np.inf
    if admitted is not None:
        scores[~admitted] = -np.inf
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])][:k]
    return scores[order], order


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60),
    b=st.integers(1, 7),
    k=st.integers(1, 70),
    seed=st.integers(0, 1000),
    share=st.none() | st.floats(0, 1),
    limit=st.sampled_from([0, 20_000]),
    compiled=st.booleans(),
)
def test_exact_search_is_sorting(n: int, b: int, k: int, seed: int, share: float | None, limit: int, compiled: bool):
    rng = np.random.default_rng(seed)
    items, queries = rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal((b, 5)).astype(np.float32)
    left_out = [np.sort(rng.permutation(n)[: rng.integers(0, n + 1)]).astype(np.int32) for _ in range(b)]
    admitted = None if share is None else rng.random(n) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searches, "GATHERED", limit)  # both ways: few items one by one, many through the whole table
        if not compiled:
            patch.setattr(binding, "cpu", None)
        scores, codes = ExactSearch(items)(queries, k, left_out, admitted)
    assert scores.shape == codes.shape == (b, k)
    for row in range(b):
        expected, order = sorted_out(items, queries[row], k, left_out[row], admitted)
        there = codes[row] >= 0
        assert there.sum() == len(order)
        assert not np.isfinite(scores[row, ~there]).any()
        np.testing.assert_allclose(scores[row, there], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(np.sort(codes[row, there]), np.sort(order))


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_that_is_stored_is_the_one_that_is_found(kind: str):
    items, queries = tables()
    built = build_index(items, queries, kind)  # type: ignore[arg-type]
    assert built.about["kind"] == kind
    assert built.about["recall@20"] >= module.TARGET_RECALL
    search = open_search(items, built.content, built.about)
    nothing = [np.empty(0, dtype=np.int32)] * len(queries)
    found = search(queries, 20, nothing)[1]
    hits = [len(set(found[row]) & set(np.argsort(-(items @ queries[row]))[:20])) for row in range(len(queries))]
    # The search may look further than what was measured, never less far.
    assert sum(hits) / (20 * len(queries)) >= built.about["recall@20"] - 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0, 20_000])
def test_an_index_lists_nothing_that_is_left_out_or_not_admitted(
    kind: str, limit: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "GATHERED", limit)
    items, queries = tables()
    built = build_index(items, queries, kind)  # type: ignore[arg-type]
    search = open_search(items, built.content, built.about)
    rng = np.random.default_rng(1)
    admitted = rng.random(len(items)) < 0.5
    best = np.argsort(-(queries @ items.T), axis=1)
    left_out = [np.sort(best[row, :30]).astype(np.int32) for row in range(len(queries))]
    scores, codes = search(queries, 20, left_out, admitted)
    hits = 0
    for row in range(len(queries)):
        assert admitted[codes[row]].all()
        assert not set(codes[row]) & set(left_out[row])
        np.testing.assert_allclose(scores[row], items[codes[row]] @ queries[row], rtol=1e-4, atol=1e-5)
        expected = sorted_out(items, queries[row], 20, left_out[row], admitted)[1]
        hits += len(set(expected) & set(codes[row]))
    assert hits / (20 * len(queries)) > 0.9


def test_small_catalogues_are_searched_exactly_and_large_ones_are_not(monkeypatch: pytest.MonkeyPatch):
    items, queries = tables()
    assert build_index(items, queries).content is None
    monkeypatch.setattr(module, "EXACT_BELOW", len(items) - 1)
    assert build_index(items, queries).about["kind"] == "ivf"


def test_an_index_that_cannot_reach_its_recall_is_not_used(monkeypatch: pytest.MonkeyPatch):
    items, queries = tables()
    monkeypatch.setattr(module, "_WIDTHS", {"ivf": (1,)})
    built = build_index(items, queries, "ivf")
    assert built.content is None
    assert built.about["kind"] == "exact"
    assert built.about["measured"]["1"] < module.TARGET_RECALL


@pytest.mark.parametrize("kind", KINDS)
def test_far_down_an_index_is_as_good_as_at_the_front(kind: str):
    items, queries = tables()
    built = build_index(items, queries, kind)  # type: ignore[arg-type]
    assert built.about["deep_width"] >= built.about["width"]
    search = open_search(items, built.content, built.about)
    found = search(queries, 160, [np.empty(0, dtype=np.int32)] * len(queries))[1]
    best = np.argsort(-(queries @ items.T), axis=1)[:, :160]
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, best, strict=True))
    assert hits / best.size >= module.TARGET_RECALL - 1e-4


def test_an_index_of_before_is_read_as_it_was():
    import faiss

    items, queries = tables()
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(17), 17, 40, faiss.METRIC_INNER_PRODUCT)
    index.train(items)
    index.add(items)
    about = {"kind": "ivf", "width": 30, "recall@20": 1.0}
    found = open_search(items, faiss.serialize_index(index), about)(queries, 20, [np.empty(0, np.int32)] * 80)
    best = np.argsort(-(queries @ items.T), axis=1)[:, :20]
    assert (found[1] == best).mean() > 0.95


def test_an_index_of_another_catalogue_is_refused():
    items, queries = tables()
    built = build_index(items, queries, "ivf")
    assert built.content is not None
    with pytest.raises(BundleError, match="another catalogue"):
        FaissSearch(items[:-1], built.content, built.about)


def test_an_empty_catalogue():
    items = np.empty((0, 4), dtype=np.float32)
    scores, codes = open_search(items, None, {})(np.ones((2, 4), dtype=np.float32), 3, [np.empty(0, np.int32)] * 2)
    assert codes.tolist() == [[-1] * 3] * 2
    assert not np.isfinite(scores).any()
