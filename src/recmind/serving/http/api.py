"""Queries: lists, reasons, placements, look-ups. All of them need the role read.

Plain lists of users are made together with those that came at the same time
(:mod:`recmind.serving.http.searches`), the rest in threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from recmind.serving.answers import Placement, Reason, Status, Suggestion
from recmind.serving.http import answers
from recmind.serving.http.access import documented, readers
from recmind.serving.http.forms import checked
from recmind.serving.http.guard import Guard
from recmind.serving.http.models import (
    BatchRequest,
    ExplainRequest,
    Id,
    K,
    Listed,
    PlaceRequest,
    RecommendRequest,
    Share,
    SimilarRequest,
    Text,
)
from recmind.serving.http.quick import quick
from recmind.serving.http.service import Service
from recmind.serving.reader import Reader

router = APIRouter(prefix="/v1", dependencies=[readers], responses=documented, route_class=quick("read"))

Limit = Annotated[int, Query(ge=1, le=200)]
Words = Annotated[str, Query(max_length=200, pattern="^[^\x00]*$")]


class Json(Response):
    """Plain values as JSON; numbers that are none would be an error of ours and are not sent."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )


def service_of(request: Request) -> Service:
    """What the routes work with."""
    return request.app.state.service


async def run(request: Request, asked: Listed, text: str | None, make: Callable[[], Any]) -> Any:
    """Make a list in a thread, or where the language model is."""
    service = service_of(request)
    if text is not None:
        charge_text(request)
        return await service.words.call(make)
    return await service.lists.call(make)


def charge_text(request: Request) -> None:
    """Count what the language model must read, beside the request itself."""
    guard: Guard = request.app.state.guard
    guard.charge(request.scope["recmind"], request.app.state.settings.text_cost - 1)


def suggestions(live: Reader, asked: RecommendRequest) -> list[Suggestion]:
    """The list that is asked for."""
    options = asked.options()
    if asked.user is not None:
        return live.recommend(asked.user, asked.k, options=options, text=asked.text, text_weight=asked.text_weight)
    if asked.history is not None:
        return live.recommend_for_history(
            asked.history, asked.k, options=options, text=asked.text, text_weight=asked.text_weight
        )
    return live.recommend_for_text(asked.text or "", asked.k, options=options)


def dressed(live: Reader, found: list[Suggestion], asked: Listed) -> list[dict[str, Any]]:
    """A list as plain values, with fields and reasons where they are asked for."""
    lines = answers.lines(found)
    if asked.fields and found:
        for line, fields in zip(lines, live.items([one.item_id for one in found]), strict=True):
            line["fields"] = fields
    if isinstance(asked, RecommendRequest) and asked.explain and found:
        for line, reason in zip(lines, reasons(live, asked, found), strict=True):
            line["reason"] = answers.reason(reason)
    return lines


def reasons(live: Reader, asked: RecommendRequest, found: list[Suggestion]) -> list[Reason]:
    """Why each of a list stands in it."""
    return live.explain_many(
        [one.item_id for one in found],
        user=asked.user,
        history=asked.history,
        text=asked.text,
        text_weight=asked.text_weight,
    )


async def _recommended(request: Request, asked: RecommendRequest) -> Json:
    service = service_of(request)
    if asked.plain and asked.text is None and asked.user is not None:
        bundle, found = await service.searches.ask(asked.user, asked.k, asked.options())
        return Json({"bundle": bundle, "items": answers.lines(found)})
    live = service.live.moment()  # the list and what is said of it belong together
    items = await run(request, asked, asked.text, lambda: dressed(live, suggestions(live, asked), asked))
    return Json({"bundle": live.bundle_id, "items": items})


@router.get("/recommend", response_model=answers.ListAnswer, summary="A list for a user, a wish in words, or both")
async def recommend_simply(
    request: Request,
    user: Annotated[Id | None, Query()] = None,
    text: Annotated[Text | None, Query()] = None,
    k: Annotated[K, Query()] = 10,
    text_weight: Annotated[Share, Query()] = 0.5,
    diversity: Annotated[Share, Query()] = 0.0,
    fields: bool = False,
    explain: bool = False,
) -> Response:
    """The plain form; filters, histories and more are in the POST of the same path."""
    values = {"user": user, "text": text, "k": k, "text_weight": text_weight, "diversity": diversity}
    return await _recommended(request, checked(RecommendRequest, {**values, "fields": fields, "explain": explain}))


@router.post("/recommend", response_model=answers.ListAnswer, summary="A list for a user, a history or a wish")
async def recommend(request: Request, asked: RecommendRequest) -> Response:
    """The best items of a known user, of somebody with a history, or for a wish in words, or for two of these."""
    return await _recommended(request, asked)


@router.post("/recommend/batch", response_model=answers.BatchAnswer, summary="Lists for several users at once")
async def recommend_many(request: Request, asked: BatchRequest) -> Response:
    """One search for all of them. An unknown user is a problem that names the id."""
    service = service_of(request)
    live = service.live.moment()

    def make() -> list[Any]:
        lists = live.recommend_many(asked.users, asked.k, options=asked.options())
        return [dressed(live, found, asked) for found in lists]

    return Json({"bundle": live.bundle_id, "lists": await service.lists.call(make)})


@router.get("/similar", response_model=answers.ListAnswer, summary="Items like an item")
async def similar_simply(request: Request, item: Annotated[Id, Query()], k: Annotated[K, Query()] = 10) -> Response:
    """The plain form; the score is the cosine of the vectors."""
    return await similar(request, SimilarRequest(item=item, k=k))


@router.post("/similar", response_model=answers.ListAnswer, summary="Items like an item, filtered")
async def similar(request: Request, asked: SimilarRequest) -> Response:
    """The items whose vectors point most nearly the same way; the score is the cosine."""
    live = service_of(request).live.moment()

    def make() -> list[dict[str, Any]]:
        return dressed(live, live.similar_items(asked.item, asked.k, options=asked.options()), asked)

    return Json({"bundle": live.bundle_id, "items": await run(request, asked, None, make)})


@router.post("/explain", response_model=Reason, summary="Why an item has its score")
async def explain(request: Request, asked: ExplainRequest) -> Response:
    """Exact shares of language and graph, items of the history, words of the text, gates."""
    service = service_of(request)
    reads = asked.text is not None or asked.words > 0
    if reads:
        charge_text(request)
    workers = service.words if reads else service.lists
    found = await workers.call(
        service.live.explain,
        asked.item,
        user=asked.user,
        history=asked.history,
        text=asked.text,
        text_weight=asked.text_weight,
        words=asked.words,
        history_items=asked.history_items,
    )
    return Json(answers.reason(found))


@router.post("/place", response_model=Placement, summary="Where an item would stand that is only a text")
async def place(request: Request, asked: PlaceRequest) -> Response:
    """Who would get it, and what is like it. Nothing is kept."""
    service = service_of(request)
    charge_text(request)
    fields = asked.native()
    k = fields.pop("k")
    return Json(answers.placement(await service.words.call(service.live.place, fields, k)))


@router.get("/item", summary="Fields of an item")
async def item(request: Request, id: Annotated[Id, Query()]) -> dict[str, Any]:
    """Titles and texts as they were given, and how often the item was chosen in training."""
    service = service_of(request)
    return Json(await service.lists.call(service.live.item, id))  # type: ignore[return-value]


@router.get("/items", response_model=answers.IdsAnswer, summary="Find items")
async def find_items(request: Request, words: Words = "", limit: Limit = 20) -> Response:
    """Items whose id is, or whose title holds all of, these words; popular ones first."""
    service = service_of(request)
    return Json({"ids": await service.lists.call(service.live.find_items, words, limit)})


@router.get("/user", response_model=answers.UserAnswer, summary="What is known of a user")
async def user(request: Request, id: Annotated[Id, Query()], limit: Limit = 50) -> Response:
    """The items that the user has, most recent first."""
    service = service_of(request)
    return Json({"user": id, "history": await service.lists.call(service.live.history, id, limit)})


@router.get("/users", response_model=answers.IdsAnswer, summary="Ids of users")
async def users(request: Request, prefix: Words = "", limit: Limit = 20) -> Response:
    """Ids that begin with the prefix, in order."""
    service = service_of(request)
    return Json({"ids": await service.lists.call(service.live.users, prefix, limit)})


@router.get("/categories", response_model=answers.CountedAnswer, summary="Categories to filter by")
async def categories(request: Request, limit: Limit = 200) -> Response:
    """The most frequent first."""
    service = service_of(request)
    return Json(_counted(await service.lists.call(service.live.categories, limit)))


@router.get("/brands", response_model=answers.CountedAnswer, summary="Brands to filter by")
async def brands(request: Request, limit: Limit = 200) -> Response:
    """The most frequent first."""
    service = service_of(request)
    return Json(_counted(await service.lists.call(service.live.brands, limit)))


@router.get("/model", summary="The model card")
async def model(request: Request) -> dict[str, Any]:
    """Data, metrics, strata, gate, limits, settings of the model that is served."""
    return Json(service_of(request).live.card)  # type: ignore[return-value]


@router.get("/status", response_model=Status, summary="What is served")
async def status(request: Request) -> Response:
    """Bundle, model, index, counts, and what the model can do."""
    return Json(answers.status(service_of(request).live.status))


def _counted(pairs: list[tuple[str, int]]) -> dict[str, Any]:
    return {"names": [{"name": name, "items": items} for name, items in pairs]}
