"""Texts of users by either writer: :mod:`recmind.text.users`, next to the server that it needs."""

from __future__ import annotations

import warnings

import pytest

from recmind.config import TextConfig
from recmind.text.chat.prompts import build_prompts
from recmind.text.profiles import user_texts
from recmind.text.users import writer_manifest, written_user_texts


@pytest.fixture
def written(dataset, split, by_words, tmp_path):
    def call(config: TextConfig, **options: bool):
        return written_user_texts(dataset, split, config, by_words, tmp_path, show_progress=False, **options)

    return call


def test_the_template_asks_nobody(server, dataset, split, by_words, written):
    config = TextConfig(user_view="reviews")
    found = written(config)
    assert found.texts == user_texts(dataset, split.train, config, by_words)
    assert (found.written, set(found.answers), server.requests) == (None, {None}, [])
    assert writer_manifest(config) == {}


def test_answers_stand_behind_the_instruction_within_the_budget(server, written, text_config):
    server.behave = lambda exchange, request, nth: exchange.answer('{"profile": "a b c d e f g h i j"}')
    found = written(text_config(text={"user_instruction": "query: ", "max_tokens": 8}))
    assert set(found.texts) == {"query: a b c d e f g"}
    assert set(found.answers) == {"a b c d e f g h i j"}


def test_who_has_no_usable_answer_keeps_the_templates_text(server, dataset, split, by_words, written, text_config):
    config = text_config(max_failed=0.2, answer_retries=0)
    first = build_prompts(dataset, split, config, by_words).texts[0]
    server.behave = lambda exchange, request, nth: exchange.answer(
        "nonsense" if request["messages"][-1]["content"] == first else None
    )
    with pytest.warns(UserWarning, match=r"1 of 30 users keep the template's text \(1 × answer not JSON\)"):
        found = written(config)
    template = user_texts(dataset, split.train, config, by_words)
    assert (found.texts[0], found.answers[0], found.failures[0]) == (template[0], None, "answer not JSON")
    assert all(
        text == answer != old
        for text, answer, old in zip(found.texts[1:], found.answers[1:], template[1:], strict=True)
    )
    server.behave = lambda exchange, request, nth: exchange.answer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert written(config, ask_again=True).failures == [None] * 30


def test_the_run_notes_who_wrote(text_config, tmp_path):
    noted = writer_manifest(text_config())["profiles"]
    assert (noted["model"], noted["prompt"], len(noted["prompt_hash"])) == ("tiny", "shopper", 16)
