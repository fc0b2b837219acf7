"""Profiles by a chat model: many requests at once, repeated with patience, answers kept as they come."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmind import progress
from recmind.config import ProfilesConfig
from recmind.errors import EndpointError, RecMindError
from recmind.text.chat.answers import Unusable, profile_of
from recmind.text.chat.cache import Answer, AnswerCache, answer_key
from recmind.text.chat.client import ChatClient, RejectedError, TransientError
from recmind.text.chat.limits import Pace, backoff
from recmind.text.chat.prompts import Prompts

IN_A_ROW = 25
"""When so many users one after the other come to nothing, the endpoint or the prompt is at fault."""

_CHARACTERS_PER_TOKEN = 4
"""Rough, for the limit of tokens alone; what an answer really took is counted when it comes."""


@dataclass(frozen=True)
class Written:
    """What came of some prompts.

    Attributes
    ----------
    answers:
        One per prompt: a text, or why there is none.
    asked:
        How many different prompts were sent this time; the others were answered before.
    requests, tokens_in, tokens_out:
        Requests made this time, repetitions included, and the tokens that the endpoint counted.
    """

    answers: list[Answer]
    asked: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def failures(self) -> Counter[str]:
        """Reasons why there is no text, with how often."""
        return Counter(answer.failure or "no answer" for answer in self.answers if answer.text is None)


def prompt_keys(prompts: Prompts, config: ProfilesConfig) -> list[bytes]:
    """The key of each prompt's answer in the cache."""
    return [answer_key(config, prompts.file.keys, prompts.messages(position)) for position in range(len(prompts))]


def write_profiles(
    prompts: Prompts, config: ProfilesConfig, folder: Path, *, ask_again: bool = False, show_progress: bool = True
) -> Written:
    """Answers to ``prompts``: from the cache in ``folder`` where they are there, else from the endpoint.

    Users who come to nothing although a request was repeated as often as the settings say are noted as
    failures in the cache, and not asked about again unless ``ask_again``: what was trained once can be
    trained again with the same texts. Nothing is noted when this function raises.

    Raises
    ------
    ConfigError
        If the API key is missing.
    DataError
        If the cache cannot be read or written.
    EndpointError
        If the endpoint refuses, cannot be reached, or more than ``config.max_failed`` of the prompts have no
        usable answer. Answers that came before are kept.
    """
    keys = prompt_keys(prompts, config)
    with AnswerCache(folder) as cache:
        known = cache.read(keys)
        missing = {
            key: position
            for position, key in enumerate(keys)
            if key not in known or (ask_again and known[key].text is None)
        }
        asking = Asking(prompts, config, cache, Counter(keys))
        if missing:
            client = ChatClient(config)
            with progress.task("Writing profiles", len(missing), show=show_progress) as asking.advance:
                run_anywhere(asking.all(client, missing))
        for key, answer in asking.failed.items():
            cache.write(key, config.model, answer)
        # What is kept counts: another process may have been faster.
        known = cache.read(keys)
        written = Written([known[key] for key in keys], len(missing), asking.requests, *asking.tokens)
    _check_failures(written, config)
    return written


class Asking:
    """One round of asking: who is asked next, how long to wait, when to give up."""

    def __init__(self, prompts: Prompts, config: ProfilesConfig, cache: AnswerCache, users: Counter[bytes]) -> None:
        self.prompts, self.config, self.cache, self.users = prompts, config, cache, users
        self.pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self.failed: dict[bytes, Answer] = {}
        self.requests, self.tokens = 0, [0, 0]
        self.advance: progress.Advance = lambda n=1, note="": None
        self._answered = self._in_a_row = self._left_out = 0
        self._draw = random.Random()
        self._start = time.monotonic()

    async def all(self, client: ChatClient, missing: dict[bytes, int]) -> None:
        """Ask for every prompt of ``missing``: the first alone, so that a wrong setting costs one request."""
        waiting = iter(missing.items())
        async with client:
            await self._one(client, *next(waiting))
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self.config.concurrency, len(missing) - 1)):
                        group.create_task(self._work(client, waiting))
            except BaseExceptionGroup as errors:
                raise _first(errors) from None

    async def _work(self, client: ChatClient, waiting: Iterator[tuple[bytes, int]]) -> None:
        for key, position in waiting:
            await self._one(client, key, position)

    async def _one(self, client: ChatClient, key: bytes, position: int) -> None:
        messages = self.prompts.messages(position)
        repeated = unusable = 0
        answered = self._answered
        while True:
            expected = await self._turn(messages)
            try:
                self.requests += 1
                reply = await client.ask(messages)
                took = (reply.tokens_in or 0, reply.tokens_out or 0)
                self.tokens = [self.tokens[0] + took[0], self.tokens[1] + took[1]]
                self.pace.correct(sum(took) - expected if any(took) else 0)
                text = profile_of(reply.content, reply.finish, self.prompts.file.keys, self.config.max_words)
                answer = Answer(text, None, reply.tokens_in, reply.tokens_out, reply.seconds)
                return self._keep(key, answer)
            except Unusable as error:
                if unusable == self.config.answer_retries:
                    return self._fail(key, f"answer {error}")
                unusable += 1
            except RejectedError as error:
                return self._fail(key, str(error))
            except TransientError as error:
                # An endpoint that is busy but answers others meanwhile is not failing.
                patient = error.busy and self._answered > answered
                answered = self._answered
                if repeated == self.config.retries and not patient:
                    self._refuse_dead(error)
                    return self._fail(key, str(error))
                repeated += not patient
                await self._wait(error, repeated)

    async def _turn(self, messages: list[dict[str, str]]) -> float:
        """Wait until the limits allow these messages; how many tokens they were counted for."""
        characters = sum(len(message["content"]) for message in messages)
        expected = characters / _CHARACTERS_PER_TOKEN + self.config.max_tokens
        await asyncio.sleep(self.pace.reserve(time.monotonic(), expected))
        return expected

    async def _wait(self, error: TransientError, repeated: int) -> None:
        """Wait as the endpoint asks, everybody with it, else for the backoff, this request alone."""
        if error.wait is not None and error.wait > self.config.max_wait:
            raise EndpointError(
                f"the endpoint asks to wait {error.wait:,.0f} s ({error})",
                where=self.config.base_url,
                accepted=f"up to text.profiles.max_wait = {self.config.max_wait:g}",
                hint="answers so far are kept: run the same command later, or lower text.profiles.requests_per_minute",
            )
        if error.wait:
            self.pace.pause(time.monotonic() + error.wait)
            self.advance(0, note=f"waiting {error.wait:.0f} s: {error}")
        else:
            self.advance(0, note=str(error))
            await asyncio.sleep(backoff(self.config.backoff, max(repeated - 1, 0), self._draw))

    def _keep(self, key: bytes, answer: Answer) -> None:
        self.cache.write(key, self.config.model, answer)
        self._answered += 1
        self._in_a_row = 0
        self._step()

    def _fail(self, key: bytes, reason: str) -> None:
        self.failed[key] = Answer(None, reason)
        self._in_a_row += 1
        self._left_out += self.users[key]
        self._step()
        if self._in_a_row >= IN_A_ROW:
            raise EndpointError(
                f"{IN_A_ROW} users in a row came to nothing, the last one because: {reason}",
                where=self.config.base_url,
                hint="answers so far are kept; look at one prompt with `recmind profiles DATASET --dry-run`",
            )
        if self._left_out > self.config.max_failed * len(self.prompts):
            raise _too_many(Counter(answer.failure or "" for answer in self.failed.values()), self.config)

    def _refuse_dead(self, error: TransientError) -> None:
        """Nothing to be reached from the first prompt on is a wrong address or a server that is not running."""
        if error.down and not self._answered and not self.failed:
            raise EndpointError(
                f"the endpoint cannot be reached ({error})",
                where=self.config.base_url,
                hint="check text.profiles.base_url, and that the server is running",
            ) from error

    def _step(self) -> None:
        done = self._answered + len(self.failed)
        rate = done / max(time.monotonic() - self._start, 1e-9)
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        self.advance(1, note=f"{rate:.1f}/s{failed}")


def run_anywhere(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end, also where a notebook has an event loop running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def describe_failures(failures: Counter[str], most: int = 3) -> str:
    """The commonest reasons, as a text."""
    shown = [f"{count:,} × {reason}" for reason, count in failures.most_common(most)]
    return "; ".join([*shown, *(["..."] if len(failures) > most else [])])


def _check_failures(written: Written, config: ProfilesConfig) -> None:
    if written.failures.total() > config.max_failed * len(written.answers):
        raise _too_many(written.failures, config)


def _too_many(failures: Counter[str], config: ProfilesConfig) -> EndpointError:
    return EndpointError(
        "too many users have no usable answer",
        where=config.base_url,
        got=describe_failures(failures),
        accepted=f"at most text.profiles.max_failed = {config.max_failed:g} of the users",
        hint="answers so far are kept; change the prompt or the model, or allow more",
    )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most: a person's before a program's."""
    flat: list[BaseException] = []
    for error in errors.exceptions:
        flat += [_first(error)] if isinstance(error, BaseExceptionGroup) else [error]
    return next((error for error in flat if isinstance(error, RecMindError)), flat[0])
