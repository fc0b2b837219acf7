r"""Accuracy metrics at a cutoff, as expectations under random tie-breaking.

A target that ``above`` items beat and that shares its score with ``tied`` items
(itself included) stands, when ties are broken at random, on each of the
positions above + 1 .. above + tied with the same probability. Every metric here
is its exact expectation over that draw (McSherry and Najork, "Computing
Information Retrieval Performance Measures Efficiently in the Presence of Tied
Scores", ECIR 2008), also where several targets of one user are tied with each
other: see the note of each metric. So equal scores neither help nor harm, and a
constant scorer gets what chance gives.

Throughout, T_u are the targets of user u and rank(t) is the position of target
t in u's list, from 1. A metric of a group is the mean over its users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranks:
    """Where the targets of ``n_users`` users stand.

    Attributes
    ----------
    owner:
        User of each target as a row in ``[0, n_users)``, ascending, ``(n_targets,)``.
        Every user has at least one.
    above:
        How many candidates score higher, ``(n_targets,)``. A value of at least K
        counts as "outside the first K", however large.
    tied:
        How many candidates score the same, the target included, ``(n_targets,)``.
    n_users:
        Number of users.
    """

    owner: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    n_users: int

    def n_targets(self) -> np.ndarray:
        """Number of targets per user, int64 ``(n_users,)``."""
        return np.bincount(self.owner, minlength=self.n_users)


def hit_probability(ranks: Ranks, k: int) -> np.ndarray:
    r"""P(rank(t) <= K) of each target, float64 ``(n_targets,)``.

    .. math:: P(rank(t) \le K) = \min(1, \max(0, (K - above_t) / tied_t))
    """
    return np.clip((k - ranks.above) / ranks.tied, 0.0, 1.0)


def discounted_gain(ranks: Ranks, k: int) -> np.ndarray:
    r"""Expected gain of each target, float64 ``(n_targets,)``.

    .. math:: E\left[\frac{1}{\log_2(rank(t) + 1)} 1\{rank(t) \le K\}\right]
    """
    total = _cumulative_discount(k)
    first = np.minimum(ranks.above, k)
    last = np.minimum(ranks.above + ranks.tied, k)
    return (total[last] - total[first]) / ranks.tied


def recall(ranks: Ranks, k: int) -> np.ndarray:
    r"""Recall@K of each user, float64 ``(n_users,)``.

    .. math:: Recall@K(u) = \frac{1}{|T_u|} \sum_{t \in T_u} 1\{rank(t) \le K\}

    Divided by all targets, also where there are more than K (Herlocker et al.,
    "Evaluating Collaborative Filtering Recommender Systems", TOIS 2004). Linear
    in the targets, so the expectation is exact with any ties.

    Examples
    --------
    User 0 has two targets, on positions 1 and 6; user 1 has one on position 4.

    >>> ranks = Ranks(np.array([0, 0, 1]), above=np.array([0, 5, 3]), tied=np.array([1, 1, 1]), n_users=2)
    >>> recall(ranks, 4)
    array([0.5, 1. ])
    """
    return _per_user(ranks, hit_probability(ranks, k)) / ranks.n_targets()


def ndcg(ranks: Ranks, k: int) -> np.ndarray:
    r"""NDCG@K of each user, float64 ``(n_users,)``.

    .. math::
        NDCG@K(u) = \frac{\sum_{t \in T_u} 1\{rank(t) \le K\} / \log_2(rank(t) + 1)}
                         {\sum_{r=1}^{\min(K, |T_u|)} 1 / \log_2(r + 1)}

    Binary relevance; the ideal list is cut at K too (Järvelin and Kekäläinen,
    "Cumulated Gain-based Evaluation of IR Techniques", TOIS 2002). Linear in the
    targets, so the expectation is exact with any ties.

    Examples
    --------
    >>> ranks = Ranks(np.array([0]), above=np.array([2]), tied=np.array([1]), n_users=1)
    >>> ndcg(ranks, 20)  # position 3: 1 / log2(4)
    array([0.5])
    """
    ideal = _cumulative_discount(k)[np.minimum(ranks.n_targets(), k)]
    return _per_user(ranks, discounted_gain(ranks, k)) / ideal


def hit_rate(ranks: Ranks, k: int) -> np.ndarray:
    r"""HitRate@K of each user, float64 ``(n_users,)``.

    .. math:: HitRate@K(u) = 1\{\min_{t \in T_u} rank(t) \le K\}

    (Deshpande and Karypis, "Item-based Top-N Recommendation Algorithms", TOIS
    2004.) With one target it equals Recall. Where the best score is shared by e
    items of which m are targets, the place of the first of these among the e
    follows the negative hypergeometric law; the expectation is taken over it.

    Examples
    --------
    Two targets among four tied items: P(neither in the first two) = 2/4 * 1/3.

    >>> ranks = Ranks(np.array([0, 0]), above=np.array([0, 0]), tied=np.array([4, 4]), n_users=1)
    >>> hit_rate(ranks, 2).round(4)
    array([0.8333])
    """
    result = np.zeros(ranks.n_users)
    for _, probability in _first_hit(ranks, k):
        result += probability
    return np.minimum(result, 1.0)


def mrr(ranks: Ranks, k: int) -> np.ndarray:
    r"""Reciprocal rank at K of each user, float64 ``(n_users,)``.

    .. math:: RR@K(u) = \max_{t \in T_u} 1\{rank(t) \le K\} / rank(t)

    (Voorhees, "The TREC-8 Question Answering Track Report", 1999.) Ties as in
    :func:`hit_rate`: the expectation over the place of the first target.

    Examples
    --------
    One target tied with another item on positions 1 and 2: (1/1 + 1/2) / 2.

    >>> ranks = Ranks(np.array([0]), above=np.array([0]), tied=np.array([2]), n_users=1)
    >>> mrr(ranks, 20)
    array([0.75])
    """
    result = np.zeros(ranks.n_users)
    for position, probability in _first_hit(ranks, k):
        result += probability / position
    return result


def average_precision(ranks: Ranks, k: int) -> np.ndarray:
    r"""Average precision at K of each user, float64 ``(n_users,)``; its mean is MAP@K.

    .. math::
        AP@K(u) = \frac{1}{|T_u|} \sum_{t \in T_u} 1\{rank(t) \le K\}
                  \frac{|\{s \in T_u : rank(s) \le rank(t)\}|}{rank(t)}

    Divided by all targets, as trec_eval's ``map_cut`` does (Buckley and
    Voorhees, "Evaluating Evaluation Measure Stability", SIGIR 2000). Where e
    tied items hold m targets, h targets stand above and g items do, place j among
    the e holds a target with probability m/e and then has (j-1)(m-1)/(e-1)
    targets of the same score before it on average, so the expectation is

    .. math:: \sum_{j=1}^{\min(e, K-g)} \frac{m}{e} \cdot \frac{h + 1 + (j-1)(m-1)/(e-1)}{g + j}

    Examples
    --------
    Targets on positions 1 and 4: (1/1 + 2/4) / 2.

    >>> ranks = Ranks(np.array([0, 0]), above=np.array([0, 3]), tied=np.array([1, 1]), n_users=1)
    >>> average_precision(ranks, 20)
    array([0.75])
    """
    before, among = _companions(ranks)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, k + 1))])
    first = np.minimum(ranks.above, k)
    last = np.minimum(ranks.above + ranks.tied, k)
    density = (among - 1) / np.maximum(ranks.tied - 1, 1)
    # h + 1 + (j-1) a = a (g + j) + (h + 1 - a (g + 1)): a constant and a harmonic part.
    constant = density * (last - first)
    rest = (before + 1 - density * (first + 1)) * (harmonic[last] - harmonic[first])
    return _per_user(ranks, (constant + rest) / ranks.tied) / ranks.n_targets()


ACCURACY: dict[str, Callable[[Ranks, int], np.ndarray]] = {
    "recall": recall,
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
}
"""Metrics per user by the name that stands before ``@K``."""


def _per_user(ranks: Ranks, per_target: np.ndarray) -> np.ndarray:
    return np.bincount(ranks.owner, weights=per_target, minlength=ranks.n_users)


def _cumulative_discount(k: int) -> np.ndarray:
    """Sum of 1 / log2(r + 1) over the first 0 .. k positions, ``(k + 1,)``."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))])


def _companions(ranks: Ranks) -> tuple[np.ndarray, np.ndarray]:
    """Of each target: the user's other targets with a higher score, and those with the same (itself included)."""
    order = np.lexsort((ranks.above, ranks.owner))
    owner, above = ranks.owner[order], ranks.above[order]
    new_user = np.ones(len(order), dtype=bool)
    new_user[1:] = owner[1:] != owner[:-1]
    new_level = new_user.copy()
    new_level[1:] |= above[1:] != above[:-1]
    level = np.cumsum(new_level) - 1
    level_start = np.flatnonzero(new_level)
    user_start = np.flatnonzero(new_user)[np.cumsum(new_user) - 1]
    before, among = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    before[order] = level_start[level] - user_start
    among[order] = np.bincount(level)[level]
    return before, among


def _first_hit(ranks: Ranks, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of a user's first target with their probabilities, each ``(n_users,)``, up to position K.

    Only the targets with the user's highest target score can come first. Among
    e tied items with m targets, P(first on place 1) = m/e and
    P(place j + 1) = P(place j) (e - j - m + 1) / (e - j).
    """
    _, among = _companions(ranks)
    order = np.lexsort((ranks.above, ranks.owner))
    best = order[np.searchsorted(ranks.owner[order], np.arange(ranks.n_users))]
    above, tied, among = ranks.above[best], ranks.tied[best], among[best]
    probability = np.where(above < k, among / tied, 0.0)
    for j in range(1, k + 1):
        if not probability.any():
            return
        yield above + j, probability
        still = (above + j < k) & (j < tied)
        step = np.maximum(tied - j - among + 1, 0) / np.maximum(tied - j, 1)
        probability = np.where(still, probability * step, 0.0)
