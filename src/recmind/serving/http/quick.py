"""Routes whose body goes straight to its model.

FastAPI finds out for every request again what the function wants; for a list
that takes a millisecond to make this is half of the work. A function
``(request, asked)`` of these routes gets its body read by pydantic from the
bytes, after the role; in OpenAPI it is like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from recmind.serving.http.guard import require
from recmind.serving.http.keys import Role
from recmind.serving.http.problems import Problem, from_validation, unknown_parameters

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def quick(role: Role) -> type[APIRoute]:
    """The class of a router's routes; those that have a body need ``role``, the others what their router says."""

    class Quick(APIRoute):
        def get_route_handler(self) -> Handler:
            if self.body_field is None:
                return self._known_alone(super().get_route_handler())
            endpoint: Callable[..., Any] = self.endpoint
            name = self.body_field.name
            model: Any = self.body_field.field_info.annotation
            adapter = TypeAdapter(model)

            async def handle(request: Request) -> Response:
                require(request.scope["recmind"], role)
                return await endpoint(request, **{name: read(adapter, request, await request.body())})

            return self._known_alone(handle)

        def _known_alone(self, handler: Handler) -> Handler:
            """Refuse parameters that the route does not have: left unread, a filter would seem to hold."""
            known = [field.alias for field in self.dependant.query_params]

            async def handle(request: Request) -> Response:
                if unknown := [name for name in request.query_params if name not in known]:
                    raise unknown_parameters(unknown, known)
                return await handler(request)

            return handle

    return Quick


def read(adapter: TypeAdapter[Any], request: Request, body: bytes) -> Any:
    """The body as its model.

    Raises
    ------
    Problem
        ``wrong-type``, ``malformed`` or ``invalid``.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem("wrong-type")
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False), "body") from None
