"""What a folded user and a placed item are made of, and the constants of the equations that make them.

The equations stand in :mod:`recmind.serving.folding`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Equations:
    """The constants of a trained model's equations.

    Attributes
    ----------
    dim:
        d.
    cosine:
        Whether scores are cosines.
    alpha, alpha_by_text:
        α, and whether it is α_v = 1 - (1-α) k_v with k_v how much of z^L_v is text. 1 for a model without z^L in h.
    first, others:
        c₀ and c₁.
    layers:
        L.
    starts_with_text:
        s.
    own_text:
        Whether z^L of a user was read off a text of the user's own; somebody new then has W z̃ of the normalised mean
        of the items' z̃, as users without a text had in training.
    popularity:
        w of the term w d̃_i, 0 without one.
    average_degree:
        Mean d̃ of the items that were bought, which new items get.
    recent_weight, recent_decay, recent_items:
        ρ, how ω falls from one of the latest items to the one before, and how many of them count.
    sequence_weight, sequence_heads, sequence_from_end, sequence_own_items:
        ρ_S of the state after the history, 0 for a model that does not read it in order; the encoder's heads, whether
        it counts places from the end, and whether it has item vectors of its own.
    transition_weight, transition_recency, transition_items:
        σ, what counts that came after the latest items, how its ω falls, and how many of them count
        (:mod:`recmind.serving.following`).
    text_links:
        To how many items a new one is linked by its text.
    folds:
        Whether a history makes a vector.
    reads:
        Whether a text makes a vector.
    """

    dim: int
    cosine: bool = False
    alpha: float = 1.0
    alpha_by_text: bool = False
    first: float = 0.0
    others: float = 0.0
    layers: int = 0
    starts_with_text: bool = False
    own_text: bool = False
    popularity: float = 0.0
    average_degree: float = 0.0
    recent_weight: float = 0.0
    recent_decay: float = 0.5
    recent_items: int = 10
    sequence_weight: float = 0.0
    sequence_heads: int = 1
    sequence_from_end: bool = False
    sequence_own_items: bool = False
    transition_weight: float = 0.0
    transition_recency: float = 0.7
    transition_items: int = 10
    text_links: int = 0
    folds: bool = False
    reads: bool = False

    @property
    def width(self) -> int:
        """Entries of a user's row: h, and where the encoder has item vectors of its own, r, the state in h.

        An item's row has as many and d̃: h, and behind it m - h, what the encoder reads of the item more than h.
        """
        return 2 * self.dim if self.sequence_own_items else self.dim

    def read_of(self, rows: Array) -> Array:
        """m, what the encoder reads of items, ``(n, d)``, from their rows ``(n, width + 1)``."""
        h = rows[:, : self.dim]
        return h + rows[:, self.dim : self.width] if self.sequence_own_items else h

    def to_json(self) -> dict[str, Any]:
        """All constants."""
        return asdict(self)

    def share_of_graph(self, known: float) -> float:
        """α of a node of whose z^L the share ``known`` is text."""
        return 1 - (1 - self.alpha) * known if self.alpha_by_text else self.alpha

    def share_of_language(self, a: float) -> float:
        """b: what z^L is multiplied with in v."""
        return (1 - a) + (a * self.first if self.starts_with_text else 0.0)


@dataclass(frozen=True, slots=True)
class Taste:
    """What lists are made for: a vector of scores and where it comes from.

    Attributes
    ----------
    vector:
        h, ``(d,)``.
    language:
        The part of h that is z^L, ``(d,)``; the graph's part is the rest.
    view:
        z^L itself, of any length, ``(d,)``.
    items:
        Codes of the history, ``(n,)``.
    carried:
        What each of them adds to h by itself, ``(n, d)``.
    read:
        The part of h that is the state after the history, ``(d,)``; ``None`` where it is not read in order.
    told:
        What each of the items changes in that part, ``(n, d)``; ``None`` where nobody asked.
    """

    vector: Array
    language: Array
    view: Array
    items: Array
    carried: Array
    read: Array | None = None
    told: Array | None = None

    def row(self, equations: Equations) -> Array:
        """What meets the items' rows, ``(width,)``."""
        if not equations.sequence_own_items:
            return self.vector
        return np.concatenate([self.vector, np.zeros_like(self.vector) if self.read is None else self.read])


@dataclass(frozen=True, slots=True)
class Placed:
    """Items as their texts place them.

    Attributes
    ----------
    vectors:
        Their rows, ``(n, width + 1)``: h, nothing beside it, and d̃.
    language, scale:
        z^L ``(n, d)`` and what it is multiplied with in h ``(n,)``.
    messages:
        m ``(n, d)``.
    gates:
        γ ``(n, layers)``, no columns without a gate.
    """

    vectors: Array
    language: Array
    scale: Array
    messages: Array
    gates: Array
