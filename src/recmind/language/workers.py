"""Jobs on threads that each do a whole job, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Lock
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

# The interpreter runs one thread at a time between torch's operations, so many threads would wait for it.
_MOST_WORKERS = 16

_starting = Lock()


def ordered_map(function: Callable[[Job], Result], jobs: Iterable[Job]) -> Generator[Result]:
    """``function`` of each job in turn, computed ahead by as many threads as torch would use.

    A job on one thread takes longer than on all, but the threads never wait for
    each other, which on a busy machine costs more than the work itself; and a
    job's result does not depend on how many there are. With one thread the
    caller does the jobs itself.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(function, jobs)
        return
    workers = min(threads, _MOST_WORKERS)
    waiting: deque[Future[Result]] = deque()
    with _pool(workers, threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _pool(workers: int, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share out torch's ``threads`` among them; the caller's own number stays."""
    started = Barrier(workers)

    def start(_: int) -> None:
        torch.get_num_threads()  # on first use a thread takes the number set last by any; its own comes after
        torch.set_num_threads(threads // workers)
        started.wait()

    with ThreadPoolExecutor(workers, "recmind") as pool:
        # All start now, so that the number set last is the caller's again before another thread takes it.
        with _starting:
            list(pool.map(start, range(workers)))
            torch.set_num_threads(threads)
        yield pool
