"""What the page's forms send, as requests of the API: empty fields are fields left out."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request

from recmind.serving.http.models import ItemFields, PlaceRequest, RecommendRequest
from recmind.serving.http.problems import Problem, from_validation

Asked = TypeVar("Asked", bound=BaseModel)

K_CHOICES = (5, 10, 20, 50)
_NUMBERS = ("k", "diversity", "popularity_penalty", "text_weight")


def checked(model: type[Asked], values: dict[str, Any]) -> Asked:
    """The request.

    Raises
    ------
    Problem
        ``invalid``, naming the fields.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise from_validation(error.errors()) from error  # type: ignore[arg-type]


def asked_of(params: QueryParams) -> RecommendRequest | None:
    """The list that a query asks for; ``None`` where nobody is named yet."""
    who = params.get("who", "user")
    values: dict[str, Any] = {name: params[name] for name in _NUMBERS if params.get(name)}
    values["leave_out_seen"] = params.get("seen") != "show"
    values["text"] = params.get("text", "").strip() or None
    if who == "user":
        values["user"] = params.get("user", "").strip() or None
    if who == "history":
        values["history"] = chosen(params) or None
    if not (values.get("user") or values.get("history") or values["text"]):
        return None
    filters: dict[str, Any] = {name: params[name] for name in ("min_price", "max_price") if params.get(name)}
    filters["categories"] = [name for name in params.getlist("category") if name]
    filters["brands"] = [name for name in params.getlist("brand") if name.strip()]
    return checked(RecommendRequest, {**values, "filters": filters})


def chosen(params: QueryParams) -> list[str]:
    """Items of a history that was put together on the page, each once; with ``add`` and without ``drop``."""
    dropped = params.get("drop")
    items = [item for item in params.getlist("history") if item and item != dropped]
    return list(dict.fromkeys([*items, *([params["add"]] if params.get("add") else [])]))


async def fields_of_form(request: Request) -> dict[str, str]:
    """Fields of a form that was posted.

    Raises
    ------
    Problem
        ``wrong-type`` or ``malformed``.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem("wrong-type", "A form is sent as application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise Problem("malformed", "The form cannot be read.") from error
    return dict(pairs)


def placed_of(fields: dict[str, str]) -> PlaceRequest:
    """The item that a form describes.

    Raises
    ------
    Problem
        ``invalid``.
    """
    values: dict[str, Any] = {
        name: fields[name].strip() for name in ItemFields.model_fields if fields.get(name, "").strip()
    }
    if "categories" in values:
        values["categories"] = [name.strip() for name in values["categories"].split(",") if name.strip()]
    if not values.keys() - {"price"}:
        entry = {"field": "title", "message": "there is nothing to read yet", "accepted": "a title or a description"}
        raise Problem("invalid", "Write a title or a description.", errors=[entry])
    return checked(PlaceRequest, {**values, "k": 8})
