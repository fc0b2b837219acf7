from __future__ import annotations

import asyncio
import warnings
from collections import Counter

import pytest

from recmind.errors import ConfigError, EndpointError
from recmind.text.chat.cache import FILE
from recmind.text.chat.limits import Pace
from recmind.text.chat.prompts import build_prompts
from recmind.text.chat.writer import IN_A_ROW, describe_failures, write_profiles


@pytest.fixture
def prompts(dataset, split, text_config, by_words):
    """Prompts about 30 users, all different."""
    found = build_prompts(dataset, split, text_config(), by_words)
    assert len(set(found.texts)) == 30
    return found


@pytest.fixture
def write(prompts, profiles_config, tmp_path):
    def call(ask_again: bool = False, folder: str = "cache", **changes: object):
        return write_profiles(
            prompts, profiles_config(**changes), tmp_path / folder, ask_again=ask_again, show_progress=False
        )

    return call


@pytest.fixture
def right(prompts, expected_answer):
    """What every user should get."""
    return [expected_answer({"messages": prompts.messages(position)}) for position in range(30)]


def texts(written) -> list[str | None]:
    return [answer.text for answer in written.answers]


def test_every_prompt_is_asked_once_and_every_user_gets_the_own_answer(server, prompts, write, right):
    written = write()
    assert texts(written) == right
    assert Counter(server.prompts) == Counter(prompts.texts)
    assert (written.asked, written.requests, written.tokens_in, written.tokens_out) == (30, 30, 3000, 600)
    assert (written.answers[0].tokens_in, written.answers[0].tokens_out) == (100, 20)


def test_what_is_known_is_not_asked_again(server, write, right):
    write()
    server.clear()
    again = write()
    assert (server.requests, again.asked, texts(again)) == ([], 0, right)
    # Nor with another way of asking.
    assert texts(write(concurrency=1, timeout=1.0, retries=0)) == right
    assert server.requests == []


@pytest.mark.parametrize("change", [{"model": "other"}, {"temperature": 0.3}, {"max_tokens": 99}])
def test_other_settings_do_not_mix(server, write, change):
    write()
    server.clear()
    assert write(**change).asked == 30
    assert len(server.requests) == 30


def test_equal_prompts_are_asked_once(server, prompts, profiles_config, tmp_path):
    import dataclasses

    same = dataclasses.replace(prompts, texts=[prompts.texts[0]] * 29 + [prompts.texts[1]])
    written = write_profiles(same, profiles_config(), tmp_path, show_progress=False)
    assert (len(server.requests), written.asked, len(set(texts(written)))) == (2, 2, 2)


def test_requests_go_at_once_but_not_more_than_allowed(server, write):
    import threading

    meeting = threading.Barrier(4)

    def together(exchange, request, nth):
        # The first goes alone; of the others four must be there at the same time, or the barrier breaks.
        if 1 <= exchange.number <= 4:
            meeting.wait(20)
        exchange.answer()

    server.behave = together
    write(concurrency=4)
    assert server.most_at_once == 4
    assert not meeting.broken


class TestFailing:
    @pytest.mark.parametrize("concurrency", [1, 8])
    def test_half_of_the_time_and_the_result_is_the_same(self, server, write, right, half_failing, concurrency):
        server.behave = half_failing
        written = write(concurrency=concurrency, timeout=0.3, retries=30, folder=str(concurrency))
        assert texts(written) == right
        assert written.failures.total() == 0
        assert len(server.requests) >= 45
        # On a busy machine a request may run out of time before it reaches the server.
        assert written.requests >= len(server.requests)

    def test_too_often_for_some_leaves_those_out_and_counts_them(self, server, write, right, half_failing):
        server.behave = half_failing
        written = write(timeout=3.0, retries=1, max_failed=0.9)
        failed = written.failures.total()
        assert 2 <= failed <= 15
        assert [text for text in texts(written) if text] == [
            text for text, got in zip(right, texts(written), strict=True) if got
        ]
        assert all(answer.failure for answer in written.answers if answer.text is None)

    def test_nonsense_is_asked_about_again_and_then_left_out(self, server, write, prompts, right):
        bad = set(prompts.texts[:2])

        def behave(exchange, request, nth):
            prompt = request["messages"][-1]["content"]
            content = "I like turtles" if prompt in bad else None
            # One user's answer is nonsense only the first time.
            exchange.answer("nonsense" if prompt == prompts.texts[5] and nth == 0 else content)

        server.behave = behave
        written = write(answer_retries=2, max_failed=0.1)
        assert texts(written) == [None, None, *right[2:]]
        assert written.failures == {"answer not JSON": 2}
        asked = Counter(server.prompts)
        assert [asked[prompts.texts[position]] for position in (0, 1, 5, 6)] == [3, 3, 2, 1]

    def test_a_prompt_that_is_refused_is_not_repeated(self, server, write, prompts):
        def behave(exchange, request, nth):
            if request["messages"][-1]["content"] == prompts.texts[3]:
                exchange.send('{"error": {"message": "content policy"}}', 400)
            else:
                exchange.answer()

        server.behave = behave
        written = write()
        assert written.failures == {"HTTP 400: content policy": 1}
        assert len(server.requests) == 30

    def test_more_than_allowed_is_an_error_and_what_came_is_kept(self, server, write, prompts, right):
        bad = set(prompts.texts[10:14])

        def behave(exchange, request, nth):
            exchange.answer("" if request["messages"][-1]["content"] in bad else None)

        server.behave = behave
        with pytest.raises(EndpointError, match=r"too many users(.|\n)*4 × answer empty(.|\n)*max_failed = 0\.1"):
            write(max_failed=0.1, answer_retries=0, concurrency=1)
        assert len(server.requests) == 14  # it stops at the fourth failure
        server.behave = lambda exchange, request, nth: exchange.answer()
        server.clear()
        assert texts(write(max_failed=0.1)) == right
        # The ten before them are not asked about again; the four are, since nothing was noted about them.
        assert len(server.requests) == 20

    def test_a_long_row_of_failures_stops_it(self, server, write, prompts):
        server.behave = lambda exchange, request, nth: exchange.answer("no")
        with pytest.raises(EndpointError, match=rf"{IN_A_ROW} users in a row came to nothing.*answer not JSON"):
            write(max_failed=1.0, answer_retries=0, concurrency=1)
        assert len(server.requests) == IN_A_ROW

    def test_noted_failures_stay_until_they_are_asked_about(self, server, write, prompts, right):
        server.behave = lambda exchange, request, nth: exchange.answer(
            "" if request["messages"][-1]["content"] == prompts.texts[0] else None
        )
        first = write(max_failed=0.05)
        server.behave = lambda exchange, request, nth: exchange.answer()
        server.clear()
        # Training again must find the same texts, also where there is none.
        assert write(max_failed=0.05).answers == first.answers
        assert server.requests == []
        with pytest.raises(EndpointError, match="too many users"):
            write(max_failed=0.0)
        again = write(ask_again=True)
        assert (texts(again), server.prompts) == (right, [prompts.texts[0]])
        assert texts(write(max_failed=0.0)) == right


class TestGivingUp:
    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_what_no_repetition_helps_costs_one_request(self, server, write, status):
        server.behave = lambda exchange, request, nth: exchange.send("no", status)
        with pytest.raises(EndpointError, match=f"HTTP {status}"):
            write(concurrency=8)
        assert len(server.requests) == 1

    def test_a_key_that_ends_in_the_middle_keeps_what_came(self, server, write, right):
        def behave(exchange, request, nth):
            if exchange.number >= 12:
                exchange.send("expired", 401)
            else:
                exchange.answer()

        server.behave = behave
        with pytest.raises(EndpointError, match="refuses access"):
            write(concurrency=1)
        assert len(server.requests) == 13
        server.behave = lambda exchange, request, nth: exchange.answer()
        server.clear()
        assert texts(write()) == right
        assert len(server.requests) == 18

    def test_nobody_there(self, server, write):
        server.close()
        with pytest.raises(EndpointError, match=r"cannot be reached(.|\n)*the server is running"):
            write(retries=2)

    def test_a_missing_key_is_found_before_anything_is_asked(self, server, write, monkeypatch):
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
            write(api_key_env="NO_SUCH_KEY")
        assert server.requests == []
        write()
        # With everything answered no key is needed.
        write(api_key_env="NO_SUCH_KEY")


class TestPatience:
    def test_a_long_wait_is_not_sat_out(self, server, write):
        server.behave = lambda exchange, request, nth: exchange.send("tomorrow", 429, Retry_After="86400")
        with pytest.raises(EndpointError, match=r"asks to wait 86,400 s(.|\n)*max_wait = 600"):
            write()
        assert len(server.requests) == 1

    def test_a_short_one_is(self, server, write, right):
        def behave(exchange, request, nth):
            if nth == 0:
                exchange.send("later", 429, Retry_After="0.01")
            else:
                exchange.answer()

        server.behave = behave
        assert texts(write()) == right
        assert len(server.requests) == 60

    def test_an_endpoint_that_answers_only_one_at_a_time_is_not_failing(self, server, write, right):
        """Eight ask at once and seven hear 429; without repetitions to spare all are answered in the end."""
        import threading

        free = threading.Lock()

        def behave(exchange, request, nth):
            if not free.acquire(blocking=False):
                exchange.send("busy", 429)
                return
            try:
                exchange.closing.wait(0.01)
                exchange.answer()
            finally:
                free.release()

        server.behave = behave
        assert texts(write(concurrency=8, retries=2, backoff=0.02)) == right
        assert len(server.requests) > 40

    def test_one_that_is_always_busy_is(self, server, write):
        server.behave = lambda exchange, request, nth: exchange.send("busy", 429)
        with pytest.raises(EndpointError, match="too many users"):
            write(retries=2)
        assert len(server.requests) <= 3 + 2 * 3 * 8

    def test_every_request_waits_its_turn_and_its_tokens_are_put_right(self, write, prompts, right, monkeypatch):
        reserved, corrected = [], []

        class Watched(Pace):
            def reserve(self, now: float, tokens: float) -> float:
                reserved.append(tokens)
                return super().reserve(now, tokens)

            def correct(self, tokens: float) -> None:
                corrected.append(tokens)
                super().correct(tokens)

        monkeypatch.setattr("recmind.text.chat.writer.Pace", Watched)
        assert texts(write(requests_per_minute=60_000, tokens_per_minute=60_000_000, max_tokens=50)) == right
        assert len(reserved) == len(corrected) == 30
        system = len(prompts.file.system)
        assert sorted(reserved) == sorted((len(text) + system) / 4 + 50 for text in prompts.texts)
        # The server counts 120 tokens for each.
        assert sum(reserved) + sum(corrected) == pytest.approx(30 * 120)


def test_inside_a_running_event_loop(write, right):
    async def notebook():
        return write()

    assert texts(asyncio.run(notebook())) == right


def test_no_prompts_at_all(server, prompts, profiles_config, tmp_path):
    import dataclasses

    nobody = dataclasses.replace(prompts, users=prompts.users[:0], texts=[], rows=[])
    written = write_profiles(nobody, profiles_config(max_failed=0.0), tmp_path, show_progress=False)
    assert (written.answers, written.failures.total(), server.requests) == ([], 0, [])


def test_answers_do_not_depend_on_the_order_in_which_they_come(server, write, half_failing):
    server.behave = half_failing
    results = [
        texts(write(folder=f"c{concurrency}", concurrency=concurrency, timeout=0.3, retries=30))
        for concurrency in (1, 3, 16)
    ]
    assert results[0] == results[1] == results[2]


def test_the_key_is_not_in_the_cache_nor_in_what_is_printed(server, write, monkeypatch, capfd, tmp_path, half_failing):
    secret = "sk-very-secret-0123456789"
    monkeypatch.setenv("CHAT_KEY", secret)
    server.behave = half_failing
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = write(api_key_env="CHAT_KEY", timeout=0.3, retries=30)
    assert server.keys == [f"Bearer {secret}"] * len(server.keys)
    printed = capfd.readouterr()
    files = [path.read_bytes() for path in (tmp_path / "cache").iterdir()]
    assert files
    assert (tmp_path / "cache" / FILE).exists()
    for content in [printed.out, printed.err, repr(written), *map(str, caught)]:
        assert secret not in content
    assert all(secret.encode() not in content for content in files)


def test_reasons_are_told_by_how_common_they_are():
    failures = Counter({"answer empty": 5, "HTTP 500": 2, "a": 1, "b": 1})
    assert describe_failures(failures) == "5 × answer empty; 2 × HTTP 500; 1 × a; ..."
