"""The page: what a person sees. Templates are rendered here; htmx asks for parts of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from recmind import __version__
from recmind.errors import RecMindError
from recmind.serving.http import charts, forms
from recmind.serving.http.access import readers
from recmind.serving.http.api import charge_text, reasons, service_of, suggestions
from recmind.serving.http.card_view import card_view
from recmind.serving.http.forms import asked_of, chosen, fields_of_form, placed_of
from recmind.serving.http.keys import ANYONE, digest
from recmind.serving.http.models import ExplainRequest, RecommendRequest
from recmind.serving.http.problems import KINDS, Problem, from_error
from recmind.serving.http.sessions import COOKIE, SECONDS
from recmind.serving.reader import Reader

router = APIRouter()
_open = APIRouter()
_closed = APIRouter(dependencies=[readers])

_PEOPLE = ("/", "/item", "/new", "/model", "/api", "/login", "/logout", "/problems")
"""Paths whose errors are pages; those of the rest are JSON."""


def _text(value: Any) -> str:
    """A field of an item as a line of text."""
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value if one is not None)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items() if one is not None)
    return "" if value is None else str(value)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    line=_text, query=lambda values: urlencode(values, doseq=True), quoted=lambda v: quote(v, safe="")
)
_ENVIRONMENT.globals.update(version=__version__, parts=charts.PARTS, k_choices=forms.K_CHOICES)


def rendered(request: Request, name: str, code: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    context = request.scope["recmind"]
    about = {
        "root": request.scope.get("root_path", ""),
        "path": request.scope["path"].removeprefix(request.scope.get("root_path", "")),
        "can": service_of(request).live.can,
        "logged_in": context.caller is not None and context.caller is not ANYONE,
    }
    page = _ENVIRONMENT.get_template(name).render(**about, **values)
    return HTMLResponse(page.encode("utf-8", "replace"), code, headers={"Vary": "HX-Request"})


def is_part(request: Request) -> bool:
    """Whether htmx asks for a part of the page."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def is_for_people(request: Request) -> bool:
    """Whether an error is shown to a person."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return is_part(request) or (path in _PEOPLE and "text/html" in request.headers.get("accept", ""))


def problem_page(request: Request, problem: Problem) -> Response:
    """A problem for a person: a page, a part of one, or the way to the login."""
    if problem.kind == "no-key":
        login = f"{request.scope.get('root_path', '')}/login"
        if is_part(request):
            return Response(status_code=401, headers={"HX-Redirect": login})
        return RedirectResponse(login, 303)
    shown = problem.to_json(request_id=request.scope["recmind"].request_id)
    name = "_problem.html" if is_part(request) else "problem.html"
    response = rendered(request, name, problem.status_code, problem=shown)
    response.headers.update(problem.headers or {})
    return response


# -- lists -------------------------------------------------------------------------------------------------------


@_closed.get("/")
async def recommend_page(request: Request) -> Response:
    """Pick a user, put together a history, or type a wish; look at the list and its reasons."""
    service, params = service_of(request), request.query_params
    live = service.live.moment()
    if is_part(request):
        asked = asked_of(params)
        found = None if asked is None else await _listed(request, live, asked)
        return rendered(request, "_list.html", found=found, params=params)
    found, problem = None, None
    try:
        asked = asked_of(params)
        found = None if asked is None else await _listed(request, live, asked)
    except (Problem, RecMindError) as error:
        # The form stays, so that what is wrong can be mended.
        problem = error if isinstance(error, Problem) else from_error(error)
        if problem.kind == "failed":
            raise
    choices = await service.lists.call(_choices, live, chosen(params))
    shown = None if problem is None else problem.to_json(request_id=request.scope["recmind"].request_id)
    status = 200 if problem is None else problem.status_code
    return rendered(request, "recommend.html", status, found=found, params=params, problem=shown, **choices)


def _choices(live: Reader, history: list[str]) -> dict[str, Any]:
    """What the form offers."""
    return {
        "users": live.users(limit=8),
        "categories": live.categories(limit=150),
        "brands": live.brands(limit=300),
        "items": _known_fields(live, history),
        "popular": _fields(live, live.find_items(limit=6)),
    }


async def _listed(request: Request, live: Reader, asked: RecommendRequest) -> dict[str, Any]:
    service = service_of(request)
    if asked.text is not None:
        charge_text(request)
        return await service.words.call(_found, live, asked)
    return await service.lists.call(_found, live, asked)


def _found(live: Reader, asked: RecommendRequest) -> dict[str, Any]:
    """A list with everything that the page says of it."""
    lines = suggestions(live, asked)
    why = reasons(live, asked, lines) if lines else []
    span = charts.Span.of(why)
    entries = [
        {
            "line": line,
            "fields": fields,
            "reason": reason,
            "bar": charts.why_bar(reason, span),
            "history": _carried(live, reason.history),
        }
        for line, fields, reason in zip(lines, _fields(live, [one.item_id for one in lines]), why, strict=True)
    ]
    known = live.history(asked.user, 12) if asked.user is not None else list(asked.history or ())[-12:]
    return {"asked": asked, "entries": entries, "known": _known_fields(live, known)}


def _carried(live: Reader, history: Any) -> list[dict[str, Any]]:
    most = max((abs(part.part) for part in history), default=0.0)
    fields = _fields(live, [part.item_id for part in history])
    return [
        {"fields": one, "part": part.part, "bar": charts.share_bar(part.part, most)}
        for part, one in zip(history, fields, strict=True)
    ]


def _fields(live: Reader, items: list[str]) -> list[dict[str, Any]]:
    return live.items(items) if items else []


def _known_fields(live: Reader, items: list[str]) -> list[dict[str, Any]]:
    """The same without items that are not there."""
    return _fields(live, [item for item in items if live.has_item(item)])


@_closed.get("/words")
async def words(request: Request) -> Response:
    """Words of an item's text that are nearest to the taste: asked for when somebody looks at the reasons."""
    service, params = service_of(request), request.query_params
    live, asked = service.live.moment(), asked_of(params)
    if asked is None:
        raise Problem("invalid", "Nobody is named.")
    values = {"user": asked.user, "history": asked.history, "text": asked.text, "text_weight": asked.text_weight}
    wanted = forms.checked(ExplainRequest, {**values, "item": params.get("item", ""), "words": 8, "history_items": 0})
    charge_text(request)
    reason = await service.words.call(live.explain, wanted.item, **values, words=8, history_items=0)
    return rendered(request, "_words.html", words=reason.words)


@_closed.get("/suggest/users")
async def suggest_users(request: Request) -> Response:
    """Ids for the list below the field."""
    service = service_of(request)
    prefix = request.query_params.get("user", "")[:200].strip()
    return rendered(request, "_users.html", users=await service.lists.call(service.live.users, prefix, 12))


@_closed.get("/suggest/items")
async def suggest_items(request: Request) -> Response:
    """Items for a history."""
    service = service_of(request)
    sought = request.query_params.get("find", "")[:200].replace("\x00", " ")
    live = service.live.moment()
    found = await service.lists.call(lambda: _fields(live, live.find_items(sought, 8)))
    return rendered(request, "_found.html", items=found)


@_closed.get("/history")
async def history(request: Request) -> Response:
    """The history with one item more or less."""
    service = service_of(request)
    items = chosen(request.query_params)[:50]
    live = service.live.moment()
    response = rendered(request, "_chosen.html", items=await service.lists.call(_known_fields, live, items))
    response.headers["HX-Trigger-After-Settle"] = "chosen"
    return response


# -- items -------------------------------------------------------------------------------------------------------


@_closed.get("/item")
async def item_page(request: Request) -> Response:
    """An item, what is like it, who would get it."""
    service = service_of(request)
    live, item = service.live.moment(), request.query_params.get("id", "")

    def make() -> dict[str, Any]:
        similar = live.similar_items(item, 8)
        neighbours = list(zip(similar, _fields(live, [one.item_id for one in similar]), strict=True))
        return {"item": live.item(item), "neighbours": neighbours, "people": live.users_for(item, 8)}

    return rendered(request, "item.html", **await service.lists.call(make))


@_closed.get("/new")
async def new_page(request: Request) -> Response:
    """The playground for items that do not exist yet."""
    return rendered(request, "new.html", placed=None, fields={}, problem=None)


@_closed.post("/new")
async def new_placed(request: Request) -> Response:
    """Where the item of the form would stand."""
    service = service_of(request)
    fields, placed, problem = await fields_of_form(request), None, None
    try:
        asked = placed_of(fields)
        charge_text(request)
        placed = await service.words.call(_placed, service.live.moment(), asked.native())
    except Problem as error:
        problem = error
    shown = None if problem is None else problem.to_json(request_id=request.scope["recmind"].request_id)
    name = "_placement.html" if is_part(request) else "new.html"
    status = 200 if problem is None else problem.status_code
    return rendered(request, name, status, placed=placed, fields=fields, problem=shown)


def _placed(live: Reader, fields: dict[str, Any]) -> dict[str, Any]:
    k = fields.pop("k")
    found = live.place(fields, k)
    neighbours = list(zip(found.neighbours, _fields(live, [one.item_id for one in found.neighbours]), strict=True))
    return {"neighbours": neighbours, "people": found.users, "has_text": found.has_text}


# -- the rest ----------------------------------------------------------------------------------------------------


@_closed.get("/model")
async def model_page(request: Request) -> Response:
    """What is served, how well it ranks, and for whom."""
    service = service_of(request)
    live = service.live.moment()
    status = await service.lists.call(lambda: live.status)
    return rendered(request, "model.html", status=status, card=live.card, view=card_view(live.card))


@_closed.get("/api")
async def api_page(request: Request) -> Response:
    """The API for people."""
    schema = request.app.openapi()
    routes = [
        {
            "path": path,
            "method": method.upper(),
            "summary": about.get("summary", ""),
            "text": about.get("description", ""),
        }
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
    ]
    some = await service_of(request).lists.call(service_of(request).live.users, "", 1)
    return rendered(request, "api.html", routes=routes, host=request.headers.get("host", ""), user=(some or ["ID"])[0])


@_closed.get("/openapi.json")
async def openapi(request: Request) -> dict[str, Any]:
    """The API for programs."""
    return request.app.openapi()


@_open.get("/problems")
async def problems_page(request: Request) -> Response:
    """What each kind of problem means."""
    return rendered(request, "problems.html", kinds=KINDS)


@_open.get("/login")
async def login_page(request: Request) -> Response:
    """Ask for a key."""
    return rendered(request, "login.html", wrong=False)


@_open.post("/login")
async def login(request: Request) -> Response:
    """Take a key and give a cookie."""
    access, guard = request.app.state.access, request.app.state.guard
    secret = (await fields_of_form(request)).get("key", "").strip()
    if access.keys is None or access.keys.find(secret) is None:
        guard.count_failure(request.scope)
        return rendered(request, "login.html", 401, wrong=True)
    root = request.scope.get("root_path", "")
    response = RedirectResponse(f"{root}/", 303)
    response.set_cookie(
        COOKIE,
        access.sessions.make(digest(secret)),
        max_age=SECONDS,
        path=f"{root}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@_open.post("/logout")
async def logout(request: Request) -> Response:
    """Forget the cookie."""
    root = request.scope.get("root_path", "")
    response = RedirectResponse(f"{root}/login", 303)
    response.delete_cookie(COOKIE, path=f"{root}/", httponly=True, samesite="strict")
    return response


@_open.get("/favicon.ico")
async def icon() -> Response:
    """None; browsers ask for it."""
    return Response(status_code=204)


router.include_router(_open)
router.include_router(_closed)
