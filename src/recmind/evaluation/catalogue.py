"""What the lists do to the catalogue: how much of it they show, and how popular that is.

Popularity is the training degree: the number of training interactions of an
item. All functions take lists ``(n_users, k)`` of item codes padded with -1.
"""

from __future__ import annotations

import numpy as np

HEAD_SHARE = 0.8
"""The most popular items that together hold this share of the training interactions are the head."""


def catalogue_metrics(lists: np.ndarray, degrees: np.ndarray, n_trained_users: int, k: int) -> dict[str, float]:
    """Every metric of this module under its name ``...@K``.

    Parameters
    ----------
    lists:
        Item codes, best first, -1 where a list is shorter, ``(n_users, k)``.
    degrees:
        Training interactions of each item, ``(n_items,)``.
    n_trained_users:
        Users with a training interaction.
    """
    return {
        f"coverage@{k}": coverage(lists, len(degrees)),
        f"novelty@{k}": novelty(lists, degrees, n_trained_users),
        f"gini@{k}": gini(lists, len(degrees)),
        f"average_popularity@{k}": average_popularity(lists, degrees),
        f"long_tail_share@{k}": long_tail_share(lists, degrees),
    }


def coverage(lists: np.ndarray, n_items: int) -> float:
    r"""Share of the catalogue that stands in at least one list.

    .. math:: Coverage@K = |\bigcup_u L_u| / |I|

    (Ge, Delgado-Battenfeld and Jannach, "Beyond Accuracy", RecSys 2010.)

    Examples
    --------
    >>> coverage(np.array([[0, 1], [1, -1]]), n_items=8)
    0.25
    """
    return float((_counts(lists, n_items) > 0).mean())


def novelty(lists: np.ndarray, degrees: np.ndarray, n_trained_users: int) -> float:
    r"""Mean self-information of a listed item, in bits.

    .. math:: Novelty@K = mean_u \frac{1}{|L_u|} \sum_{i \in L_u} -\log_2 \frac{\max(degree_i, 1)}{|U|}

    (Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender
    systems", PNAS 2010.) An item that nobody has counts as if one user had it,
    since its information would be infinite.

    Examples
    --------
    >>> novelty(np.array([[0, 1]]), degrees=np.array([8, 2]), n_trained_users=8)
    1.0
    """
    return _mean_of_lists(lists, -np.log2(np.maximum(degrees, 1) / max(n_trained_users, 1)))


def gini(lists: np.ndarray, n_items: int) -> float:
    r"""Inequality of how often each item of the catalogue is listed: 0 all alike, near 1 all on one.

    .. math:: Gini@K = \frac{\sum_{j=1}^{n} (2j - n - 1)\, c_{(j)}}{n \sum_j c_j}, \quad n = |I|

    with c_(j) the counts in ascending order (Fleder and Hosanagar, "Blockbuster
    Culture's Next Rise or Fall", Management Science 2009). Empty lists give 0.

    Examples
    --------
    >>> gini(np.array([[0], [0], [0]]), n_items=4)
    0.75
    """
    counts = np.sort(_counts(lists, n_items))
    total = counts.sum()
    if total == 0:
        return 0.0
    weights = 2.0 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ counts / (n_items * total))


def average_popularity(lists: np.ndarray, degrees: np.ndarray) -> float:
    r"""Mean training degree of a listed item.

    .. math:: ARP@K = mean_u \frac{1}{|L_u|} \sum_{i \in L_u} degree_i

    (Yin et al., "Challenging the Long Tail Recommendation", VLDB 2012.)

    Examples
    --------
    >>> average_popularity(np.array([[0, 1], [1, -1]]), degrees=np.array([8, 2]))
    3.5
    """
    return _mean_of_lists(lists, degrees.astype(np.float64))


def long_tail_share(lists: np.ndarray, degrees: np.ndarray) -> float:
    r"""Mean share of a list that is outside the head.

    .. math:: APLT@K = mean_u |L_u \setminus Head| / |L_u|

    The head are the most popular items that together hold 80% of the training
    interactions; items as popular as the last of them belong to it too, so that
    codes do not decide (Abdollahpouri, Burke and Mobasher, "Managing Popularity
    Bias in Recommender Systems with Personalized Re-ranking", FLAIRS 2019).

    Examples
    --------
    The first item alone holds 80% of the interactions.

    >>> long_tail_share(np.array([[0, 1], [2, 1]]), degrees=np.array([8, 1, 1]))
    0.75
    """
    return _mean_of_lists(lists, (degrees < _head_degree(degrees)).astype(np.float64))


def _head_degree(degrees: np.ndarray) -> int:
    """The smallest degree in the head."""
    ordered = np.sort(degrees)[::-1]
    held = np.cumsum(ordered)
    return int(ordered[np.searchsorted(held, HEAD_SHARE * held[-1])])


def _counts(lists: np.ndarray, n_items: int) -> np.ndarray:
    return np.bincount(lists[lists >= 0], minlength=n_items)


def _mean_of_lists(lists: np.ndarray, per_item: np.ndarray) -> float:
    """Mean over the lists that are not empty of the mean over their items."""
    listed = lists >= 0
    lengths = listed.sum(axis=1)
    sums = np.where(listed, per_item[np.maximum(lists, 0)], 0.0).sum(axis=1)
    return float((sums[lengths > 0] / lengths[lengths > 0]).mean()) if lengths.any() else 0.0
