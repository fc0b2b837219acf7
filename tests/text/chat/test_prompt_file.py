from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from recmind.config import ProfilesConfig, TextConfig
from recmind.errors import ConfigError
from recmind.text.chat.prompt_file import load_prompt, prompt_names
from recmind.text.template import prompt_version

SHIPPED = (resources.files("recmind.text") / "prompts" / "shopper.toml").read_text("utf-8")


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", prompt_names())
def test_shipped_files_load(name: str):
    file = load_prompt(name)
    assert file.fields
    assert "{history}" in file.user


def test_a_file_is_what_it_says_not_where_it_is(tmp_path: Path):
    shipped = load_prompt("shopper").version
    assert load_prompt(write(tmp_path, SHIPPED + "\n# another comment\n")).version == shipped
    assert load_prompt(write(tmp_path, SHIPPED.replace("80 words", "81 words"))).version != shipped
    swapped = SHIPPED.replace('rating = "rated {value}"\nreview = "wrote: {value}"', "")
    swapped = swapped.replace(
        "[history.fields]", '[history.fields]\nreview = "wrote: {value}"\nrating = "rated {value}"'
    )
    assert load_prompt(write(tmp_path, swapped)).version != shipped


def test_every_wrong_key_is_named_at_once(tmp_path: Path):
    text = """
    system = "You are {name}."
    user = "{history} {history} {who}"
    extra = 1
    [history]
    entry = "no placeholder"
    separator = 3
    [history.fields]
    colour = "{value}"
    title = "{value} {value}"
    [answer]
    keys = "profile"
    """
    with pytest.raises(ConfigError) as caught:
        load_prompt(write(tmp_path, text))
    message = str(caught.value)
    for part in (
        "extra: unknown key",
        "about: missing",
        "system: unknown placeholder {name}, accepted: none",
        "user: unknown placeholder {who}, accepted: {history}, {about}",
        "user: the placeholder {history} must occur once, got 2",
        "history.joined: missing",
        "history.entry: the placeholder {fields} must occur once, got 0",
        "history.separator: got 3, must be text",
        "history.fields.colour: unknown field, accepted: title",
        "history.fields.title: the placeholder {value} must occur once, got 2",
        "answer.keys: got 'profile', must be a list of names",
        "compare with the file 'shopper'",
    ):
        assert part in message
    assert "text.profiles.prompt: there is no such prompt file" in refused("nothing")
    assert "not valid TOML" in refused(write(tmp_path, "user = "))


@pytest.mark.parametrize("text", ["", "history = 1", "[history]\nfields = 3\n[answer]", "user = 1\nanswer = []"])
def test_broken_files_are_refused_in_words(tmp_path: Path, text: str):
    assert "wrong key" in refused(write(tmp_path, text))


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_prompt(name)
    return str(caught.value)


class TestPromptVersion:
    def version(self, **profiles: object) -> str:
        usual = {"writer": "chat", "model": "m"}
        return prompt_version(TextConfig(user_view="titles", profiles=ProfilesConfig(**{**usual, **profiles})))

    @pytest.mark.parametrize(
        "change",
        [{"model": "other"}, {"temperature": 0.5}, {"max_tokens": 9}, {"max_snippets": 3}, {"json_mode": True}],
    )
    def test_changes_with_what_is_asked(self, change: dict[str, object]):
        assert self.version(**change) != self.version()

    @pytest.mark.parametrize(
        "change",
        [
            {"base_url": "http://elsewhere/v1"},
            {"api_key_env": "KEY"},
            {"concurrency": 1},
            {"timeout": 1.0},
            {"retries": 0},
        ],
    )
    def test_stays_with_how_it_is_asked(self, change: dict[str, object]):
        assert self.version(**change) == self.version()

    def test_changes_with_the_words_of_the_file(self, tmp_path: Path):
        assert self.version(prompt=write(tmp_path, SHIPPED)) == self.version()
        assert self.version(prompt=write(tmp_path, SHIPPED.replace("80 words", "81 words"))) != self.version()

    def test_settings_of_an_idle_chat_model_do_not_matter(self):
        idle = TextConfig(profiles=ProfilesConfig(model="m", temperature=1.0))
        assert prompt_version(idle) == prompt_version(TextConfig())
