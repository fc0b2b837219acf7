from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from recmind.errors import ConfigError, EndpointError
from recmind.text.chat.client import ChatClient, RejectedError, TransientError, retry_after

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "tea?"}]
KEY = "sk-very-secret-0123456789"


def ask(config, messages=MESSAGES):
    async def once():
        async with ChatClient(config) as client:
            return await client.ask(messages)

    return asyncio.run(once())


@pytest.fixture
def keyed(profiles_config, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", f"{KEY}\n")
    return lambda **changes: profiles_config(api_key_env="CHAT_KEY", **changes)


def test_what_is_sent(server, keyed):
    reply = ask(keyed(temperature=0.5, max_tokens=77))
    assert server.requests == [{"model": "tiny", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 77}]
    assert server.keys == [f"Bearer {KEY}"]
    assert server.paths == ["/v1/chat/completions"]
    assert (reply.finish, reply.tokens_in, reply.tokens_out) == ("stop", 100, 20)
    assert json.loads(reply.content)["profile"].startswith("likes ")


def test_without_the_name_of_a_key_none_is_sent(server, profiles_config, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ask(profiles_config(max_tokens_name="max_completion_tokens", json_mode=True, base_url=f"{server.url}/"))
    assert server.keys == [None]
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests[0]["max_completion_tokens"] == 256
    assert server.requests[0]["response_format"] == {"type": "json_object"}
    assert "max_tokens" not in server.requests[0]


@pytest.mark.parametrize(
    ("content", "read"),
    [(None, ""), ("x", "x"), ([{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}], "ab")],
)
def test_shapes_of_content(server, profiles_config, content, read):
    body = {"choices": [{"message": {"content": content}}], "usage": None}
    server.behave = lambda exchange, request, nth: exchange.send(json.dumps(body))
    assert ask(profiles_config()).content == read


def test_a_refusal_in_a_field_of_its_own(server, profiles_config):
    server.behave = lambda exchange, request, nth: exchange.answer(refusal="I can't")
    assert ask(profiles_config()).content == "I'm sorry"


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (lambda e: e.send("busy", 429), "HTTP 429: busy"),
        (lambda e: e.send('{"error": {"message": "slow", "code": "x1"}}', 500), "HTTP 500: slow x1"),
        (lambda e: e.send("<html>\n bad gateway" + "x" * 500, 502), "HTTP 502: <html> bad gateway.*…"),
        (lambda e: e.send("", 408), "HTTP 408"),
        (lambda e: e.hang_up(), "the connection broke"),
        (lambda e: e.cut(), "the connection broke"),
        (lambda e: e.cut_chunks(), "the connection broke"),
        (lambda e: e.send(b"\x00\xff garbage"), "no chat completion"),
        (lambda e: e.send(""), "no chat completion"),
        (lambda e: e.send("[]"), "no chat completion"),
        (lambda e: e.send("null"), "no chat completion"),
        (lambda e: e.send("[" * 200_000), "no chat completion"),
        (lambda e: e.send('{"choices": []}'), "no chat completion"),
        (lambda e: e.send('{"choices": [{"message": 3}]}'), "no chat completion"),
        (lambda e: e.send('{"choices": [{"message": {"content": [3]}}]}'), "no chat completion"),
        (lambda e: e.send(e.completion("half")[:40]), "no chat completion"),
        (lambda e: e.send('{"error": "overloaded"}'), "reports an error: overloaded"),
        (lambda e: e.send(b" " * (5 * 2**20)), "more than 4 MB"),
        (lambda e: e.send("no gzip at all" * 9, Content_Encoding="gzip"), "the connection broke: DecodingError"),
    ],
)
def test_what_may_be_repeated(server, profiles_config, way, reason):
    server.behave = lambda exchange, request, nth: way(exchange)
    with pytest.raises(TransientError, match=reason) as caught:
        ask(profiles_config())
    assert not caught.value.down


@pytest.mark.parametrize("way", ["stall", "trickle"])
def test_a_whole_answer_has_one_deadline(server, profiles_config, way):
    server.behave = lambda exchange, request, nth: getattr(exchange, way)()
    with pytest.raises(TransientError, match=r"no answer within 0\.3 s"):
        ask(profiles_config(timeout=0.3))


def test_nobody_there(server, profiles_config):
    config = profiles_config()
    server.close()
    with pytest.raises(TransientError, match="cannot connect") as caught:
        ask(config)
    assert caught.value.down


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_prompt_that_is_refused(server, profiles_config, status):
    server.behave = lambda exchange, request, nth: exchange.send('{"error": {"message": "too long"}}', status)
    with pytest.raises(RejectedError, match=f"HTTP {status}: too long"):
        ask(profiles_config())


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, f"Incorrect API key provided: {KEY}", r"refuses access \(HTTP 401\)(.|\n)*CHAT_KEY"),
        (403, "no", r"refuses access \(HTTP 403\)"),
        (404, '{"error": {"message": "no model tiny"}}', r"HTTP 404: no model tiny(.|\n)*text\.profiles\.base_url"),
        (301, "", r"does not answer chat completions \(HTTP 301\)"),
        (429, '{"error": {"message": "Pay", "code": "insufficient_quota"}}', r"quota is used up"),
    ],
)
def test_what_no_repetition_helps(server, keyed, status, body, says):
    server.behave = lambda exchange, request, nth: exchange.send(body, status)
    with pytest.raises(EndpointError, match=says) as caught:
        ask(keyed())
    assert KEY not in str(caught.value)


class TestKey:
    @pytest.mark.parametrize(
        "way",
        [
            lambda e: e.send(f"key {KEY} is broke", 500),
            lambda e: e.send(f"key {KEY} is odd", 400),
            lambda e: e.send(f"key {KEY} unknown", 404),
            lambda e: e.send(f"no JSON but {KEY}"),
            lambda e: e.send(json.dumps({"error": {"message": f"see {KEY}"}})),
            lambda e: e.answer(json.dumps({"profile": f"likes {KEY}"})),
        ],
    )
    def test_is_in_no_message_whatever_the_endpoint_quotes(self, server, keyed, way):
        server.behave = lambda exchange, request, nth: way(exchange)
        with pytest.raises((TransientError, RejectedError, EndpointError)) as caught:
            ask(keyed())
        error: BaseException | None = caught.value
        while error is not None:
            assert KEY not in str(error)
            assert KEY not in repr(error)
            error = error.__cause__

    def test_that_is_not_set(self, profiles_config, monkeypatch):
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        with pytest.raises(ConfigError, match=r"api_key_env: the environment variable NO_SUCH_KEY is not set"):
            ChatClient(profiles_config(api_key_env="NO_SUCH_KEY"))

    @pytest.mark.parametrize("value", ["two words-secret", "schlüssel-secret", "a\nb-secret"])
    def test_that_no_header_can_carry(self, profiles_config, monkeypatch, value):
        monkeypatch.setenv("CHAT_KEY", value)
        with pytest.raises(ConfigError, match="holds blanks or characters") as caught:
            ChatClient(profiles_config(api_key_env="CHAT_KEY"))
        assert "secret" not in str(caught.value)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"retry-after": "7"}, 7),
            ({"retry-after": "0.5"}, 0.5),
            ({"retry-after": "-3"}, 0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ],
    )
    def test_numbers(self, headers, seconds):
        import httpx2

        assert retry_after(httpx2.Headers(headers)) == seconds

    def test_dates(self):
        import httpx2

        soon = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        found = retry_after(httpx2.Headers({"retry-after": soon}))
        assert found is not None
        assert 300 < found <= 600
        assert retry_after(httpx2.Headers({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
