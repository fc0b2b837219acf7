"""What came next: how often one item was followed by another, as a sparse term of the score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from recmind.config import ModelConfig
from recmind.kernels.sparse import matmul
from recmind.model.graph import BipartiteGraph
from recmind.model.recent import latest_items, weights_of

_PAIRS = 2**22  # pairs of interactions that are counted at once


def transitions(graph: BipartiteGraph, *, window: int, decay: float, shrink: float, keep: int) -> csr_array:
    """T: how much of what came after item j was item i.

    c_ji = Σ decay^(q-p-1) over all places p < q ≤ p + window of a user's history with j at p and i at q, and
    T_ji = c_ji / (Σ_i' c_ji' + shrink). These are the sequential rules of Ludewig and Jannach (2018, section 3.1)
    and with a window of 1 the Markov chain of first order, shrunk so that an item that was followed once says little.

    Time is that of window x interactions, memory that of what is kept.

    Parameters
    ----------
    window, decay, shrink:
        As above.
    keep:
        How many of an item's largest T_ji stay, the smaller codes of equals.

    Returns
    -------
    csr_array
        float32 ``(n_items, n_items)``, columns ascending in each row, no row with a sum above 1.
    """
    in_time = graph.in_time.cpu().numpy()
    offsets = graph.offsets[: graph.n_users + 1].cpu().numpy()
    ends = np.repeat(offsets[1:], np.diff(offsets))  # where the history of each place ends
    by_item = np.argsort(in_time, kind="stable")
    starts = np.zeros(graph.n_items + 1, dtype=np.int64)
    np.cumsum(np.bincount(in_time, minlength=graph.n_items), out=starts[1:])
    steps = np.arange(1, window + 1)
    shares = decay ** (steps - 1.0)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    first = 0
    while first < graph.n_items:
        # As many items as have so many pairs together, and at least one.
        last = int(np.searchsorted(starts, starts[first] + _PAIRS // window, side="right")) - 1
        last = min(max(last, first + 1), graph.n_items)
        places = by_item[starts[first] : starts[last]]
        after = places[:, None] + steps
        there = after < ends[places, None]
        of = np.broadcast_to(in_time[places, None], after.shape)[there] - first
        counted = np.broadcast_to(shares, after.shape)[there], (of, in_time[after[there]])
        block = coo_array(counted, shape=(last - first, graph.n_items)).tocsr()
        found = _largest(block, last - first, keep, shrink)
        rows.append(found[0] + first)
        columns.append(found[1])
        values.append(found[2])
        first = last
    where = np.concatenate([np.zeros(0, np.int64), *rows]), np.concatenate([np.zeros(0, np.int64), *columns])
    kept = np.concatenate([np.zeros(0, np.float32), *values])
    table = coo_array((kept, where), shape=(graph.n_items, graph.n_items)).tocsr()
    table.sort_indices()
    return table


def _largest(counts: csr_array, n: int, keep: int, shrink: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and shares of the ``keep`` largest of each of n rows of counts."""
    counts.eliminate_zeros()
    sums = counts.sum(axis=1)
    rows, columns = np.repeat(np.arange(n), np.diff(counts.indptr)), counts.indices
    values = (counts.data / (sums[rows] + shrink)).astype(np.float32)
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    begins = np.searchsorted(rows, np.arange(n))
    small = np.arange(len(rows)) - begins[rows] < keep
    return rows[small], columns[small], values[small]


def counted(graph: BipartiteGraph, config: ModelConfig) -> csr_array:
    """T by ``model.transitions``."""
    settings = config.transitions
    return transitions(graph, window=settings.window, decay=settings.decay, shrink=settings.shrink, keep=settings.keep)


def latest_shares(graph: BipartiteGraph, config: ModelConfig) -> csr_array:
    """ω of every user's latest items by ``model.transitions``, csr float32 ``(n_users, n_items)``."""
    settings = config.transitions
    users = torch.arange(graph.n_users, device=graph.offsets.device)
    items, there = latest_items(graph, users, min(settings.items, graph.n_interactions))
    rows, places = torch.nonzero(there, as_tuple=True)
    shares = weights_of(there, settings.recency)[rows, places].float().cpu().numpy()
    where = rows.cpu().numpy(), items[rows, places].cpu().numpy()
    return coo_array((shares, where), shape=(graph.n_users, graph.n_items)).tocsr()


@dataclass(frozen=True)
class ComesNext:
    """σ Σ_m ω_m T_{j_m, i}: what came after a user's latest items j_m, as scores that are zero almost everywhere.

    Graph and language make items alike that the same people have, in whatever
    order, and put what two items have in common into 64 numbers. That after
    the second volume comes the third, and after this printer that cartridge,
    is a matter of single pairs: it is counted.

    Attributes
    ----------
    latest:
        ω of each user's latest items, csr ``(n_users, n_items)``; see :func:`~recmind.model.recent.weights_of`.
    table:
        T, csr ``(n_items, n_items)``.
    weight:
        σ.
    """

    latest: csr_array
    table: csr_array
    weight: float

    @classmethod
    def of(cls, graph: BipartiteGraph, config: ModelConfig, weight: float) -> ComesNext:
        """Counted in the histories of a graph, by ``model.transitions``."""
        return cls(latest_shares(graph, config), counted(graph, config), weight)

    def scores(self, users: np.ndarray) -> csr_array:
        """What is added to the scores of ``users``, csr float32 ``(b, n_items)``, no entry below zero."""
        return matmul(self.latest[users], self._weighted)

    def of_item(self, item: int) -> np.ndarray:
        """What is added to the scores of one item, ``(n_users,)``."""
        return self.latest @ self._weighted[:, [item]].toarray()[:, 0]

    def add_(self, scores: Tensor, users: np.ndarray) -> Tensor:
        """``scores`` ``(b, n_items)`` with what is added, in place."""
        added = self.scores(users).tocoo()
        rows, columns = (torch.from_numpy(codes.astype(np.int64)).to(scores.device) for codes in added.coords)
        scores[rows, columns] += torch.from_numpy(added.data).to(scores)
        return scores

    def among(self, items: np.ndarray) -> ComesNext:
        """With some of the items as the catalogue, numbered anew; histories are as they were."""
        return replace(self, table=csr_array(self.table[:, items]))

    def with_new(self, items: np.ndarray, near: np.ndarray, shares: np.ndarray) -> ComesNext:
        """With items that came after nothing yet, raised as the items with texts like theirs are: T_ji = Σ_k S_ik T_jk.

        Parameters
        ----------
        items:
            Codes of n items without an interaction, known ones or such as stand behind them.
        near, shares:
            S: codes of the items nearest to each by text and their shares, ``(n, k)``, as
            :func:`~recmind.model.text_links.near_by_text` gives them.
        """
        rows, width = self.table.shape or (0, 0)
        n = max(width, int(items.max(initial=-1)) + 1)
        where = np.repeat(items, near.shape[1]), near.ravel()
        links = coo_array((shares.ravel().astype(np.float32), where), shape=(n, width)).tocsr()
        table = self.table.copy()
        table.resize((rows, n))
        table = csr_array(table + self.table @ links.T)
        table.sort_indices()
        return replace(self, table=table)

    @cached_property
    def _weighted(self) -> csr_array:
        return self.table * np.float32(self.weight)
