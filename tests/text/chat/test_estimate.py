from __future__ import annotations

import pytest

from recmind.text.chat.cache import Answer, AnswerCache
from recmind.text.chat.estimate import ASSUMED_SECONDS, MESSAGE_TOKENS, cost_of, estimate
from recmind.text.chat.prompts import build_prompts
from recmind.text.chat.writer import prompt_keys


def count(texts):
    return [len(text.split()) for text in texts]


@pytest.fixture
def prompts(dataset, split, text_config, by_words):
    return build_prompts(dataset, split, text_config(), by_words)


def test_before_anything_was_asked(server, prompts, profiles_config, tmp_path):
    config = profiles_config(max_tokens=50, concurrency=4, price_per_million_input=2.0, price_per_million_output=10.0)
    plan = estimate(prompts, config, tmp_path / "none", count)
    each = len(prompts.file.system.split()) + 2 * MESSAGE_TOKENS
    assert plan.tokens_in == sum(count(prompts.texts)) + 30 * each
    assert (plan.users, plan.prompts, plan.answered, plan.to_ask, plan.tokens_out) == (30, 30, 0, 30, 1500)
    assert plan.cost == pytest.approx((plan.tokens_in * 2 + 1500 * 10) / 1e6)
    assert plan.seconds == 30 * ASSUMED_SECONDS / 4
    assert not plan.measured
    assert plan.example == prompts.messages(0)
    assert server.requests == []
    assert not (tmp_path / "none").exists()


def test_after_some_answers_the_rest_is_estimated_from_them(prompts, profiles_config, tmp_path):
    config = profiles_config(concurrency=100)
    keys = prompt_keys(prompts, config)
    with AnswerCache(tmp_path) as cache:
        for key, tokens in zip(keys[:3], (10, 30, 20), strict=True):
            cache.write(key, config.model, Answer("likes tea", None, 100, tokens, 2.5))
        cache.write(keys[3], config.model, Answer(None, "answer empty"))
    plan = estimate(prompts, config, tmp_path, count)
    assert (plan.answered, plan.to_ask, plan.tokens_out, plan.seconds, plan.measured) == (4, 26, 26 * 20, 2.5, True)
    assert estimate(prompts, config, tmp_path, count, ask_again=True).to_ask == 27
    assert plan.cost is None


def test_the_limits_count_where_they_are_longer(prompts, profiles_config, tmp_path):
    slow = estimate(prompts, profiles_config(requests_per_minute=2), tmp_path, count)
    assert slow.seconds == 30 / 2 * 60
    config = profiles_config(tokens_per_minute=10, requests_per_minute=2)
    slower = estimate(prompts, config, tmp_path, count)
    assert slower.seconds == (slower.tokens_in + slower.tokens_out) / 10 * 60


def test_equal_prompts_are_paid_once_and_none_cost_nothing(prompts, profiles_config, tmp_path):
    import dataclasses

    same = dataclasses.replace(prompts, texts=[prompts.texts[0]] * 30)
    plan = estimate(same, profiles_config(), tmp_path, count)
    assert (plan.users, plan.prompts, plan.to_ask, plan.tokens_out) == (30, 1, 1, 256)
    nobody = dataclasses.replace(prompts, users=prompts.users[:0], texts=[], rows=[])
    plan = estimate(nobody, profiles_config(price_per_million_input=1.0), tmp_path, count)
    assert (plan.to_ask, plan.tokens_in, plan.cost, plan.seconds, plan.example) == (0, 0, 0.0, 0.0, None)


def test_cost(profiles_config):
    config = profiles_config(price_per_million_input=0.5, price_per_million_output=1.5)
    assert cost_of(2_000_000, 1_000_000, config) == 2.5
    assert cost_of(2_000_000, 1_000_000, profiles_config()) is None
