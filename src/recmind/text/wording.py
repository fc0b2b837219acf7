"""Files of wording: TOML with placeholders, shipped with the package or a person's own."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from recmind.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Phrase:
    """A text with one placeholder, as what stands before and behind it."""

    before: str
    after: str


def phrase(text: str, placeholder: str) -> Phrase:
    """``text`` split at its only ``{placeholder}``."""
    before, after = text.split(f"{{{placeholder}}}")
    return Phrase(before, after)


def fill(text: str, values: dict[str, str]) -> str:
    """``text`` with every ``{name}`` of ``values`` replaced; braces inside a value stay as they are."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def shipped_names(folder: str) -> list[str]:
    """Names of the files in ``folder`` of this package."""
    return sorted(
        entry.name[:-5]
        for entry in (resources.files("recmind.text") / folder).iterdir()
        if entry.name.endswith(".toml")
    )


def read_wording(name: str, folder: str, *, what: str, setting: str) -> tuple[dict[str, Any], str]:
    """The shipped file ``name`` of ``folder``, or the TOML file ``name``, and how to call it in errors.

    Raises
    ------
    ConfigError
        If there is no such ``what``, or it is not TOML in UTF-8; ``setting`` is named as the place.
    """
    if name in shipped_names(folder):
        content, where = (resources.files("recmind.text") / folder / f"{name}.toml").read_text("utf-8"), name
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"there is no such {what}",
                where=setting,
                got=name,
                accepted=[*shipped_names(folder), "the path of a .toml file"],
            )
        where = str(path)
        try:
            content = path.read_text("utf-8")
        except ValueError as error:
            raise ConfigError(f"the {what} is not UTF-8 text: {error}", where=where) from error
    try:
        return tomllib.loads(content), where
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the {what} is not valid TOML: {error}", where=where) from error


def placeholder_problems(key: str, text: Any, placeholder: str | None) -> list[str]:
    """What is wrong with a text that must hold ``{placeholder}`` once, or none at all."""
    if not isinstance(text, str):
        return [f"{key}: got {text!r}, must be text"]
    names = _PLACEHOLDER.findall(text)
    accepted = f"accepted: {{{placeholder}}}" if placeholder else "accepted: none"
    found = [f"{key}: unknown placeholder {{{name}}}, {accepted}" for name in names if name != placeholder]
    if placeholder and names.count(placeholder) != 1:
        count = names.count(placeholder)
        found.append(f"{key}: the placeholder {{{placeholder}}} must occur once, got {count} in {text!r}")
    return found


def refuse(problems: list[str], *, what: str, where: str, model: str) -> None:
    """Raise a :class:`ConfigError` that lists every problem, if there is one."""
    if problems:
        plural = "s" if len(problems) > 1 else ""
        listing = "\n  - ".join(problems)
        raise ConfigError(
            f"{len(problems)} wrong key{plural} in the {what}\n  - {listing}",
            where=where,
            hint=f"compare with the {what.rpartition(' ')[2]} {model!r}, which explains the format",
        )
