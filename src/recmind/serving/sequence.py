"""Histories read in order, for a server: :mod:`recmind.model.sequence` in numpy, one history at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Array = np.ndarray

PREFIX = "sequence."
"""Of the encoder's parameters."""


class SequenceReader:
    """The trained encoder.

    Parameters
    ----------
    parameters:
        ``sequence.*`` as the model calls them.
    heads:
        How many parts of the vectors attend on their own.
    from_end:
        Whether places are counted from the end of what is read.
    """

    def __init__(self, parameters: Mapping[str, Array], heads: int, *, from_end: bool = False) -> None:
        self.heads, self.from_end = heads, from_end
        self._parameters = {
            name.removeprefix(PREFIX): value for name, value in parameters.items() if name.startswith(PREFIX)
        }
        self._places = self._parameters["places"]
        self._blocks = 1 + max(int(name.split(".")[1]) for name in self._parameters if name.startswith("blocks."))

    @property
    def length(self) -> int:
        """How many of the latest items are read."""
        return len(self._places)

    def state(self, vectors: Array) -> Array:
        """The state after a history, ``(d,)``.

        Parameters
        ----------
        vectors:
            h of its items, oldest first, ``(n, d)``.
        """
        n, d = vectors.shape
        # Before a user's first item is nothing, as long as the beginning is among what is read.
        read = vectors[-self.length :] if n >= self.length else np.vstack([np.zeros((1, d), np.float32), vectors])
        places = self._places[: len(read)]
        x = read + (places[::-1] if self.from_end else places)
        for block in range(self._blocks):
            x = self._block(x, f"blocks.{block}.")
        return self._norm(x[-1], "norm")

    def _block(self, x: Array, block: str) -> Array:
        """x + A(LN(x)), and then x + F(LN(x)), ``(n, d)``."""
        n, d = x.shape
        mixed = self._linear(self._norm(x, f"{block}before_attention"), f"{block}attend")
        query, key, value = mixed.reshape(n, 3, self.heads, -1).transpose(1, 2, 0, 3)  # (heads, n, d / heads) each
        logits = query @ key.transpose(0, 2, 1) * np.float32((d / self.heads) ** -0.5)
        logits[:, ~np.tri(n, dtype=bool)] = -np.inf
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        attended = (shares / shares.sum(axis=-1, keepdims=True)) @ value
        x = x + self._linear(attended.transpose(1, 0, 2).reshape(n, d), f"{block}project")
        inner = self._linear(self._norm(x, f"{block}before_layers"), f"{block}inner")
        return x + self._linear(np.maximum(inner, 0), f"{block}outer")

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self._parameters[f"{name}.weight"].T + self._parameters[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + np.float32(1e-5))
        normed = (x - x.mean(axis=-1, keepdims=True)) / spread
        return normed * self._parameters[f"{name}.weight"] + self._parameters[f"{name}.bias"]
