"""Plain lists that come at the same time are made in one search, and are the same."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from recmind.errors import UnknownIdError
from recmind.serving.http.problems import Problem
from recmind.serving.http.searches import TOGETHER, Searches
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Options


class Held:
    """The recommender, whose next search waits until it is let go, and which counts searches."""

    def __init__(self, live: LiveRecommender) -> None:
        self.live, self.go, self.searches = live, threading.Event(), 0

    def moment(self) -> Any:
        self.go.wait(60)
        self.searches += 1
        return self.live.moment()


def test_who_waits_is_searched_for_together(live: LiveRecommender):
    held = Held(live)
    searches = Searches(held, 1000)  # type: ignore[arg-type]
    users = [f"u{n % 40:02}" for n in range(1 + 2 * TOGETHER)]
    wanted = [(user, 3 + n % 4, Options(leave_out_seen=bool(n % 3))) for n, user in enumerate(users)]

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(searches.ask(*one)) for one in wanted]
        await asyncio.sleep(0)
        held.go.set()
        return await asyncio.gather(*asked)

    found = asyncio.run(ask())
    assert held.searches == 3
    for (user, k, options), (bundle, lines) in zip(wanted, found, strict=True):
        expected = live.recommend(user, k, options=options)
        assert bundle == live.bundle_id
        assert [(line.item_id, line.rank) for line in lines] == [(line.item_id, line.rank) for line in expected]
        assert [line.score for line in lines] == pytest.approx([line.score for line in expected], abs=1e-6)


def test_an_unknown_user_spoils_nobodys_list(live: LiveRecommender):
    held = Held(live)
    searches = Searches(held, 1000)  # type: ignore[arg-type]

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(searches.ask(user, 5, Options())) for user in ("u01", "u02", "nobody", "u03")]
        await asyncio.sleep(0)
        held.go.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())
    assert isinstance(found[2], UnknownIdError)
    assert [len(one[1]) for one in (found[0], found[1], found[3])] == [5, 5, 5]


def test_who_gave_up_is_passed_over_and_the_queue_is_bounded(live: LiveRecommender):
    held = Held(live)
    searches = Searches(held, 3)  # type: ignore[arg-type]

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(searches.ask("u01", 5, Options())) for _ in range(6)]
        await asyncio.sleep(0)
        asked[2].cancel()
        held.go.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(ask())
    assert isinstance(found[2], asyncio.CancelledError)
    assert [isinstance(one, Problem) for one in found] == [False, False, False, False, True, True]
    assert len(found[3][1]) == 5
