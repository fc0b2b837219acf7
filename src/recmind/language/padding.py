"""Texts of different lengths as one rectangle of tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recmind.errors import EncoderError


def pad(ids: Sequence[np.ndarray], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
    """Token ids and a mask of what is text, both int64 ``(b, tokens)``.

    Padding on the right does for decoders too: under a causal mask a token
    never sees what comes after it, and positions start at 0 for every text.
    """
    lengths = np.array([len(text) for text in ids])[:, None]
    width = int(lengths.max())
    places = np.arange(width)
    filled = places < lengths if side == "right" else places >= width - lengths
    rows = np.full(filled.shape, pad_id, dtype=np.int64)
    rows[filled] = np.concatenate(ids)
    return torch.from_numpy(rows), torch.from_numpy(filled).long()


def positions_of(model: torch.nn.Module, mask: Tensor, first: int) -> dict[str, Any]:
    """The argument by which texts padded on the left get the positions that they have alone.

    Raises
    ------
    EncoderError
        If the model counts positions from the left edge, padding included.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise EncoderError(
            "the model cannot be padded on the left: it does not take the positions of tokens",
            where="language.padding",
            got="left",
            accepted="right",
        )
    return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0) + first}
