"""Tables in and out of RecBole's LightGCN, so that it can be compared with ours number by number."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.process import Operation

TABLE, VECTORS, BATCHES = "table.npz", "vectors.npz", "batches.npz"
"""Files of the exchange folder: E^(0) and final vectors as ``users``, ``items``; batches as ``users``,
``positives``, ``negatives``, codes ``(steps, b)``."""


def exchange_operations(peer: Any, folder: Path) -> dict[str, Operation]:
    """``table`` and ``vectors`` write files in the order of our codes, ``follow`` trains on given batches."""
    model = peer.model

    def save(name: str, users: torch.Tensor, items: torch.Tensor) -> None:
        rows = users.detach().numpy()[peer.user_rows], items.detach().numpy()[peer.item_rows]
        np.savez(folder / name, users=rows[0], items=rows[1])

    def table(_: int) -> None:
        save(TABLE, model.user_embedding.weight, model.item_embedding.weight)

    def vectors(_: int) -> None:
        with torch.no_grad():
            save(VECTORS, *model.forward())

    def follow(_: int) -> dict[str, Any]:
        """Losses of RecBole's own loss and optimiser on the given batches; the model is as before afterwards."""
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.Adam(model.parameters(), lr=peer.config["learning_rate"])
        with np.load(folder / BATCHES) as given:
            codes = (peer.user_rows[given["users"]], *(peer.item_rows[given[k]] for k in ("positives", "negatives")))
        losses = []
        for batch in zip(*codes, strict=True):
            names = (model.USER_ID, model.ITEM_ID, model.NEG_ITEM_ID)
            loss = model.calculate_loss(dict(zip(names, map(torch.from_numpy, batch), strict=True)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.load_state_dict(before)
        return {"losses": losses}

    return {"table": table, "vectors": vectors, "follow": follow}
