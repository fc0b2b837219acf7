"""Prompt files: TOML that says what a chat model is asked about a user and how it must answer.

Like a template, a prompt file is identified by the hash of what it says.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from recmind.schema import ITEM_TEXT_FIELDS, Columns
from recmind.text.wording import Phrase, phrase, placeholder_problems, read_wording, refuse, shipped_names

REVIEW, RATING = "review", Columns.RATING
HISTORY_FIELDS = (*ITEM_TEXT_FIELDS, Columns.PRICE, RATING, REVIEW)
"""Fields of an interaction that a prompt may use."""

_TABLES = {"history": ("entry", "separator", "joined", "fields"), "answer": ("keys",)}
_TEXTS = ("system", "user", "about")


@dataclass(frozen=True)
class PromptFile:
    """A checked prompt file.

    Attributes
    ----------
    name:
        Name of a shipped file or path.
    version:
        Hex digest of the content.
    system, user:
        The two messages; ``user`` has ``{history}`` and may have ``{about}``.
    about:
        Phrase around what ``users.parquet`` says about the user.
    entry, fields, joined, separator:
        One interaction: the phrase around it, a phrase per field in writing order, what stands between two
        fields; and what stands between two interactions.
    keys:
        Keys of the JSON object that the answer must be; none for plain text.
    """

    name: str
    version: str
    system: str
    user: str
    about: Phrase
    entry: Phrase
    fields: dict[str, Phrase]
    joined: str
    separator: str
    keys: tuple[str, ...]


def prompt_names() -> list[str]:
    """Names of the prompt files that come with the package."""
    return shipped_names("prompts")


def load_prompt(name: str) -> PromptFile:
    """The shipped prompt file ``name``, or the one in the TOML file ``name``.

    Raises
    ------
    ConfigError
        If there is no such file, or with every wrong key of it at once.
    """
    tree, where = read_wording(name, "prompts", what="prompt file", setting="text.profiles.prompt")
    refuse(_problems(tree), what="prompt file", where=where, model="shopper")
    history = tree["history"]
    return PromptFile(
        name=where,
        version=_version(tree),
        system=tree["system"],
        user=tree["user"],
        about=phrase(tree["about"], "value"),
        entry=phrase(history["entry"], "fields"),
        fields={field: phrase(text, "value") for field, text in history["fields"].items()},
        joined=history["joined"],
        separator=history["separator"],
        keys=tuple(tree["answer"]["keys"]),
    )


def _version(tree: dict[str, Any]) -> str:
    # The order of the fields is their meaning; of all else it is not.
    content = json.dumps([tree, list(tree["history"]["fields"])], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _problems(tree: dict[str, Any]) -> list[str]:
    known = (*_TEXTS, *_TABLES)
    found = [f"{key}: unknown key, accepted: {', '.join(known)}" for key in tree if key not in known]
    found += [f"{key}: missing" for key in known if key not in tree]
    found += placeholder_problems("system", tree.get("system", ""), None)
    found += _problems_of_user(tree.get("user", "{history}"))
    found += placeholder_problems("about", tree.get("about", "{value}"), "value")
    for table, keys in _TABLES.items():
        content = tree.get(table, dict.fromkeys(keys))
        if not isinstance(content, dict):
            found.append(f"{table}: must be a table")
            continue
        found += [f"{table}.{key}: unknown key, accepted: {', '.join(keys)}" for key in content if key not in keys]
        found += [f"{table}.{key}: missing" for key in keys if key not in content]
        if table in tree:
            found += _problems_of_history(content) if table == "history" else _problems_of_answer(content)
    return found


def _problems_of_user(text: Any) -> list[str]:
    if not isinstance(text, str):
        return [f"user: got {text!r}, must be text"]
    # {about} may be there once or not at all; what is left must hold {history} alone.
    if text.count("{about}") > 1:
        return ["user: the placeholder {about} may occur once only"]
    found = placeholder_problems("user", text.replace("{about}", ""), "history")
    return [re.sub(r"(accepted: \{history\})", r"\1, {about}", problem) for problem in found]


def _problems_of_history(history: dict[str, Any]) -> list[str]:
    found = []
    for key, placeholder in (("entry", "fields"), ("separator", None), ("joined", None)):
        if key in history:
            found += placeholder_problems(f"history.{key}", history[key], placeholder)
    fields = history.get("fields", {REVIEW: "{value}"})
    if not isinstance(fields, dict) or not fields:
        return [*found, "history.fields: must be a table with at least one field"]
    for field, text in fields.items():
        if field not in HISTORY_FIELDS:
            found.append(f"history.fields.{field}: unknown field, accepted: {', '.join(HISTORY_FIELDS)}")
        else:
            found += placeholder_problems(f"history.fields.{field}", text, "value")
    return found


def _problems_of_answer(answer: dict[str, Any]) -> list[str]:
    keys = answer.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys):
        return [f"answer.keys: got {keys!r}, must be a list of names"]
    return []
