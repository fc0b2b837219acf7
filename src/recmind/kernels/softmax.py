"""The softmax of a recommendation loss with its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from recmind.kernels import binding, reference
from recmind.kernels.binding import plain, takes


def softmax_rows(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax cross-entropy of each row's positive against the row, with its gradients.

    Parameters
    ----------
    logits:
        ``(b, n)``, contiguous and overwritten; -inf leaves an entry out.
    positive:
        Logit of the positive, ``(b,)``.

    Returns
    -------
    tuple
        Loss of each row ``(b,)``, and the gradients of the mean loss by the
        logits ``(b, n)``, in their memory, and by the positives ``(b,)``.
    """
    if not takes(logits, positive):
        return reference.softmax_rows(logits, positive)
    loss, grad_positive = torch.empty_like(positive), torch.empty_like(positive)
    binding.cpu.softmax_rows(logits.detach(), plain(positive), loss, grad_positive, threads=torch.get_num_threads())
    return loss, logits, grad_positive
