"""What every trained model can do: score all items for a block of users."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Scorer(Protocol):
    """A trained model as evaluation and serving see it."""

    @property
    def n_users(self) -> int:
        """Number of users."""
        ...

    @property
    def n_items(self) -> int:
        """Number of items."""
        ...

    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for ``users``.

        Parameters
        ----------
        users:
            User codes, int64, ``(b,)``.

        Returns
        -------
        Tensor
            float32, ``(b, n_items)``; higher is better. Nothing is masked. The
            caller may overwrite the result.
        """
        ...
