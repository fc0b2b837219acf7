"""Prompt templates: TOML files that say how an item or a user is put into words.

A template is identified by the hash of what it says, so that an edited file
gives new texts and an edited comment does not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from recmind.config import TextConfig
from recmind.config.profiles import HOW_ASKED
from recmind.schema import ITEM_TEXT_FIELDS, Columns
from recmind.text.wording import Phrase, phrase, placeholder_problems, read_wording, refuse, shipped_names

TEMPLATE_FIELDS = (*ITEM_TEXT_FIELDS, Columns.PRICE)
"""Item fields that a template may use."""

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
    return shipped_names("templates")


def load_template(name: str) -> Template:
    """The shipped template ``name``, or the one in the TOML file ``name``.

    Raises
    ------
    ConfigError
        If there is no such template, or with every wrong key of the file at once.
    """
    tree, where = read_wording(name, "templates", what="prompt template", setting="text.template")
    return _build(tree, where)


def prompt_version(config: TextConfig) -> str:
    """Digest of everything but the data that decides how texts read: template, budgets, and who writes.

    Of a chat model that is its name, what it is asked and with which sampling, not through which endpoint.
    """
    settings = config.model_dump(mode="json", exclude={"template", "profiles"})
    parts = [load_template(config.template).version, settings]
    if config.profiles.writer == "chat":
        from recmind.text.chat.prompt_file import load_prompt

        parts.append(load_prompt(config.profiles.prompt).version)
        parts.append(config.profiles.model_dump(mode="json", exclude={"prompt", *HOW_ASKED}))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build(tree: dict[str, Any], where: str) -> Template:
    refuse(_problems(tree), what="prompt template", where=where, model="generic")
    item, user = tree["item"], tree["user"]
    return Template(
        name=where,
        version=hashlib.sha256(json.dumps(_ordered(tree)).encode()).hexdigest()[:16],
        item=phrase(item["text"], "fields"),
        item_separator=item["separator"],
        item_fields={field: phrase(text, "value") for field, text in item["fields"].items()},
        user={key: phrase(user[key], name) for key, name in _USER_KEYS.items() if name},
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
                found += placeholder_problems(f"{table}.{key}", content[key], placeholder)
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
            found += placeholder_problems(f"item.fields.{field}", text, "value")
    return found


def _ordered(tree: dict[str, Any]) -> Any:
    """Tables as key-value pairs: sorted, but for the fields, whose order is their meaning."""
    fields = list(tree["item"]["fields"].items())
    item = sorted((key, value) for key, value in tree["item"].items() if key != "fields")
    return [item, fields, sorted(tree["user"].items())]
