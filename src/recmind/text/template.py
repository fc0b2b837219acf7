"""Prompt templates: TOML files that say how an item or a user is put into words.

A template is identified by the hash of what it says, so that an edited file
gives new texts and an edited comment does not.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from recmind.config import TextConfig
from recmind.errors import ConfigError
from recmind.schema import ITEM_TEXT_FIELDS, Columns

TEMPLATE_FIELDS = (*ITEM_TEXT_FIELDS, Columns.PRICE)
"""Item fields that a template may use."""

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_ITEM_KEYS = {"text": "fields", "separator": None, "fields": None}
_USER_KEYS = {
    "reviews": "snippets",
    "titles": "snippets",
    "separator": None,
    "review": "value",
    "title": "value",
    "profile": "value",
}


@dataclass(frozen=True)
class Phrase:
    """A text with one placeholder, as what stands before and behind it."""

    before: str
    after: str


@dataclass(frozen=True)
class Template:
    """A checked prompt template.

    Attributes
    ----------
    name:
        Name of a shipped template or path of the file.
    version:
        Hex digest of the content.
    item, item_separator, item_fields:
        The item's text around its fields, what stands between two fields, and
        a phrase per field in writing order.
    user:
        Phrases ``reviews``, ``titles``, ``review``, ``title`` and ``profile``.
    user_separator:
        What stands between two snippets.
    """

    name: str
    version: str
    item: Phrase
    item_separator: str
    item_fields: dict[str, Phrase]
    user: dict[str, Phrase]
    user_separator: str


def template_names() -> list[str]:
    """Names of the templates that come with the package."""
    folder = resources.files("recmind.text") / "templates"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_template(name: str) -> Template:
    """The shipped template ``name``, or the one in the TOML file ``name``.

    Raises
    ------
    ConfigError
        If there is no such template, or with every wrong key of the file at once.
    """
    if name in template_names():
        content, where = (resources.files("recmind.text") / "templates" / f"{name}.toml").read_text("utf-8"), name
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(
                "there is no such prompt template",
                where="text.template",
                got=name,
                accepted=[*template_names(), "the path of a .toml file"],
            )
        where = str(path)
        try:
            content = path.read_text("utf-8")
        except ValueError as error:
            raise ConfigError(f"the prompt template is not UTF-8 text: {error}", where=where) from error
    try:
        tree = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the prompt template is not valid TOML: {error}", where=where) from error
    return _build(tree, where)


def prompt_version(config: TextConfig) -> str:
    """Digest of everything but the data that decides how texts read: template and budgets."""
    settings = config.model_dump(mode="json", exclude={"template"})
    content = json.dumps([load_template(config.template).version, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _build(tree: dict[str, Any], where: str) -> Template:
    problems = _problems(tree)
    if problems:
        plural = "s" if len(problems) > 1 else ""
        listing = "\n  - ".join(problems)
        raise ConfigError(
            f"{len(problems)} wrong key{plural} in the prompt template\n  - {listing}",
            where=where,
            hint="compare with the template 'generic', which explains the format",
        )
    item, user = tree["item"], tree["user"]
    return Template(
        name=where,
        version=hashlib.sha256(json.dumps(_ordered(tree)).encode()).hexdigest()[:16],
        item=_phrase(item["text"], "fields"),
        item_separator=item["separator"],
        item_fields={field: _phrase(text, "value") for field, text in item["fields"].items()},
        user={key: _phrase(user[key], name) for key, name in _USER_KEYS.items() if name},
        user_separator=user["separator"],
    )


def _problems(tree: dict[str, Any]) -> list[str]:
    found = [f"{key}: unknown table, accepted: item, user" for key in tree if key not in ("item", "user")]
    for table, keys in (("item", _ITEM_KEYS), ("user", _USER_KEYS)):
        content = tree.get(table)
        if not isinstance(content, dict):
            found.append(f"{table}: the table [{table}] is missing")
            continue
        found += [f"{table}.{key}: unknown key, accepted: {', '.join(keys)}" for key in content if key not in keys]
        found += [f"{table}.{key}: missing" for key in keys if key not in content]
        for key, placeholder in keys.items():
            if key in content and (table, key) != ("item", "fields"):
                found += _problems_of_text(f"{table}.{key}", content[key], placeholder)
    item = tree.get("item")
    if isinstance(item, dict) and "fields" in item:
        found += _problems_of_fields(item["fields"])
    return found


def _problems_of_fields(fields: Any) -> list[str]:
    if not isinstance(fields, dict) or not fields:
        return ["item.fields: must be a table with at least one field"]
    found = []
    for field, text in fields.items():
        if field not in TEMPLATE_FIELDS:
            found.append(f"item.fields.{field}: unknown field, accepted: {', '.join(TEMPLATE_FIELDS)}")
        else:
            found += _problems_of_text(f"item.fields.{field}", text, "value")
    return found


def _problems_of_text(key: str, text: Any, placeholder: str | None) -> list[str]:
    if not isinstance(text, str):
        return [f"{key}: got {text!r}, must be text"]
    names = _PLACEHOLDER.findall(text)
    accepted = f"accepted: {{{placeholder}}}" if placeholder else "accepted: none"
    found = [f"{key}: unknown placeholder {{{name}}}, {accepted}" for name in names if name != placeholder]
    if placeholder and names.count(placeholder) != 1:
        count = names.count(placeholder)
        found.append(f"{key}: the placeholder {{{placeholder}}} must occur once, got {count} in {text!r}")
    return found


def _phrase(text: str, placeholder: str) -> Phrase:
    before, after = text.split(f"{{{placeholder}}}")
    return Phrase(before, after)


def _ordered(tree: dict[str, Any]) -> Any:
    """Tables as key-value pairs: sorted, but for the fields, whose order is their meaning."""
    fields = list(tree["item"]["fields"].items())
    item = sorted((key, value) for key, value in tree["item"].items() if key != "fields")
    return [item, fields, sorted(tree["user"].items())]
