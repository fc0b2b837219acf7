"""Texts end to end in one row, without padding: attention stays within each text.

A processor multiplies padding as slowly as words, masks cost memory traffic, and
many tiny attentions cost more in calls than in arithmetic. So a batch is one
row of tokens in which texts of one length are neighbours: everything but
attention treats the row as a whole, and attention takes each stretch of equal
texts at once, the short ones several to a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

ATTENTION = "recmind-packed"
"""Name of :func:`packed_attention` among the attention functions of transformers."""

PACKABLE = frozenset({"bert", "distilbert", "electra", "llama", "qwen2", "qwen3", "roberta", "xlm-roberta"})
"""Model types whose tokens meet in attention alone and whose positions can be given."""

# Attention of blocks shorter than this costs as much as of blocks of this length.
_BLOCK = 32


@dataclass(frozen=True)
class Run:
    """``n`` neighbouring blocks of ``length`` tokens, from token ``start`` of the row on.

    ``mask`` is added to the scores ``(length, length)`` where a block holds
    several texts. Where each block is one text there is none, and ``causal`` says
    whether a token sees only those before it.
    """

    start: int
    n: int
    length: int
    mask: Tensor | None
    causal: bool


def can_pack(settings: Any) -> bool:
    """Whether a model with this configuration gives the same vectors for packed texts."""
    layers = getattr(settings, "layer_types", None) or ["full_attention"]
    plain = set(layers) == {"full_attention"} and not getattr(settings, "is_decoder", False)
    # A quantised model multiplies in its own way, and not all of those take one long row.
    return settings.model_type in PACKABLE and plain and not getattr(settings, "quantization_config", None)


def register() -> None:
    """Make :func:`packed_attention` known to transformers, which then builds no masks of its own."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)


def pack(ids: Sequence[np.ndarray], first_position: int, causal: bool, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of the model for one batch.

    Parameters
    ----------
    ids:
        Token ids of each text, equal lengths next to each other.
    first_position:
        Position of a text's first token.
    causal:
        Whether a token sees only those before it.
    dtype:
        Number format of the model.
    """
    positions = np.concatenate([np.arange(first_position, first_position + len(text)) for text in ids])
    runs = [run for start, n, length in stretches(ids) for run in _runs(start, n, length, causal, dtype)]
    tokens = np.concatenate(ids).astype(np.int64)
    return {
        "input_ids": torch.from_numpy(tokens)[None],
        "position_ids": torch.from_numpy(positions)[None],
        "runs": runs,
    }


def stretches(ids: Sequence[np.ndarray]) -> Iterator[tuple[int, int, int]]:
    """First token, number of texts and their length, for each stretch of equal lengths."""
    start = 0
    for length, texts in groupby(ids, key=len):
        n = sum(1 for _ in texts)
        yield start, n, length
        start += n * length


def pool_packed(
    hidden: Tensor,
    ids: Sequence[np.ndarray],
    pooling: Callable[[Tensor, Tensor], Tensor],
    skips: Sequence[int] | None = None,
) -> Tensor:
    """One vector per text ``(batch, d)`` of the row's token vectors ``(tokens, d)``, float32.

    The first ``skips`` tokens of each text are not pooled.
    """
    pooled, done = [], 0
    first = torch.tensor(skips)[:, None] if skips is not None and any(skips) else None
    for start, n, length in stretches(ids):
        vectors = hidden[start : start + n * length].view(n, length, -1).float()
        mask = torch.ones(n, length)
        if first is not None:
            mask = (torch.arange(length) >= first[done : done + n]).float()
        pooled.append(pooling(vectors, mask))
        done += n
    return torch.cat(pooled)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    runs: Sequence[Run],
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text, in the form that transformers asks for.

    Parameters
    ----------
    query, key, value:
        ``(1, heads, tokens, d_head)``; keys and values may have fewer heads.
    runs:
        Where the texts are in the row.

    Returns
    -------
    ``(1, tokens, heads, d_head)``, and no weights.
    """
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (tokens, heads, d_head)
    if query.requires_grad:
        return _with_gradient(query, key, value, runs, scaling)[None], None
    result = query.new_empty(*query.shape[:2], value.shape[2])
    for run in runs:
        parts = (tensor[run.start : run.start + run.n * run.length] for tensor in (query, key, value))
        attended = _attend(run, run.mask, scaling, *(_blocks(part, run) for part in parts))
        _blocks(result[run.start : run.start + run.n * run.length], run).copy_(attended)
    return result[None], None


def _with_gradient(query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], scaling: float | None) -> Tensor:
    """:func:`packed_attention` for training.

    Parts are split off and put together in one operation each, since on the way
    back every slice and every write into a part would go over the whole. And
    in float32: the way back in bfloat16 takes several times as long.
    """
    sizes = [run.n * run.length for run in runs]
    with torch.autocast(query.device.type, enabled=False):
        parts = [tensor.float().split(sizes) for tensor in (query, key, value)]
        attended = [
            _attend(run, None if run.mask is None else run.mask.float(), scaling, *(_blocks(part, run) for part in own))
            for run, *own in zip(runs, *parts, strict=True)
        ]
        return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in attended]).to(query.dtype)


def _blocks(part: Tensor, run: Run) -> Tensor:
    """The tokens of a stretch ``(tokens, heads, d_head)`` as ``(n, heads, length, d_head)``."""
    return part.view(run.n, run.length, *part.shape[1:]).transpose(1, 2)


def _attend(run: Run, mask: Tensor | None, scaling: float | None, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=run.causal,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )


def _runs(start: int, n: int, length: int, causal: bool, dtype: torch.dtype) -> Iterator[Run]:
    """A stretch as blocks; of short texts a block holds several, and what is left over is a block of its own."""
    together = _BLOCK // length
    if together < 2:
        yield Run(start, n, length, None, causal)
        return
    full, rest = divmod(n, together)
    if full:
        yield Run(start, full, together * length, _block_mask(together, length, causal, dtype), False)
    if rest:
        left = start + full * together * length
        yield Run(left, 1, rest * length, _block_mask(rest, length, causal, dtype), False)


def _block_mask(n: int, length: int, causal: bool, dtype: torch.dtype) -> Tensor:
    """0 where two tokens are of one text and the first may see the second, else -inf."""
    token = torch.arange(n * length)
    sees = token[:, None] // length == token // length
    if causal:
        sees &= token[:, None] >= token
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, float("-inf"))
