"""Requests and answers of the API. Every field is bounded; a field that is not here is refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from recmind.serving.options import Filters, Options

MAX_K = 200
MAX_HISTORY = 500
MAX_IDS = 1000
MAX_USERS = 100
MAX_TEXT = 4000


def _no_control(value: str) -> str:
    if "\x00" in value:
        raise ValueError("a NUL character is not accepted")
    return value


Id = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_no_control)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(_no_control)]
Short = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_control)]
Long = Annotated[str, StringConstraints(max_length=20_000), AfterValidator(_no_control)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Asked(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FiltersModel(Asked):
    """Which items may be listed; what is left out admits everything, and several conditions must all hold."""

    categories: tuple[Short, ...] = Field(default=(), max_length=50, description="Items in at least one of these.")
    brands: tuple[Short, ...] = Field(default=(), max_length=50, description="Items of one of these.")
    min_price: Price | None = None
    max_price: Price | None = None
    allow: tuple[Id, ...] | None = Field(
        default=None, max_length=MAX_IDS, description="Only these items; empty allows none."
    )
    deny: tuple[Id, ...] = Field(default=(), max_length=MAX_IDS, description="None of these items.")

    @model_validator(mode="after")
    def _ordered(self) -> FiltersModel:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price must not be above max_price")
        return self

    @property
    def empty(self) -> bool:
        """Whether everything is admitted."""
        return self == _NO_FILTERS

    def native(self) -> Filters:
        """The same for the recommender."""
        return Filters(self.categories, self.brands, self.min_price, self.max_price, self.allow, self.deny)


_NO_FILTERS = FiltersModel()


class Listed(Asked):
    """What every list can be asked for."""

    k: K = 10
    filters: FiltersModel = FiltersModel()
    leave_out_seen: bool = Field(default=True, description="Leave out what the user has, or the given history.")
    diversity: Share = Field(default=0.0, description="Weight of maximal marginal relevance: 0 off, 1 diversity alone.")
    popularity_penalty: float = Field(
        default=0.0,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Items are ordered by score - penalty x popularity (0 to 1).",
    )
    fields: bool = Field(default=False, description="Answer with the items' titles and texts.")

    @property
    def plain(self) -> bool:
        """Whether the list takes no longer than a search."""
        return self.filters.empty and not self.diversity and not self.fields and self.k <= 100

    def options(self) -> Options:
        """The same for the recommender."""
        if self.filters.empty:
            return Options(_EVERYTHING, self.leave_out_seen, self.diversity, self.popularity_penalty)
        return Options(self.filters.native(), self.leave_out_seen, self.diversity, self.popularity_penalty)


_EVERYTHING = Filters()


class RecommendRequest(Listed):
    """A list for a user, for a history, for a wish in words, or for one of the first two with a wish."""

    user: Id | None = None
    history: tuple[Id, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_HISTORY,
        description="Items of somebody who is not known, oldest first.",
    )
    text: Text | None = Field(default=None, description="A wish in words, such as `quiet headphones for travel`.")
    text_weight: Share = Field(default=0.5, description="Share of the text where there is a user or a history too.")
    explain: bool = Field(default=False, description="Answer with the reason of every item.")

    @property
    def plain(self) -> bool:
        """Whether the list takes no longer than a search."""
        return not self.explain and self.history is None and super().plain

    @model_validator(mode="after")
    def _somebody(self) -> RecommendRequest:
        _check_whose(self)
        return self


def _check_whose(asked: RecommendRequest | ExplainRequest) -> None:
    if asked.user is not None and asked.history is not None:
        raise ValueError("give a user or a history, not both")
    if asked.user is None and asked.history is None and asked.text is None:
        raise ValueError("give a user, a history or a text")


class BatchRequest(Listed):
    """Lists for several users at once."""

    users: tuple[Id, ...] = Field(min_length=1, max_length=MAX_USERS)


class SimilarRequest(Listed):
    """Items like an item."""

    item: Id


class ExplainRequest(Asked):
    """Why an item has its score for a user, a history or a wish."""

    item: Id
    user: Id | None = None
    history: tuple[Id, ...] | None = Field(default=None, min_length=1, max_length=MAX_HISTORY)
    text: Text | None = None
    text_weight: Share = 0.5
    words: int = Field(default=0, ge=0, le=50, description="Words of the item's text to name; they cost time.")
    history_items: int = Field(default=5, ge=0, le=50, description="Items of the history to name.")

    @model_validator(mode="after")
    def _somebody(self) -> ExplainRequest:
        _check_whose(self)
        return self


class ItemFields(Asked):
    """The text of an item, and what filters ask for."""

    title: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_no_control)] | None = None
    brand: Short | None = None
    categories: tuple[Short, ...] | None = Field(default=None, max_length=50)
    attributes: Long | None = None
    description: Long | None = None
    price: Price | None = None

    def native(self) -> dict[str, Any]:
        """Fields that are there, for the recommender."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self if value is not None}


class PlaceRequest(ItemFields):
    """An item that exists only as a text: who would get it, and what is like it. Nothing is kept."""

    k: K = 10


class NewItem(ItemFields):
    """An item that enters by its text."""

    item_id: Id


class AddItemsRequest(Asked):
    """Items that enter by their texts."""

    items: tuple[NewItem, ...] = Field(min_length=1, max_length=100)


class Interaction(Asked):
    """A user chose an item."""

    user: Id
    item: Id


class AddInteractionsRequest(Asked):
    """Interactions, oldest first."""

    interactions: tuple[Interaction, ...] = Field(min_length=1, max_length=1000)
