"""The few operations that take nearly all the time of a training step.

Each function has two bodies: a compiled multi-threaded one for float32 on the
CPU (``cpu/``, C++20) and one in plain torch for everything else
(:mod:`recmind.kernels.reference`), which is also the fallback where no
compiler was at hand and the oracle of the tests. None of them knows autograd:
:mod:`recmind.model.propagation`, :mod:`recmind.model.gating` and
:mod:`recmind.model.sequence` do.

==========================================  ===================================================
:mod:`~recmind.kernels.products`            products with the graph
:mod:`~recmind.kernels.gate`                the gate and its gradients
:mod:`~recmind.kernels.softmax`             a softmax loss with its gradient
:mod:`~recmind.kernels.attention`           attention within histories, with its gradient
:mod:`~recmind.kernels.scan`                inner products with the whole catalogue
:mod:`~recmind.kernels.bytes`               the same for one query, first looked through in a byte per number
:mod:`~recmind.kernels.sparse`              products of sparse matrices, columns in order
:mod:`~recmind.kernels.tiles`               how tables are laid out for them
:mod:`~recmind.kernels.binding`             what is compiled, and what it takes
==========================================  ===================================================

The environment variable ``RECMIND_KERNELS=0`` turns the compiled ones off.
"""

from recmind.kernels.attention import attend, attend_backward
from recmind.kernels.binding import instruction_set, keep_memory, missing
from recmind.kernels.gate import mix, mix_backward
from recmind.kernels.products import Operand, hop, mean_of_items, operand, product, shares_of_users
from recmind.kernels.softmax import softmax_rows
from recmind.kernels.tiles import rows_of

__all__ = [
    "Operand",
    "attend",
    "attend_backward",
    "hop",
    "instruction_set",
    "keep_memory",
    "mean_of_items",
    "missing",
    "mix",
    "mix_backward",
    "operand",
    "product",
    "rows_of",
    "shares_of_users",
    "softmax_rows",
]
