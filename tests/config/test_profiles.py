from __future__ import annotations

import traceback

import pytest

from recmind.config import ProfilesConfig, load_config
from recmind.config.profiles import HOW_ASKED
from recmind.errors import ConfigError
from recmind.training.run_folder import run_fingerprint

CHAT = ("text.user_view=titles", "text.profiles.writer=chat", "text.profiles.model=m")


def refused(*overrides: str) -> str:
    """The message, and what a traceback would show of its causes."""
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    return "".join(traceback.format_exception(caught.value))


def test_a_chat_model_needs_its_name_and_a_view_with_texts():
    assert 'writer = "chat" needs the name of the chat model' in refused("text.profiles.writer=chat")
    assert 'text.user_view: got "items"' in refused("text.profiles.writer=chat", "text.profiles.model=m")
    assert load_config(overrides=CHAT).text.profiles.model == "m"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("localhost:8000", "starts with http"),
        ("ftp://host/v1", "starts with http"),
        ("http://", "starts with http"),
        ("http://host:99999/v1", "ort out of range"),
        ("https://me:secret@host/v1", "no user, password or query"),
        ("https://host/v1?key=secret", "no user, password or query"),
    ],
)
def test_addresses_that_are_none_or_hold_a_password(address: str, says: str):
    message = refused(f"text.profiles.base_url={address}")
    assert says in message
    assert "secret" not in message


def test_an_address_may_end_in_a_slash():
    assert ProfilesConfig(base_url="http://host:1234/v1/").base_url == "http://host:1234/v1"


@pytest.mark.parametrize("value", ["sk-secret-1", "secret", "SECRET-KEY", "S" * 80])
def test_a_key_in_the_place_of_the_name_of_its_variable_is_not_shown(value: str):
    message = refused(f"text.profiles.api_key_env={value}")
    assert "api_key_env: got a value that is not shown" in message
    assert value not in message


def test_how_is_asked_names_settings():
    assert set(HOW_ASKED) < set(ProfilesConfig.model_fields)


class TestRun:
    def fingerprint(self, *overrides: str) -> str:
        return run_fingerprint(load_config(overrides=[*CHAT, *overrides]), "data")

    def test_is_the_same_through_another_endpoint(self):
        other = ("text.profiles.base_url=http://b/v1", "text.profiles.concurrency=2", "text.profiles.api_key_env=KEY")
        assert self.fingerprint(*other) == self.fingerprint()

    def test_is_another_with_another_model_or_sampling(self):
        assert self.fingerprint("text.profiles.model=n") != self.fingerprint()
        assert self.fingerprint("text.profiles.temperature=1.0") != self.fingerprint()

    def test_depends_on_what_the_prompt_file_says(self, tmp_path):
        from importlib import resources

        path = tmp_path / "mine.toml"
        text = (resources.files("recmind.text") / "prompts" / "shopper.toml").read_text("utf-8")
        path.write_text(text, encoding="utf-8")
        assert self.fingerprint(f"text.profiles.prompt={path}") == self.fingerprint()
        path.write_text(text.replace("80 words", "40 words"), encoding="utf-8")
        assert self.fingerprint(f"text.profiles.prompt={path}") != self.fingerprint()
