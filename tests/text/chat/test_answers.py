from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmind.text.chat.answers import Unusable, profile_of

KEYS = ("profile",)


@pytest.mark.parametrize(
    ("content", "profile"),
    [
        ('{"profile": "likes tea"}', "likes tea"),
        ('  {"profile": "likes <b>tea</b> &amp;\\n  jam", "more": 1}\n', "likes tea & jam"),
        ('```json\n{"profile": "likes tea"}\n```', "likes tea"),
        ('<think>What {"profile": "x"}?\n</think>\n{"profile": "likes tea"}', "likes tea"),
        ('{"profile": ["tea", " ", "jam"]}', "tea, jam"),
        # A line feed inside a text, as small models write it.
        ('{"profile": "likes\ntea"}', "likes tea"),
        ('{"profile": "likes \\ud83d tea"}', "likes ? tea"),
        ('{"profile": "Sorrento lemons"}', "Sorrento lemons"),
    ],
)
def test_profiles_in_json(content: str, profile: str):
    assert profile_of(content, "stop", KEYS, 100) == profile


def test_several_keys_are_joined_in_their_order():
    content = json.dumps({"dislikes": ["noise"], "likes": "tea. ", "purpose": ""})
    assert profile_of(content, None, ("likes", "dislikes", "purpose"), 9) == "tea. noise"


def test_plain_text():
    assert profile_of("likes\n\n tea", "stop", (), 2) == "likes tea"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("<think>hm</think>", "empty"),
        ('{"profile": ""}', "empty"),
        ('{"profile": "- ... -"}', "empty"),
        ('{"profile": []}', "empty"),
        ("likes tea", "not JSON"),
        ('{"profile": "likes t', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object with profile"),
        ('{"Profile": "likes tea"}', "not a JSON object with profile"),
        ('{"profile": 3}', "values are not texts"),
        ('{"profile": ["tea", 3]}', "values are not texts"),
        ('{"profile": null}', "values are not texts"),
        ("I'm sorry, but I cannot help with that.", "a refusal"),
        ("I cannot describe people.", "a refusal"),
        ('{"profile": "As an AI language model, I do not know."}', "a refusal"),
        ('{"profile": "I’m unable to say"}', "a refusal"),
        ('{"profile": "one two three four five"}', "longer than 4 words"),
    ],
)
def test_what_cannot_be_used(content: str, why: str):
    with pytest.raises(Unusable, match=why):
        profile_of(content, "stop", KEYS, 4)


@pytest.mark.parametrize(("finish", "why"), [("length", "cut off"), ("content_filter", "content filter")])
def test_why_the_model_stopped_counts(finish: str, why: str):
    with pytest.raises(Unusable, match=why):
        profile_of('{"profile": "likes tea"}', finish, KEYS, 9)


@given(st.text(max_size=200), st.sampled_from([(), KEYS]))
def test_any_answer_is_a_clean_profile_or_unusable(content: str, keys: tuple[str, ...]):
    try:
        profile = profile_of(content, "stop", keys, 20)
    except Unusable as error:
        assert str(error)
    else:
        assert profile == " ".join(profile.split())
        assert 1 <= len(profile.split()) <= 20
        profile.encode()
