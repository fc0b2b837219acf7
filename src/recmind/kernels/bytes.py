"""The largest inner products of one query with a table, exactly, with a quarter of the memory traffic.

A single query reads the whole table once, and that is all the time it takes.
So the table is also kept in a byte per number: v_i = s_i t_i + r_i with t_i in
whole numbers from -127 to 127, and the length of the remainder r_i beside it.
For the query q = σ p + ρ, p in whole numbers too, Cauchy and Schwarz give

    | v_i·q  -  s_i σ t_i·p |  ≤  ‖r_i‖ ‖q‖  +  (‖v_i‖ + ‖r_i‖) ‖ρ‖

What even at its most is less than the k-th largest of what the others are at
least cannot be among the k largest. The rest, a few times k, is multiplied as
it is: the answer is that of a product with the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recmind.kernels import binding

Array = np.ndarray

_WIDTH = 16
"""Columns are filled up to a multiple of this with zeros."""
_LEVELS, _FINEST = 127, 32767
_ROUNDING = 1e-5
"""Of the largest product: more than float32 rounds off in a sum of a few hundred numbers."""


def available() -> bool:
    """Whether the compiled kernels are there; there is no second body."""
    return binding.cpu is not None


@dataclass(frozen=True)
class ByteTable:
    """A table in a byte per number; see the module.

    Attributes
    ----------
    vectors:
        The table as it is, float32 ``(n, d)``.
    rows, scale, error:
        t int8 ``(n, w)``, w >= d; s ``(n,)``; ‖r‖ ``(n,)``.
    longest:
        The largest ‖v‖ + ‖r‖.
    """

    vectors: Array
    rows: Array
    scale: Array
    error: Array
    longest: float

    @classmethod
    def of(cls, vectors: Array) -> ByteTable:
        """From float32 ``(n, d)``, finite, n from 1 to 2^31."""
        n, d = vectors.shape
        rows = np.zeros((n, -(-max(d, 1) // _WIDTH) * _WIDTH), dtype=np.int8)
        scale, error, longest = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32), 0.0
        for first in range(0, n, 65536):
            block = vectors[first : first + 65536]
            s = np.maximum(np.abs(block).max(axis=1, initial=0) / _LEVELS, np.finfo(np.float32).tiny)
            t = np.rint(block / s[:, None])
            rest = np.linalg.norm(block - t * s[:, None], axis=1)
            rows[first : first + len(block), :d] = t
            scale[first : first + len(block)], error[first : first + len(block)] = s, rest
            longest = max(longest, float((np.linalg.norm(block, axis=1) + rest).max(initial=0)))
        return cls(vectors, rows, scale, error, longest)

    def best(
        self, query: Array, k: int, left_out: Array | None = None, admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """The ``k`` largest products with a query ``(d,)``, largest first, and their rows; fewer if few are left.

        Parameters
        ----------
        k:
            1 to n.
        left_out:
            Ascending rows that are not wanted, int32.
        admitted:
            Which rows may be listed, bool ``(n,)``; ``None`` for all.

        Returns
        -------
        tuple of ndarray
            Products float32 and rows int64; of equal ones the smaller row first.
        """
        assert binding.cpu is not None, "ask available() first"
        n, d = self.vectors.shape
        width = self.rows.shape[1]
        # So fine that a sum of products stays below 2^31.
        levels = min(_FINEST, (2**31 - 1) // (_LEVELS * width))
        step = float(np.abs(query).max(initial=0)) / levels or 1.0
        whole = np.zeros(width, dtype=np.int16)
        whole[:d] = np.rint(query / step)
        length, rest = float(np.linalg.norm(query)), float(np.linalg.norm(query - step * whole[:d]))
        codes, upper = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32)
        found = binding.cpu.candidates(
            self.rows,
            self.scale,
            self.error,
            whole,
            step=step,
            length=length,
            rest=self.longest * (rest + _ROUNDING * length),
            admitted=None if admitted is None else np.ascontiguousarray(admitted).view(np.uint8),
            left_out=left_out,
            wanted=k,
            codes=codes,
            upper=upper,
        )
        near = codes[:found].astype(np.int64)
        products = self.vectors[near] @ query
        order = np.argsort(-products, kind="stable")[:k]
        return products[order], near[order]
