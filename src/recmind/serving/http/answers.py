"""What the API answers with, as OpenAPI shows it. Answers are written from plain values, without a second check."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recmind.serving.answers import Placement, Reason, Status, Suggestion


class Answered(BaseModel):
    """What the server sends."""

    model_config = ConfigDict(frozen=True)


class Line(Answered):
    """One line of a list."""

    item_id: str
    rank: int
    score: float
    fields: dict[str, Any] | None = Field(None, description="The item's titles and texts, where they were asked for.")
    reason: Reason | None = Field(None, description="Why it stands here, where that was asked for.")


class ListAnswer(Answered):
    """A list."""

    bundle: str = Field(description="The bundle that it was made from.")
    items: list[Line]


class BatchAnswer(Answered):
    """A list for each user, in the order of the request."""

    bundle: str
    lists: list[list[Line]]


class Counted(Answered):
    """A name and how many items have it."""

    name: str
    items: int


class CountedAnswer(Answered):
    """Names, the most frequent first."""

    names: list[Counted]


class IdsAnswer(Answered):
    """Ids."""

    ids: list[str]


class UserAnswer(Answered):
    """What is known of a user."""

    user: str
    history: list[str] = Field(description="Items, most recent first.")


class AddedItems(Answered):
    """What became of added items."""

    new: list[str] = Field(description="Ids that were not there before; the others stayed as they are.")


class AddedInteractions(Answered):
    """What became of added interactions."""

    new: int = Field(description="Interactions that were not known before.")


class ReloadAnswer(Answered):
    """What is served after a reload."""

    bundle: str
    before: str
    seconds: float


class HealthAnswer(Answered):
    """Whether the server lives, or takes requests."""

    status: Literal["ok", "starting", "stopping"]


class FieldError(Answered):
    """What is wrong with one field."""

    field: str
    message: str
    got: Any = None
    accepted: Any = None


class ProblemAnswer(Answered):
    """A problem, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldError] | None = None


def lines(suggestions: list[Suggestion]) -> list[dict[str, Any]]:
    """A list as plain values."""
    return [{"item_id": line.item_id, "rank": line.rank, "score": line.score} for line in suggestions]


def reason(found: Reason) -> dict[str, Any]:
    """A reason as plain values."""
    return asdict(found)


def placement(found: Placement) -> dict[str, Any]:
    """A placement as plain values."""
    return asdict(found)


def status(found: Status) -> dict[str, Any]:
    """The status as plain values."""
    return asdict(found)
