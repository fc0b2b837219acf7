"""What every request passes before a route sees it, and what its answer gets on the way out.

In this order: a request id; the header Host; where a browser says that a page
sent it, that the page is ours; the key; the client's rate; the body's size and
the time that it takes; the time of the whole. Each answer gets the request's id
and the headers that keep a browser strict, and is counted and logged, with the
route's template in place of the path.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recmind.serving.http import logs
from recmind.serving.http.keys import ANYONE, Key, Keys, Role
from recmind.serving.http.limits import Rates
from recmind.serving.http.metrics import Metrics
from recmind.serving.http.problems import Problem
from recmind.serving.http.sessions import COOKIE, Sessions
from recmind.serving.http.settings import ServeSettings

Refusal = Callable[[Scope, Problem], Response]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/healthz", "/readyz", "/login", "/problems")
"""Paths that need no key, beside the files of the page; they tell nothing about the model."""
_SAFE = ("GET", "HEAD", "OPTIONS")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_STRICT = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_UNKEPT = (b"cache-control", b"no-store")


@dataclass(slots=True)
class Context:
    """What the guard knows of a request; ``scope["recmind"]``.

    Attributes
    ----------
    request_id:
        The client's ``X-Request-ID`` where it is a plain one, else our own.
    caller:
        The key that was shown; ``None`` on open paths without one.
    client:
        Whose rate it counts for.
    """

    request_id: str
    caller: Key | None = None
    client: str = ""
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    answering: bool = False


@dataclass(slots=True)
class Access:
    """Who may call. Changes as a whole when the keys are read again."""

    keys: Keys | None
    sessions: Sessions = field(default_factory=Sessions)

    def caller(self, headers: Headers) -> Key | None:
        """The key of a request; everybody where keys are off.

        Raises
        ------
        Problem
            ``wrong-key``, where a key is shown that is not known.
        """
        if self.keys is None:
            return ANYONE
        kind, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if secret:
            if (key := self.keys.find(secret)) is None:
                raise Problem("wrong-key", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
            return key
        sha256 = self.sessions.read(_cookie(headers))
        return None if sha256 is None else self.keys.by_digest(sha256)


class Guard:
    """Pure ASGI around the application.

    Parameters
    ----------
    app:
        What answers.
    settings, access, metrics:
        See there.
    refusal:
        Makes the answer of a problem.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, access: Access, metrics: Metrics, refusal: Refusal
    ) -> None:
        self._app, self._settings, self.access, self.metrics = app, settings, access, metrics
        self._refusal = refusal
        self._hosts = settings.answered_hosts
        self._rates = Rates(settings.rate, settings.burst)
        # Wrong keys are an attack or a mistake; neither needs more than a few tries.
        self._failures = Rates(1.0, 20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        # Nothing here speaks WebSocket; without an answer the server refuses the handshake.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        context = Context(given if _REQUEST_ID.fullmatch(given) else os.urandom(8).hex())
        scope["recmind"] = context
        sender = self._sender(scope, context, send)
        self.metrics.under_way.inc()
        error: BaseException | None = None
        # What answers GET answers HEAD, which probes send, without the body.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                self._admit(scope, headers, context)
                await self._app(asked, self._receiver(headers, receive), sender)
        except Problem as problem:
            await self._refuse(problem, scope, context, sender)
        except TimeoutError:
            await self._refuse(Problem("too-long", headers={"Retry-After": "1"}), scope, context, sender)
        except Exception as failure:
            error = failure
            await self._refuse(Problem("failed"), scope, context, sender)
        finally:
            self.metrics.under_way.dec()
            self._note({**asked, "method": scope["method"]}, context, error)

    # -- on the way in -------------------------------------------------------------------------------------------

    def _admit(self, scope: Scope, headers: Headers, context: Context) -> None:
        self._check_host(headers)
        if scope["method"] not in _SAFE:
            self._check_origin(headers)
        address = (scope.get("client") or ("",))[0]
        path = _path(scope)
        try:
            context.caller = self.access.caller(headers)
        except Problem:
            self.count_failure(scope)
            raise
        context.client = address if context.caller in (None, ANYONE) else f"key {context.caller.name}"
        if path not in ("/healthz", "/readyz"):
            self.charge(context, 1)
        if context.caller is None and not (path in _OPEN or path.startswith("/static/")):
            raise Problem("no-key", headers={"WWW-Authenticate": "Bearer"})

    def count_failure(self, scope: Scope) -> None:
        """Count a wrong key for its address.

        Raises
        ------
        Problem
            ``too-many``.
        """
        self._limit(self._failures.take((scope.get("client") or ("",))[0]))

    def charge(self, context: Context, tokens: float) -> None:
        """Count a request, or what is dear in it, for its client.

        Raises
        ------
        Problem
            ``too-many``.
        """
        self._limit(self._rates.take(context.client, tokens))

    @staticmethod
    def _limit(wait: float) -> None:
        if wait:
            raise Problem("too-many", headers={"Retry-After": str(math.ceil(wait))})

    def _check_host(self, headers: Headers) -> None:
        if not self._hosts:
            return
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
        if name not in self._hosts:
            raise Problem("unknown-host", "The header Host names another server.")

    @staticmethod
    def _check_origin(headers: Headers) -> None:
        """A browser says where a page came from; programs say nothing."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        foreign = site is not None and site not in ("same-origin", "none")
        if foreign or (origin is not None and origin.partition("://")[2] != headers.get("host", "")):
            raise Problem("other-origin")

    def _receiver(self, headers: Headers, receive: Receive) -> Receive:
        """``receive`` with a body that ends in time and stays within its bounds."""
        most = self._settings.max_body
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > most:
            raise Problem("too-large", f"A body may have {most} bytes.", headers={"Connection": "close"})
        loop = asyncio.get_running_loop()
        got, ends, whole = 0, loop.time() + self._settings.body_seconds, False

        async def bounded() -> Message:
            nonlocal got, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise Problem("too-slow", headers={"Connection": "close"}) from None
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if got > most:
                    raise Problem("too-large", f"A body may have {most} bytes.", headers={"Connection": "close"})
            return message

        return bounded

    # -- on the way out ------------------------------------------------------------------------------------------

    @staticmethod
    def _sender(scope: Scope, context: Context, send: Send) -> Send:
        extra = [*_STRICT, (b"x-request-id", context.request_id.encode())]
        kept, bodiless = _path(scope).startswith("/static/"), scope["method"] == "HEAD"

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status, context.answering = message["status"], True
                message["headers"] = [*message.get("headers", ()), *extra, *(() if kept else (_UNKEPT,))]
            elif bodiless:
                message = {**message, "body": b""}
            await send(message)

        return strict

    async def _refuse(self, problem: Problem, scope: Scope, context: Context, send: Send) -> None:
        if context.answering:
            # Half an answer cannot become a problem; the server closes the connection, and nobody takes it for whole.
            return
        response = self._refusal(scope, problem)
        if scope["method"] not in _SAFE:
            response.headers["connection"] = "close"  # the rest of the body is not worth reading
        await response(scope, _nothing, send)

    def _note(self, scope: Scope, context: Context, error: BaseException | None) -> None:
        seconds = time.perf_counter() - context.started
        route = "/static" if _path(scope).startswith("/static/") else getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        status = context.status or 499
        self.metrics.answered(method, route, status, seconds)
        logs.event(
            "request",
            level=logging.ERROR if error is not None else logging.INFO,
            error=error,
            request_id=context.request_id,
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 2),
            key=context.caller.name if context.caller is not None else None,
        )


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"))


def _path(scope: Scope) -> str:
    """The path below the proxy's."""
    return scope["path"].removeprefix(scope.get("root_path", ""))


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        morsel: Any = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def require(context: Context, role: Role) -> None:
    """Let only keys with a role pass.

    Raises
    ------
    Problem
        ``not-allowed``.
    """
    if context.caller is None or not context.caller.may(role):
        entry = {"field": "key", "message": "the key's role is not enough", "accepted": f"a key with the role {role}"}
        if context.caller is not None:
            entry["got"] = context.caller.role
        raise Problem("not-allowed", errors=[entry])
