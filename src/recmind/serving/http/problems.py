"""Errors as RFC 9457 problems: what is wrong, in which field, the value got, the values accepted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from recmind.errors import BundleError, ConfigError, DataError, RecMindError, UnknownIdError

MEDIA_TYPE = "application/problem+json"
_SHOWN = 200
"""Characters of a value that are repeated in a problem."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status, its title and what a caller can do."""

    status: int
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(400, "The request cannot be read", "Send one JSON document in UTF-8."),
    "unknown-host": Kind(400, "The server does not go by this name", "Name it with --allow-host, or use its address."),
    "no-key": Kind(401, "A key is needed", "Send `Authorization: Bearer KEY`, or log in on the page."),
    "wrong-key": Kind(401, "The key is not known", "Ask for a new one; a revoked key stays unknown."),
    "not-allowed": Kind(403, "The key may not do this", "Use a key with the role that `accepted` names."),
    "other-origin": Kind(403, "Another site's page sent this", "Browsers may only send from the server's own page."),
    "unknown-id": Kind(404, "There is no such user or item", "Ids are those of the dataset and what was added since."),
    "not-found": Kind(404, "There is nothing at this path", "All paths are in /openapi.json."),
    "wrong-method": Kind(405, "The path takes another method", "The header Allow names it."),
    "too-slow": Kind(408, "The request took too long to arrive", "Send it again, faster."),
    "cannot": Kind(409, "The model that is served cannot do this", "What it can do is in /v1/status under `can`."),
    "too-large": Kind(413, "The body is too large", "Send less at once."),
    "wrong-type": Kind(415, "The body is not JSON", "Send `Content-Type: application/json`."),
    "invalid": Kind(422, "A value is not accepted", "`errors` names the fields and the values that are accepted."),
    "too-many": Kind(429, "Too many requests", "Wait for as long as the header Retry-After says."),
    "headers-too-large": Kind(431, "The headers are too large", "Send fewer and shorter ones."),
    "failed": Kind(500, "The server failed", "Its log has the cause under the request's id."),
    "busy": Kind(503, "The server has too much to do", "Try again after the time in the header Retry-After."),
    "not-ready": Kind(503, "The server is starting or stopping", "Ask again, or another server."),
    "too-long": Kind(503, "The answer took too long", "Ask for less at once, or try again."),
}
"""Every problem that the server answers with, by the last part of its ``type``."""


class Problem(HTTPException):
    """Something that is answered with a problem.

    An ``HTTPException``, since the framework lets only those pass while it reads a body.

    Parameters
    ----------
    kind:
        A key of :data:`KINDS`.
    detail:
        What is wrong this time, in a sentence.
    errors:
        One entry a field: ``field``, ``message`` and where they help ``got`` and ``accepted``.
    headers:
        Headers of the answer.
    """

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(KINDS[kind].status, detail or KINDS[kind].advice, dict(headers or {}))
        self.kind, self.errors = kind, list(errors)

    def to_json(self, root_path: str = "", request_id: str = "") -> dict[str, Any]:
        """The problem as RFC 9457 has it."""
        kind = KINDS[self.kind]
        content: dict[str, Any] = {
            "type": f"{root_path}/problems#{self.kind}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
        }
        if request_id:
            content["instance"] = f"urn:recmind:request:{request_id}"
        if self.errors:
            content["errors"] = [dict(error) for error in self.errors]
        return content

    def response(self, root_path: str = "", request_id: str = "") -> Response:
        """The answer."""
        # ASCII: what is repeated from a request may hold half a surrogate pair, which UTF-8 cannot carry.
        body = json.dumps(self.to_json(root_path, request_id), ensure_ascii=True)
        return Response(body, self.status_code, headers=self.headers, media_type=MEDIA_TYPE)


def from_error(error: RecMindError) -> Problem:
    """The problem that an error of the recommender is."""
    kind = "failed"
    if isinstance(error, UnknownIdError):
        kind = "unknown-id"
    elif isinstance(error, BundleError):
        kind = "failed"
    elif isinstance(error, DataError):
        kind = "invalid"
    elif isinstance(error, ConfigError):
        kind = "cannot"
    if kind == "failed":
        return Problem(kind)
    entry: dict[str, Any] = {"field": str(error.where or ""), "message": error.what}
    if error.got is not None:
        entry["got"] = shown(error.got)
    if error.accepted is not None:
        entry["accepted"] = accepted(error.accepted)
    return Problem(kind, error.what, errors=[entry])


def from_validation(errors: Iterable[Mapping[str, Any]], place: str = "") -> Problem:
    """The problem that pydantic's errors are, found in the query or the body where the errors do not say it."""
    found = [{**error, "loc": (place, *error["loc"])} if place else error for error in errors]
    if any(error["type"] == "json_invalid" for error in found):
        cause = (found[0].get("ctx") or {}).get("error", "")
        return Problem("malformed", f"The body is not JSON: {shown(cause)}" if cause else "The body is not JSON.")
    if any(tuple(error["loc"]) == ("body",) and isinstance(error.get("input"), bytes) for error in found):
        return Problem("wrong-type")
    entries = [_entry(error) for error in found[:20]]
    fields = ", ".join(entry["field"] for entry in entries)
    return Problem("invalid", f"Not accepted: {shown(fields)}", errors=entries)


def unknown_parameters(names: Sequence[str], known: Sequence[str]) -> Problem:
    """The problem that a query names what the route does not read."""
    what = ", ".join(known) if known else "none"
    entries = [
        {"field": shown(name), "message": "there is no such parameter", "in": "query", "accepted": what}
        for name in names[:20]
    ]
    return Problem("invalid", f"Not accepted: {shown(', '.join(names))}", errors=entries)


_PLACES = ("body", "query", "path", "header", "cookie")


def _entry(error: Mapping[str, Any]) -> dict[str, Any]:
    place = [str(part) for part in error["loc"]]
    names = place[1:] if place and place[0] in _PLACES else place
    entry: dict[str, Any] = {"field": ".".join(names) or "body", "message": error["msg"]}
    if place and place[0] in _PLACES:
        entry["in"] = place[0]
    if error["type"] != "missing":
        entry["got"] = shown(error.get("input"))
    limits = {name: value for name, value in (error.get("ctx") or {}).items() if name != "error"}
    if limits:
        entry["accepted"] = {name: shown(value) for name, value in limits.items()}
    return entry


def accepted(values: Iterable[object] | str) -> str:
    """Accepted values in a sentence's length."""
    return values if isinstance(values, str) else ", ".join(str(value) for value in values)


def shown(value: Any) -> Any:
    """A value that a problem may repeat: itself where it is short and plain, else the beginning of its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else "a huge number"
    text = value if isinstance(value, str) else repr(value)[: _SHOWN + 1]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
