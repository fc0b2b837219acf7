"""torch_geometric's LightGCN as a contender, on the adjacency that is fastest for it: a torch CSR matrix.

The matrix is normalised once, instead of in every layer of every step as
LGConv does by default, and has int32 indices, which MKL wants and torch would
else convert in every product. The step is that of the library's own example.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.nn import LightGCN

from peers.process import Operation, serve
from peers.workload import Workload


def normalised_adjacency(workload: Workload) -> Tensor:
    """D^-1/2 A D^-1/2 as a torch CSR matrix ``(n_nodes, n_nodes)``, users first."""
    n = workload.n_users + workload.n_items
    rows = np.concatenate([workload.users, workload.items + workload.n_users])
    columns = np.concatenate([workload.items + workload.n_users, workload.users])
    roots = np.sqrt(np.maximum(1, np.bincount(rows, minlength=n)))
    matrix = sp.csr_array(((1 / (roots[rows] * roots[columns])).astype(np.float32), (rows, columns)), shape=(n, n))
    matrix.sort_indices()
    starts, neighbours = (torch.from_numpy(np.asarray(part, np.int32)) for part in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(starts, neighbours, torch.from_numpy(matrix.data), size=(n, n))


class Peer:
    """Model, adjacency and optimiser."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.workload = Workload.load(Path(settings["data"]))
        self.settings = settings
        n = self.workload.n_users + self.workload.n_items
        torch.manual_seed(0)
        self.model = LightGCN(n, settings["dim"], settings["layers"], normalize=False)
        self.adjacency = normalised_adjacency(self.workload)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings["learning_rate"])
        self.users = torch.from_numpy(self.workload.users.astype(np.int64))
        self.items = torch.from_numpy(self.workload.items.astype(np.int64)) + self.workload.n_users
        self._stream = self._batches()

    def step(self, n: int) -> dict[str, Any]:
        """n training steps."""
        total = 0.0
        for _ in range(n):
            users, positives, negatives = next(self._stream)
            labels = torch.stack([users.repeat(2), torch.cat([positives, negatives])])
            self.optimizer.zero_grad()
            positive, negative = self.model(self.adjacency, labels).chunk(2)
            loss = self.model.recommendation_loss(
                positive, negative, node_id=labels.unique(), lambda_reg=self.settings["weight_decay"]
            )
            loss.backward()
            self.optimizer.step()
            total += float(loss)
        return {"loss": total / n}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As the library's example draws them: negatives from all items, without a look at the positives."""
        first, n_items = self.workload.n_users, self.workload.n_items
        while True:
            for chunk in torch.randperm(len(self.users)).split(self.settings["batch"]):
                negatives = torch.randint(first, first + n_items, (len(chunk),))
                yield self.users[chunk], self.items[chunk], negatives


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """Operation: ``step``."""
    torch.set_num_threads(settings["threads"])
    if settings["negatives"] != 1:
        raise SystemExit("torch_geometric's LightGCN trains with one negative; use --negatives 1")
    peer = Peer(settings)
    about = {
        "versions": {name: version(name) for name in ("torch_geometric", "torch", "numpy")},
        "threads": torch.get_num_threads(),
        "notes": ["CSR adjacency, int32, normalised once"],
    }
    return {"step": peer.step}, about


if __name__ == "__main__":
    serve(build)
