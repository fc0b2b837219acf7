"""The application: routes, what becomes of errors, life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from recmind import __version__
from recmind.errors import RecMindError
from recmind.serving.http import api, changes, logs, operations, pages
from recmind.serving.http.access import shown_key
from recmind.serving.http.answers import ProblemAnswer
from recmind.serving.http.guard import Access, Guard
from recmind.serving.http.metrics import Metrics
from recmind.serving.http.problems import Problem, from_error, from_validation
from recmind.serving.http.service import Service
from recmind.serving.http.settings import ServeSettings

STATIC = Path(__file__).parent / "static"

_DESCRIPTION = """\
Recommendations for users, histories and wishes in words, with their reasons. Send `Authorization: Bearer KEY` where the
server has keys. Errors are problems (RFC 9457, `application/problem+json`) that name the field, the value got and the
values accepted. Every answer has an `X-Request-ID`, which the server's log has too.
"""


def make_app(service: Service, settings: ServeSettings, access: Access) -> Guard:
    """The ASGI application.

    Parameters
    ----------
    service:
        The recommender and its threads; closed when the application ends.
    settings:
        Bounds.
    access:
        Keys.
    """
    app = FastAPI(
        title="RecMind",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_life,
    )
    metrics = Metrics(service)
    guard = Guard(app, settings, access, metrics, _refusal)
    app.state.service, app.state.settings, app.state.access = service, settings, access
    app.state.metrics, app.state.guard = metrics, guard
    for router in (api.router, changes.router, operations.router):
        app.include_router(router, dependencies=[shown_key] if router is not operations.router else [])
    app.include_router(pages.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RecMindError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.openapi = lambda: _openapi(app)
    return guard


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    if service.warms:
        # In a thread, so that lists are served meanwhile; a text asked for now waits behind it.
        warming = asyncio.ensure_future(service.words.call(service.live.warm))
        warming.add_done_callback(_warmed)
    service.state = "ok"
    try:
        yield
    finally:
        await asyncio.to_thread(service.close)


def _warmed(done: asyncio.Future[None]) -> None:
    error = None if done.cancelled() else done.exception()
    logs.event("language model loaded" if error is None else "language model not loaded", error=error)


# -- errors ------------------------------------------------------------------------------------------------------


def _refusal(scope: Scope, problem: Problem) -> Response:
    """A problem as JSON for programs, as a page for people."""
    request = Request(scope)
    if pages.is_for_people(request):
        return pages.problem_page(request, problem)
    return problem.response(scope.get("root_path", ""), scope["recmind"].request_id)


async def _on_problem(request: Request, error: Any) -> Response:
    return _refusal(request.scope, error)


async def _on_error(request: Request, error: Any) -> Response:
    problem = from_error(error)
    if problem.kind == "failed":
        raise error
    return _refusal(request.scope, problem)


async def _on_validation(request: Request, error: Any) -> Response:
    return _refusal(request.scope, from_validation(error.errors()))


async def _on_http(request: Request, error: Any) -> Response:
    """What the framework itself refuses: an unknown path, another method, a body that cannot be read."""
    kind = {404: "not-found", 405: "wrong-method", 400: "malformed"}.get(error.status_code)
    if kind is None:
        raise error
    return _refusal(request.scope, Problem(kind, headers=error.headers))


# -- OpenAPI -----------------------------------------------------------------------------------------------------


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            separate_input_output_schemas=True,
        )
        components = schema["components"]["schemas"]
        problem = TypeAdapter(ProblemAnswer).json_schema(ref_template="#/components/schemas/{model}")
        components.update(problem.pop("$defs", {}))
        components[ProblemAnswer.__name__] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
