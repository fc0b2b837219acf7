"""The bipartite interaction graph in compressed rows, and subsets of its nodes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BipartiteGraph:
    """Users, items and who interacted with what; Â = D^-1/2 A D^-1/2 is its normalised adjacency.

    Nodes are numbered users first: node ``u`` is user ``u``, node
    ``n_users + i`` is item ``i``. One list of neighbours per node serves both
    directions. Weights are not kept: they follow from the degrees. Memory is 8
    bytes an interaction and 12 a node; without the compiled kernels torch's
    sparse matrices add 16 an interaction.

    Attributes
    ----------
    offsets:
        Where each node's neighbours begin, int64 ``(n_nodes + 1,)``.
    neighbours:
        Nodes, ascending within each node's list, int32 ``(2 n_interactions,)``.
    degrees:
        Training interactions per node, float32 ``(n_nodes,)``.
    n_users, n_items:
        Sizes.
    in_time:
        Items of the users as they came, user by user, int32 ``(n_interactions,)``; a user's stretch is that of the
        offsets. Shared with the split that the graph was built from.
    """

    offsets: Tensor
    neighbours: Tensor
    degrees: Tensor
    n_users: int
    n_items: int
    in_time: Tensor

    @property
    def n_nodes(self) -> int:
        """Number of users and items."""
        return self.n_users + self.n_items

    @property
    def n_interactions(self) -> int:
        """Number of training interactions."""
        return len(self.neighbours) // 2

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> BipartiteGraph:
        """The same graph on another device or with degrees in another precision."""
        moved = self.offsets.to(device), self.neighbours.to(device), self.degrees.to(device, dtype)
        return BipartiteGraph(*moved, self.n_users, self.n_items, self.in_time.to(device))

    @cached_property
    def inverse_roots(self) -> Tensor:
        """D^-1/2, 0 for a node without an edge, ``(n_nodes,)``."""
        return torch.where(self.degrees > 0, self.degrees.clamp_min(1).rsqrt(), 0)

    @cached_property
    def inverse_degrees(self) -> Tensor:
        """D^-1, 0 for a node without an edge, ``(n_nodes,)``."""
        return torch.where(self.degrees > 0, self.degrees.clamp_min(1).reciprocal(), 0)

    @cached_property
    def user_rows(self) -> Tensor:
        """The users' block of Â as torch's sparse CSR, ``(n_users, n_items)``."""
        return self._block(0, self.n_users, self.n_users, self.n_items)

    @cached_property
    def item_rows(self) -> Tensor:
        """The items' block of Â, the transpose of the users', ``(n_items, n_users)``."""
        return self._block(self.n_users, self.n_nodes, 0, self.n_users)

    def normalised_log_degree(self) -> Tensor:
        """d̃: log(1 + degree), divided by its largest value among users and among items, ``(n_nodes,)``.

        Lies in [0, 1]; 0 for a node without an edge.
        """
        logs = torch.log1p(self.degrees)
        sides = [logs[: self.n_users], logs[self.n_users :]]
        return torch.cat([side / side.max().clamp_min(1e-12) if side.numel() else side for side in sides])

    def _block(self, first: int, last: int, first_column: int, n_columns: int) -> Tensor:
        offsets = self.offsets[first : last + 1]
        columns = self.neighbours[int(offsets[0]) : int(offsets[-1])]
        counts = offsets.diff()
        values = torch.repeat_interleave(self.inverse_roots[first:last], counts) * self.inverse_roots[columns]
        # MKL wants both index arrays of one type: 32 bits until the edges pass 2^31.
        index = torch.int32 if len(columns) < 2**31 else torch.int64
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                (offsets - offsets[0]).to(index),
                (columns - first_column).to(index),
                values,
                size=(last - first, n_columns),
                check_invariants=False,
            )


def build_graph(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> BipartiteGraph:
    """The graph of the given interactions, in time linear in their number.

    Parameters
    ----------
    users, items:
        Parallel int32 codes ``(n,)`` without repeated pairs, each user's in the order of time.
    n_users, n_items:
        Sizes; nodes without an interaction are allowed.
    """
    from scipy.sparse import coo_array

    n = len(users)
    # scipy's conversions are stable counting sorts: the transpose of any order leaves every list ascending.
    pairs = coo_array((np.zeros(n, dtype=bool), (users, items)), shape=(n_users, n_items))
    pairs.has_canonical_format = True  # nothing to sum, so nothing to sort
    by_item = pairs.tocsc()
    by_user = by_item.tocsr()
    in_time = items
    if (users[1:] < users[:-1]).any():
        by_item = by_user.tocsc()
        in_time = items[np.argsort(users, kind="stable")]
    offsets = np.empty(n_users + n_items + 1, dtype=np.int64)
    offsets[: n_users + 1] = by_user.indptr
    offsets[n_users + 1 :] = by_item.indptr[1:]
    offsets[n_users + 1 :] += n
    neighbours = np.empty(2 * n, dtype=np.int32)
    np.add(by_user.indices, n_users, out=neighbours[:n], casting="same_kind")
    neighbours[n:] = by_item.indices
    degrees = np.diff(offsets).astype(np.float32)
    with warnings.catch_warnings():
        # A split's arrays may be read-only; nobody writes to a graph.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        sequence = torch.from_numpy(in_time)
    lists = torch.from_numpy(offsets), torch.from_numpy(neighbours), torch.from_numpy(degrees)
    return BipartiteGraph(*lists, n_users, n_items, sequence)


@dataclass(frozen=True)
class NodeSubset:
    """Some nodes, and where each stands among them.

    Attributes
    ----------
    nodes:
        Distinct nodes, ascending, int64 ``(k,)``.
    positions:
        Place of each node in ``nodes``, -1 for the others, int32 ``(n_nodes,)``.
    """

    nodes: Tensor
    positions: Tensor

    @classmethod
    def of(cls, n_nodes: int, *nodes: Tensor) -> NodeSubset:
        """The distinct nodes among ``nodes``, int64 of any length."""
        chosen = torch.zeros(n_nodes, dtype=torch.bool, device=nodes[0].device)
        for part in nodes:
            chosen[part] = True
        found = torch.nonzero(chosen).squeeze(1)
        positions = torch.full((n_nodes,), -1, dtype=torch.int32, device=found.device)
        positions[found] = torch.arange(len(found), dtype=torch.int32, device=found.device)
        return cls(found, positions)

    def locate(self, nodes: Tensor) -> Tensor:
        """Places of ``nodes``, all of which belong to the subset, int64 of the same length."""
        return self.positions[nodes].long()

    def __len__(self) -> int:
        return len(self.nodes)
