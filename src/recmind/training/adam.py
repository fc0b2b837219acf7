"""Adam as torch has it, without torch's compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def _behind_guard(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method itself, without the guard that torch has put around it, where there is one."""
    return getattr(method, "__wrapped__", method)


class Adam(torch.optim.Adam):
    """``torch.optim.Adam(fused=True)``: the same steps and the same state.

    torch guards these methods against being compiled along, and imports its whole compiler for that
    (``torch._dynamo``, with sympy and ``torch.distributed``): nearly a third of the time that a small training
    takes. Nothing here is compiled, so they are called without the guard.
    """

    add_param_group = _behind_guard(Optimizer.add_param_group)
    load_state_dict = _behind_guard(Optimizer.load_state_dict)
    state_dict = _behind_guard(Optimizer.state_dict)
    zero_grad = _behind_guard(Optimizer.zero_grad)
    step = torch.no_grad()(_behind_guard(torch.optim.Adam.step))

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr, fused=True)
