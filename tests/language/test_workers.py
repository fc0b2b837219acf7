from __future__ import annotations

import threading
import time

import pytest
import torch

from recmind.language.workers import ordered_map


@pytest.mark.parametrize("n", [1, 2, 3])
def test_results_come_in_the_order_of_the_jobs(threads, n):
    threads(n)

    def slow_at_first(job):
        time.sleep(0.02 if job < 2 else 0)
        return job * job

    assert list(ordered_map(slow_at_first, range(20))) == [job * job for job in range(20)]
    assert list(ordered_map(slow_at_first, [])) == []


def test_each_job_has_a_thread_to_itself(threads):
    threads(2)
    both = threading.Barrier(2)

    def job(_):
        both.wait(30)  # passed only if two jobs run at once
        return threading.current_thread().name, torch.get_num_threads()

    found = list(ordered_map(job, range(4)))
    assert {n for _, n in found} == {1}
    assert len({name for name, _ in found}) == 2
    assert torch.get_num_threads() == 2


def test_threads_started_meanwhile_keep_the_number_of_the_caller(threads):
    threads(3)
    seen = []
    results = ordered_map(lambda job: job, range(10))
    next(results)
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    results.close()
    assert seen == [3]


def test_one_thread_needs_no_other(threads):
    threads(1)
    assert set(ordered_map(lambda _: threading.current_thread(), range(3))) == {threading.current_thread()}


def test_an_error_reaches_the_caller_after_the_results_before_it(threads):
    threads(2)
    results = ordered_map(lambda job: 1 / (3 - job), range(50))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_jobs_are_done_a_few_ahead_and_not_all_at_once(threads):
    threads(2)
    taken = []

    def jobs():
        for job in range(1000):
            taken.append(job)
            yield job

    results = ordered_map(lambda job: job, jobs())
    next(results)
    assert len(taken) <= 10
    results.close()
    assert len(taken) <= 10
