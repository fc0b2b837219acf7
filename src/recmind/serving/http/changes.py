"""Writes: items, interactions, deletions. All of them need the role write, and are on disk when they are answered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from recmind.serving.http import answers
from recmind.serving.http.access import documented, writers
from recmind.serving.http.api import Json, charge_text, service_of
from recmind.serving.http.models import AddInteractionsRequest, AddItemsRequest, Id
from recmind.serving.http.quick import quick

router = APIRouter(prefix="/v1", dependencies=[writers], responses=documented, route_class=quick("write"))


@router.post("/items", response_model=answers.AddedItems, summary="Let items enter by their texts")
async def add_items(request: Request, asked: AddItemsRequest) -> Response:
    """An item that is there already stays as it is."""
    service = service_of(request)
    charge_text(request)
    items = [one.native() for one in asked.items]
    return Json({"new": await service.changes.call(service.live.add_items, items)})


@router.post("/interactions", response_model=answers.AddedInteractions, summary="Users chose items")
async def add_interactions(request: Request, asked: AddInteractionsRequest) -> Response:
    """Oldest first; users may be new, items must be known. What is known already is passed over."""
    service = service_of(request)
    pairs = [(one.user, one.item) for one in asked.interactions]
    return Json({"new": await service.changes.call(service.live.add_interactions, pairs)})


@router.delete("/item", status_code=204, summary="Delete an item")
async def delete_item(request: Request, id: Annotated[Id, Query()]) -> Response:
    """It stands in no list, text or history any more."""
    service = service_of(request)
    await service.changes.call(service.live.delete_item, id)
    return Response(status_code=204)


@router.delete("/user", status_code=204, summary="Delete a user")
async def delete_user(request: Request, id: Annotated[Id, Query()]) -> Response:
    """Everything of that person is gone from what is served and from the changes on disk.

    The bundle's own files never change: what they hold of a person whom the model was trained on stays there, shut by
    a salted hash of the id, until a bundle is made from data without that person.
    """
    service = service_of(request)
    await service.changes.call(service.live.delete_user, id)
    return Response(status_code=204)
