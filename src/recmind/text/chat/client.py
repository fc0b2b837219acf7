"""One request to an OpenAI-compatible chat endpoint, and what may become of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recmind.config import ProfilesConfig
from recmind.errors import ConfigError, EndpointError

if TYPE_CHECKING:
    import httpx2

_LARGEST_BODY = 4 * 2**20
_BODY_SHOWN = 160
_SECRET_LENGTH = 8
"""Keys that are shorter, such as `none` or `EMPTY`, are words for servers without keys and not looked for."""

_TRY_AGAIN = (408, 409, 425, 429)
_THIS_PROMPT = (400, 413, 422)
_KEY_REFUSED = (401, 403)


@dataclass(frozen=True)
class Reply:
    """What the model said, why it stopped, and what it took."""

    content: str
    finish: str | None
    tokens_in: int | None
    tokens_out: int | None
    seconds: float


class TransientError(Exception):
    """The request may succeed when it is repeated, after ``wait`` seconds if the endpoint said so.

    ``down`` marks that nothing could be reached at all, ``busy`` that the endpoint had too much to do (HTTP 429).
    """

    def __init__(self, reason: str, *, wait: float | None = None, down: bool = False, busy: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.down, self.busy = wait, down, busy


class RejectedError(Exception):
    """The endpoint will not answer this prompt, however often it is asked."""


class ChatClient:
    """Asks the endpoint of ``config``; an asynchronous context manager.

    The API key is read from the environment here, sent in the ``Authorization`` header, and taken out of
    whatever is raised.

    Raises
    ------
    ConfigError
        If the environment variable with the key is not set, or holds what cannot be a key.
    """

    def __init__(self, config: ProfilesConfig) -> None:
        self.config = config
        self.url = f"{config.base_url}/chat/completions"
        self._key = read_key(config)
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> ChatClient:
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # The whole answer has one deadline, set where it is asked for.
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=None,
            limits=httpx2.Limits(max_connections=self.config.concurrency),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.aclose()

    async def ask(self, messages: list[dict[str, str]]) -> Reply:
        """The model's reply to ``messages``.

        Raises
        ------
        TransientError
            After a time-out, a lost or cut connection, an answer that is no chat completion, or a status that
            asks for patience.
        RejectedError
            If the endpoint refuses this prompt.
        EndpointError
            If it would refuse any: wrong key, no such model or address.
        """
        import httpx2

        start = time.monotonic()
        try:
            async with asyncio.timeout(self.config.timeout):
                status, headers, body = await self._post(messages)
        except TimeoutError as error:
            raise TransientError(f"no answer within {self.config.timeout:g} s") from error
        except httpx2.ConnectError as error:
            raise TransientError(self._clean(f"cannot connect: {error}"), down=True) from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise self._fatal(f"the address cannot be used: {error}") from error
        except httpx2.HTTPError as error:
            reason = f"the connection broke: {type(error).__name__} {error}".rstrip()
            raise TransientError(self._clean(reason)) from error
        self._check_status(status, headers, body)
        return self._parse(body, time.monotonic() - start)

    async def _post(self, messages: list[dict[str, str]]) -> tuple[int, httpx2.Headers, bytes]:
        assert self._http is not None
        async with self._http.stream("POST", self.url, json=self._request(messages)) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _LARGEST_BODY:
                    raise TransientError(f"an answer of more than {_LARGEST_BODY >> 20} MB")
            return response.status_code, response.headers, bytes(body)

    def _request(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        config = self.config
        request: dict[str, Any] = {
            "model": config.model,
            "messages": messages,
            "temperature": config.temperature,
            config.max_tokens_name: config.max_tokens,
        }
        if config.json_mode:
            request["response_format"] = {"type": "json_object"}
        return request

    def _check_status(self, status: int, headers: httpx2.Headers, body: bytes) -> None:
        if status == 200:
            return
        if status in _KEY_REFUSED:
            # What the endpoint says here often quotes part of the key.
            name = self.config.api_key_env
            hint = f"check the key in the environment variable {name}" if name else "set text.profiles.api_key_env"
            raise self._fatal(f"the endpoint refuses access (HTTP {status})", hint=hint)
        said = self._said(body)
        reason = f"HTTP {status}{': ' if said else ''}{said}"
        if status == 429 and "insufficient_quota" in said:
            raise self._fatal(f"the account's quota is used up ({reason})", hint="answers so far are kept")
        if status in _TRY_AGAIN or status >= 500:
            raise TransientError(reason, wait=retry_after(headers), busy=status == 429)
        if status in _THIS_PROMPT:
            raise RejectedError(reason)
        hint = "check text.profiles.base_url (it usually ends in /v1) and text.profiles.model"
        raise self._fatal(f"the endpoint does not answer chat completions ({reason})", hint=hint)

    def _parse(self, body: bytes, seconds: float) -> Reply:
        try:
            tree = json.loads(body)
            if isinstance(tree, dict) and tree.get("error") and not tree.get("choices"):
                raise TransientError(f"the endpoint reports an error: {self._said(body)}")
            choice = tree["choices"][0]
            message = choice["message"]
            # A refusal in a field of its own is read like one in words.
            content = "I'm sorry" if message.get("refusal") else _content(message.get("content"))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise TransientError(f"the answer is no chat completion: {self._said(body)}") from error
        if len(self._key) >= _SECRET_LENGTH and self._key in content:
            raise TransientError("the answer quotes the API key")
        usage = tree.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        finish = choice.get("finish_reason")
        return Reply(
            content,
            finish if isinstance(finish, str) else None,
            _whole(usage.get("prompt_tokens")),
            _whole(usage.get("completion_tokens")),
            seconds,
        )

    def _said(self, body: bytes) -> str:
        """The endpoint's own words, short and on one line, with the error's code where there is one."""
        text = body.decode("utf-8", "replace")
        try:
            error = json.loads(text)["error"]
            text = error if isinstance(error, str) else f"{error.get('message')} {error.get('code') or ''}"
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            pass
        text = " ".join(self._clean(text).split())
        return text if len(text) <= _BODY_SHOWN else f"{text[:_BODY_SHOWN]}…"

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "(key)") if len(self._key) >= _SECRET_LENGTH else text

    def _fatal(self, what: str, *, hint: str | None = None) -> EndpointError:
        return EndpointError(self._clean(what), where=self.url, hint=hint)


def read_key(config: ProfilesConfig) -> str:
    """The API key from the environment; empty where none is to be sent.

    Raises
    ------
    ConfigError
        If the variable is not set, or holds what no header can carry.
    """
    name = config.api_key_env
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {name} is not set",
            where="text.profiles.api_key_env",
            hint=f"set it to the endpoint's API key: export {name}=...",
        )
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            f"the environment variable {name} holds blanks or characters that no key has",
            where="text.profiles.api_key_env",
        )
    return key


def retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that ``Retry-After`` (a number or a date) or ``retry-after-ms`` asks to wait."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            try:
                moment = parsedate_to_datetime(value)
            except ValueError:
                continue
            seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        if seconds == seconds:  # not a number
            return max(0.0, seconds)
    return None


def _content(content: Any) -> str:
    """A message's text, which some endpoints give in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None
