"""Plain lists of users, several in one search.

A search in a large catalogue is bound by memory: comparing it with four users
takes hardly longer than with one. While one search runs, whoever comes waits,
and then all of them are searched for together; who comes alone is searched for
alone and at once. So a rush makes searches larger, not the queue longer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recmind.serving.answers import Suggestion
from recmind.serving.http.problems import Problem
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Options
from recmind.serving.reader import Reader

Found = tuple[str, list[Suggestion]]
"""The bundle that was searched, and a list."""

TOGETHER = 16
"""Users of one search at most."""


@dataclass(slots=True)
class _Ask:
    user: str
    k: int
    options: Options
    answer: asyncio.Future[Found]


class Searches:
    """One thread that searches, and who waits for it.

    Parameters
    ----------
    live:
        What is searched.
    waiting:
        Users who may wait; another is refused.
    """

    def __init__(self, live: LiveRecommender, waiting: int) -> None:
        self._live = live
        self._pool = ThreadPoolExecutor(1, "search")
        self._waiting: list[_Ask] = []
        self._most, self._running = waiting, False

    async def ask(self, user: str, k: int, options: Options) -> Found:
        """The list of a user.

        Raises
        ------
        Problem
            ``busy``, where too many wait already.
        RecMindError
            As :meth:`recmind.serving.reader.Reader.recommend`.
        """
        if len(self._waiting) >= self._most:
            raise Problem("busy", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        asked = _Ask(user, k, options, loop.create_future())
        self._waiting.append(asked)
        self._start(loop)
        return await asked.answer

    def close(self) -> None:
        """Wait for the search that runs."""
        self._pool.shutdown(wait=True)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._running or not self._waiting:
            return
        together, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        self._running = True
        wanted = [one for one in together if not one.answer.cancelled()]
        found = loop.run_in_executor(self._pool, _search, self._live, wanted)
        found.add_done_callback(lambda done: self._give(loop, done))

    def _give(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[list[Answered]]) -> None:
        self._running = False
        self._start(loop)
        for asked, found in done.result():
            if asked.answer.done():
                continue  # given up meanwhile
            if isinstance(found, Exception):
                asked.answer.set_exception(found)
            else:
                asked.answer.set_result(found)


Answered = tuple[_Ask, Found | Exception]


def _search(recommender: LiveRecommender, asked: list[_Ask]) -> list[Answered]:
    """Lists or errors: those with the same options in one search, all of them of one moment."""
    live, groups = recommender.moment(), dict[Options, list[_Ask]]()
    for one in asked:
        groups.setdefault(one.options, []).append(one)
    found: list[Answered] = []
    for options, group in groups.items():
        try:
            lists = live.recommend_many([one.user for one in group], max(one.k for one in group), options=options)
            found += [(one, (live.bundle_id, best[: one.k])) for one, best in zip(group, lists, strict=True)]
        except Exception as error:
            # One unknown user must not spoil the others' lists.
            found += [(group[0], error)] if len(group) == 1 else [_alone(live, one) for one in group]
    return found


def _alone(live: Reader, asked: _Ask) -> Answered:
    try:
        return asked, (live.bundle_id, live.recommend(asked.user, asked.k, options=asked.options))
    except Exception as error:
        return asked, error
