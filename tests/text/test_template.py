from __future__ import annotations

from importlib import resources

import pytest

from recmind.config import TextConfig
from recmind.errors import ConfigError
from recmind.text.template import Phrase, load_template, prompt_version, template_names

GENERIC = (resources.files("recmind.text") / "templates" / "generic.toml").read_text("utf-8")


def written(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content, "utf-8")
    return str(path)


def test_every_shipped_template_loads_and_describes_items_and_users():
    assert template_names() == ["generic", "movies", "places", "products"]
    for name in template_names():
        template = load_template(name)
        assert "title" in template.item_fields
        assert set(template.user) == {"reviews", "titles", "review", "title", "profile"}
    assert len({load_template(name).version for name in template_names()}) == 4


def test_a_path_is_read_like_a_shipped_template(tmp_path):
    template = load_template(written(tmp_path, GENERIC.replace("Brand: {value}", "made by {value}, honest")))
    assert template.item_fields["brand"] == Phrase("made by ", ", honest")


def test_the_version_follows_the_content_and_not_the_comments(tmp_path):
    original = load_template("generic").version
    assert load_template(written(tmp_path, GENERIC + "\n# a remark\n")).version == original
    assert load_template(written(tmp_path, GENERIC.replace("Brand:", "Maker:"))).version != original


def test_the_order_of_the_fields_is_part_of_the_version(tmp_path):
    title, brand = 'title = "{value}"\n', 'brand = "Brand: {value}"\n'
    swapped = GENERIC.replace(title + brand, brand + title)
    assert swapped != GENERIC
    assert list(load_template(written(tmp_path, swapped)).item_fields)[:2] == ["brand", "title"]
    assert load_template(written(tmp_path, swapped)).version != load_template("generic").version


def test_the_prompt_version_follows_every_setting_that_changes_a_text():
    versions = {
        prompt_version(TextConfig(**settings))
        for settings in (
            {},
            {"template": "movies"},
            {"max_tokens": 64},
            {"item_instruction": "passage: "},
            {"field_tokens": {"title": 48}},
            {"snippet_tokens": 8},
        )
    }
    assert len(versions) == 6
    assert prompt_version(TextConfig()) == prompt_version(TextConfig())


def test_an_unknown_template_names_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"text\.template: there is no such(.|\n)*'novels'(.|\n)*generic, movies"):
        load_template("novels")


def test_all_wrong_keys_are_reported_at_once_with_file_and_key(tmp_path):
    content = GENERIC.replace('brand = "Brand: {value}"', 'colour = "Colour: {value}"')
    content = content.replace('description = "Description: {value}"', 'description = "Description"')
    content = content.replace('review = "{value}"', 'review = "{valeu}"').replace('profile = "About: {value}"', "")
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load_template(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 5 wrong keys")
    assert "item.fields.colour: unknown field, accepted: title, brand" in message
    assert "item.fields.description: the placeholder {value} must occur once, got 0 in 'Description'" in message
    assert "user.review: unknown placeholder {valeu}, accepted: {value}" in message
    assert "user.profile: missing" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("item = 3", "item: the table [item] is missing"),
        (GENERIC + "\n[shop]\n", "shop: unknown table"),
        (GENERIC.replace('separator = "; "', "separator = 3"), "user.separator: got 3, must be text"),
        (GENERIC.replace('separator = "; "', 'separator = "{value}"'), "user.separator: unknown placeholder {value}"),
        (GENERIC.replace("[item.fields]", "[item.columns]"), "item.columns: unknown key"),
        ("[item", "not valid TOML"),
    ],
)
def test_a_wrong_template_is_refused(tmp_path, content, expected):
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load_template(path)
    assert expected in str(caught.value)
    assert path in str(caught.value)


def test_a_template_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"mine\.toml: the prompt template is not UTF-8"):
        load_template(str(path))
