"""Roles of routes, and the problems that every route can answer with, for OpenAPI."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from recmind.serving.http.answers import ProblemAnswer
from recmind.serving.http.guard import require
from recmind.serving.http.problems import KINDS, MEDIA_TYPE

_bearer = HTTPBearer(auto_error=False, description="An API key, made with `recmind key`.")


async def _read(request: Request) -> None:
    require(request.scope["recmind"], "read")


async def _write(request: Request) -> None:
    require(request.scope["recmind"], "write")


async def _admin(request: Request) -> None:
    require(request.scope["recmind"], "admin")


readers, writers, admins = Depends(_read), Depends(_write), Depends(_admin)
"""Let a role pass; the guard has found out whose key it is."""

shown_key = Security(_bearer)
"""Says in OpenAPI that a key is needed."""


def _documented() -> dict[int | str, dict[str, Any]]:
    titles: dict[int | str, list[str]] = {}
    for kind in KINDS.values():
        if kind.status != 500:
            titles.setdefault(kind.status, []).append(kind.title)
    schema = {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    return {
        status: {"description": "; ".join(found), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, found in sorted(titles.items(), key=lambda entry: int(entry[0]))
        if status not in (405, 431)
    }


documented = _documented()
"""Answers that any route may give."""
