"""Lists that do not say the same thing twice: maximal marginal relevance."""

from __future__ import annotations

import numpy as np

POOL = 10
"""Candidates for each place of a list."""
MOST = 500
"""Candidates at most."""


def pool_size(k: int) -> int:
    """How many of the best items a list of k is chosen from."""
    return max(k, min(max(POOL * k, 100), MOST))


def diversify(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Places of the k items chosen one after the other by maximal marginal relevance (Carbonell and Goldstein 1998).

    Each choice is the largest (1-λ) r_i - λ max_{j chosen} cos(v_i, v_j), with
    r the scores of the candidates brought to [0, 1], so that λ means the same
    for every model. Of equal candidates the one with the larger score comes
    first, then the one that stands first.

    Parameters
    ----------
    scores:
        Of the candidates, largest first, ``(n,)``.
    vectors:
        Theirs, ``(n, d)``.
    k:
        How many to choose.
    diversity:
        λ, 0 (the order of the scores) to 1.

    Returns
    -------
    ndarray
        int64 ``(min(k, n),)``, in the order of choice.
    """
    n = len(scores)
    k = min(k, n)
    if diversity == 0 or n == 0:
        return np.arange(k)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.maximum(lengths, 1e-12)
    spread = float(scores[0] - scores[-1])
    relevance = (1 - diversity) * ((scores - scores[-1]) / spread if spread > 0 else np.ones(n))
    nearest = np.full(n, 0.0)
    free = np.ones(n, dtype=bool)
    chosen = np.empty(k, dtype=np.int64)
    for place in range(k):
        marginal = np.where(free, relevance - diversity * nearest, -np.inf)
        chosen[place] = best = int(marginal.argmax())
        free[best] = False
        likeness = directions @ directions[best]
        nearest = likeness if place == 0 else np.maximum(nearest, likeness)
    return chosen
