from __future__ import annotations

import random

from recmind.text.chat.limits import Pace, backoff


def test_requests_are_spread_over_the_minute():
    pace = Pace(requests_per_minute=30)
    assert [pace.reserve(100.0, 50) for _ in range(4)] == [0, 2, 4, 6]
    # After a rest there is no burst to catch up.
    assert [pace.reserve(200.0, 50) for _ in range(3)] == [0, 2, 4]


def test_tokens_take_their_share_and_the_scarcer_limit_counts():
    pace = Pace(requests_per_minute=60, tokens_per_minute=600)
    assert pace.reserve(0.0, 50) == 0
    assert pace.reserve(0.0, 5) == 5  # 50 tokens of 10 a second
    assert pace.reserve(0.0, 5) == 6  # 5 tokens take half a second, a request a whole one


def test_what_an_answer_really_took_moves_the_next():
    pace = Pace(tokens_per_minute=600)
    pace.reserve(0.0, 50)
    pace.correct(20 - 50)
    assert pace.reserve(0.0, 50) == 2


def test_without_limits_only_a_pause_holds_back():
    pace = Pace()
    assert [pace.reserve(5.0, 1e9) for _ in range(3)] == [0, 0, 0]
    pace.pause(9.0)
    pace.pause(7.0)
    assert [pace.reserve(5.0, 1), pace.reserve(8.5, 1), pace.reserve(10.0, 1)] == [4, 0.5, 0]


def test_backoff_doubles_up_to_a_minute_less_up_to_half():
    draw = random.Random(0)
    for attempt, most in [(0, 2), (1, 4), (3, 16), (5, 60), (2000, 60)]:
        waits = [backoff(2.0, attempt, draw) for _ in range(200)]
        assert most / 2 <= min(waits) < max(waits) <= most
        assert max(waits) - min(waits) > 0.4 * most
    assert backoff(0.0, 3, draw) == 0
