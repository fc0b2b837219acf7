"""MMR against the definition, written naively."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recmind.serving.diversity import diversify, pool_size

NUMBERS = st.integers(-8, 8).map(float)


def naive(scores: list[float], vectors: np.ndarray, k: int, diversity: float) -> list[int]:
    """Carbonell and Goldstein's formula, one candidate at a time."""

    def cosine(a: int, b: int) -> float:
        lengths = np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b])
        return float(vectors[a] @ vectors[b] / lengths) if lengths else 0.0

    low, high = min(scores), max(scores)
    relevance = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        best, best_value = -1, -np.inf
        for candidate in range(len(scores)):
            if candidate in chosen:
                continue
            nearest = max((cosine(candidate, other) for other in chosen), default=0.0)
            value = (1 - diversity) * relevance[candidate] - diversity * nearest
            if value > best_value + 1e-9:
                best, best_value = candidate, value
        chosen.append(best)
    return chosen


@settings(deadline=None)
@given(data=st.data(), n=st.integers(1, 9), k=st.integers(1, 10), diversity=st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))
def test_the_choice_is_that_of_the_formula(data: st.DataObject, n: int, k: int, diversity: float):
    scores = np.sort(data.draw(arrays(np.float64, n, elements=NUMBERS)))[::-1]
    vectors = data.draw(arrays(np.float64, (n, 3), elements=NUMBERS))
    found = diversify(scores, vectors, k, diversity).tolist()
    expected = naive(scores.tolist(), vectors, k, diversity)
    # Candidates that are equally good up to rounding may change places: the values of the choices must agree.
    assert len(found) == len(set(found)) == min(k, n)
    if found != expected:
        place = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
        assert (
            abs(value(scores, vectors, found, place, diversity) - value(scores, vectors, expected, place, diversity))
            < 1e-6
        )


def value(scores: np.ndarray, vectors: np.ndarray, chosen: list[int], place: int, diversity: float) -> float:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    low, high = scores.min(), scores.max()
    relevance = (scores[chosen[place]] - low) / (high - low) if high > low else 1.0
    likeness = [
        float(vectors[chosen[place]] @ vectors[other] / lengths[chosen[place]] / lengths[other])
        for other in chosen[:place]
    ]
    return (1 - diversity) * relevance - diversity * max(likeness, default=0.0)


def test_off_is_the_order_of_the_scores():
    assert diversify(np.array([3.0, 2.0, 1.0]), np.eye(3), 2, 0.0).tolist() == [0, 1]


def test_the_same_thing_twice_waits():
    vectors = np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
    assert diversify(np.array([1.0, 0.9, 0.5]), vectors, 3, 0.5).tolist() == [0, 2, 1]


def test_nothing_to_choose_from():
    assert diversify(np.empty(0), np.empty((0, 3)), 5, 0.5).tolist() == []


def test_the_pool_is_never_smaller_than_the_list():
    assert pool_size(1) == 100
    assert pool_size(20) == 200
    assert pool_size(1000) == 1000
