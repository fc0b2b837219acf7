"""Causal attention within the pieces of a table."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.kernels import binding, reference
from recmind.kernels.binding import check_rows, plain, takes


def attend(mixed: Tensor, starts: Tensor, heads: int) -> Tensor:
    """softmax(Q Kᵀ / √(d / heads)) V within each piece, where no row sees a later one (Vaswani et al. 2017, eq. 1).

    Pieces of any length stand behind each other, so nothing is padded.

    Parameters
    ----------
    mixed:
        Q, K and V of each row beside each other, ``(n, 3 d)``, heads beside each other within each.
    starts:
        Piece p is the rows ``starts[p]`` to ``starts[p + 1]``, int64 ``(m + 1,)``, from 0 to n.

    Returns
    -------
    Tensor
        ``(n, d)``.

    Raises
    ------
    ValueError
        If the pieces are not those of n rows, or the heads do not share d evenly.
    """
    _check(mixed, starts, heads)
    if not _compiled(mixed):
        return reference.attend(mixed, starts, heads)
    out = torch.empty(len(mixed), mixed.shape[1] // 3)
    binding.cpu.attend(plain(mixed.float()), starts, heads, out, threads=torch.get_num_threads())
    return out


def attend_backward(mixed: Tensor, starts: Tensor, heads: int, grad: Tensor) -> Tensor:
    """Gradient of ``mixed``, ``(n, 3 d)``, from ``grad``, that of the result of :func:`attend`."""
    _check(mixed, starts, heads)
    check_rows("grad", grad, len(mixed))
    if not _compiled(mixed):
        return reference.attend_backward(mixed, starts, heads, grad)
    out = torch.empty(mixed.shape)
    given = plain(mixed.float()), starts, heads, plain(grad.float())
    binding.cpu.attend_backward(*given, out, threads=torch.get_num_threads())
    return out.to(mixed.dtype)


def _check(mixed: Tensor, starts: Tensor, heads: int) -> None:
    if mixed.shape[1] % (3 * heads):
        raise ValueError(f"{mixed.shape[1]} columns are not queries, keys and values of {heads} heads")
    if not len(starts) or starts[0] != 0 or starts[-1] != len(mixed) or bool((starts.diff() < 0).any()):
        raise ValueError(f"pieces have to begin in ascending order, from 0 to {len(mixed)}, the number of rows")


def _compiled(mixed: Tensor) -> bool:
    # What was multiplied in bfloat16 is no less exact in float32.
    return takes() and mixed.device.type == "cpu" and mixed.dtype in (torch.float32, torch.bfloat16)
