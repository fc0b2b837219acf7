"""Settings of the generated shop."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from recmind.config import Fraction, Positive, Settings


class ShopConfig(Settings):
    """How large the shop is, how strong tastes are, and how dirty its tables."""

    n_users: Positive = 3000
    """Customers."""
    n_items: Positive = 2400
    """Products, those that nobody has bought yet included."""
    mean_interactions: Annotated[float, Field(ge=1.0)] = 14.0
    """Purchases per customer on average; the total is exactly `n_users` times this, rounded."""
    min_interactions: Positive = 5
    """Purchases of the least active customer."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything; the same settings give the same bytes."""

    visible_taste: Annotated[float, Field(ge=0.0)] = 2.5
    """Weight of the taste that texts tell, in units of the noise of a choice (see `recmind.data.shop`)."""
    hidden_taste: Annotated[float, Field(ge=0.0)] = 2.5
    """Weight of the taste that no text tells. Equal to `visible_taste` on purpose."""
    n_looks: Positive = 6
    """Hidden communities: circles of customers who like the same look."""
    zipf_exponent: Annotated[float, Field(ge=0.0)] = 0.8
    """Exposure of the product of rank r is ∝ r^-exponent."""
    candidates: Annotated[int, Field(ge=2)] = 32
    """Products that a customer looks at before each purchase; a quarter of them new arrivals."""
    seasonality: Annotated[float, Field(ge=1.0)] = 2.5
    """How many times more often a department is visited in its season."""
    years: Annotated[float, Field(gt=0.0)] = 3.0
    """Time that the purchases span."""

    share_later: Fraction = 0.5
    """Share of the products that were added while the shop was already open."""
    share_new: Fraction = 0.03
    """Share of the products that came last and that nobody has bought yet."""
    share_no_description: Fraction = 0.08
    """Share of the products without description and features."""
    share_no_text: Fraction = 0.04
    """Share of the products without any text at all, not even a title."""
    share_html: Fraction = 0.05
    """Share of the descriptions with HTML tags and entities in them."""
    share_repeated: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    """Share of the review rows that the raw files repeat."""

    @property
    def n_interactions(self) -> int:
        """Purchases in total, without the repeated rows."""
        return max(round(self.n_users * self.mean_interactions), self.n_users * self.min_interactions)

    @property
    def n_new(self) -> int:
        """Products that nobody has bought yet."""
        return round(self.n_items * self.share_new)

    @property
    def max_interactions(self) -> int:
        """Purchases of the most active customer at most: a third of what there is to buy."""
        return (self.n_items - self.n_new) // 3

    @model_validator(mode="after")
    def _sizes_fit(self) -> ShopConfig:
        if self.mean_interactions < self.min_interactions:
            raise ValueError(
                f"mean_interactions: got {self.mean_interactions}, accepted: at least min_interactions "
                f"({self.min_interactions})"
            )
        if 2 * self.mean_interactions > self.max_interactions:
            raise ValueError(
                f"n_items: {self.n_items} products ({self.n_new} of them new) are too few for "
                f"{self.mean_interactions} purchases per customer; accepted: six times as many sellable products as "
                "mean_interactions"
            )
        if self.share_no_description + self.share_no_text > 1.0:
            raise ValueError("share_no_description and share_no_text: together they exceed 1")
        return self
