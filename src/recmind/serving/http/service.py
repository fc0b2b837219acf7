"""The recommender of the moment, and the threads that work for it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from recmind.serving.http.problems import Problem
from recmind.serving.http.searches import Searches
from recmind.serving.live import LiveRecommender

Result = TypeVar("Result")


class Workers:
    """Threads with a bounded queue.

    Parameters
    ----------
    name:
        Name of the threads.
    threads:
        How many.
    waiting:
        Calls that may wait; another is refused.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._most = threads + waiting
        self.under_way = 0

    async def call(self, function: Callable[..., Result], *args: Any, **options: Any) -> Result:
        """Run in a thread.

        Raises
        ------
        Problem
            ``busy``, where too many wait already.
        """
        if self.under_way >= self._most:
            raise Problem("busy", headers={"Retry-After": "1"})
        self.under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args, **options))
        # What runs in a thread goes on when its request is given up, and counts until it ends.
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Wait for what runs; what only waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self.under_way -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that asyncio does not call it forgotten


class Service:
    """What the routes work with.

    Parameters
    ----------
    live:
        The recommender.
    bundle:
        Gives the folder of the bundle to serve from now on, for :meth:`reload`; makes it first where it must be made.
    threads, waiting:
        Of each kind of worker.
    warms:
        Whether the language model is loaded before the first text.

    Attributes
    ----------
    live:
        The recommender.
    lists:
        Threads for lists with filters, for explanations and look-ups.
    searches:
        Plain lists, several in one search.
    words:
        One thread for what the language model reads.
    changes:
        One thread for what is written, in the order of arrival.
    state:
        ``starting``, ``ok`` or ``stopping``.
    """

    def __init__(
        self,
        live: LiveRecommender,
        bundle: Callable[[], Path],
        *,
        threads: int = 2,
        waiting: int = 64,
        warms: bool = True,
    ) -> None:
        self.live = live
        self.state = "starting"
        self.lists = Workers("lists", threads, waiting)
        self.words = Workers("words", 1, waiting)
        self.changes = Workers("changes", 1, waiting)
        self.searches = Searches(live, 16 * waiting)
        self._reloads = Workers("reload", 1, 0)
        self._bundle, self.warms = bundle, warms

    async def reload(self) -> dict[str, Any]:
        """Serve the bundle as it is on disk now; requests go on being answered, from the old one until the swap.

        Raises
        ------
        BundleError
            If the new one is damaged; the old one stays.
        """
        before, started = self.live.bundle_id, time.perf_counter()
        await self._reloads.call(self._reload)
        return {"bundle": self.live.bundle_id, "before": before, "seconds": round(time.perf_counter() - started, 3)}

    def _reload(self) -> None:
        self.live.reload(self._bundle())
        if self.warms:
            self.live.warm()

    def close(self) -> None:
        """Finish what is under way and close the recommender."""
        self.state = "stopping"
        for workers in (self._reloads, self.changes, self.lists, self.words, self.searches):
            workers.close()
        self.live.close()
