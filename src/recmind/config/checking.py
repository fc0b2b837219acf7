"""A tree of settings as a `Config`, or everything that is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recmind.config.run import Config, section_names, setting_names
from recmind.errors import ConfigError


def validate_config(tree: Mapping[str, Any], *, where: str | Path) -> Config:
    """``tree`` as a :class:`Config`; every problem is reported in one :class:`ConfigError`."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error), where=where, hint="see docs/settings.md") from error


def _explain(error: ValidationError) -> str:
    problems = []
    for entry in error.errors():
        key = ".".join(str(part) for part in entry["loc"])
        message = str(entry["msg"]).removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            problems.append(f"{key}: unknown setting{_suggest(key)}")
        elif not key or (entry["type"] == "value_error" and isinstance(entry["input"], Mapping)):
            problems.append(message)
        else:
            problems.append(f"{key}: got {_shown(key, entry['input'])}, {message[0].lower()}{message[1:]}")
    plural = "s" if len(problems) > 1 else ""
    return f"{len(problems)} wrong setting{plural}\n  - " + "\n  - ".join(problems)


def _shown(key: str, value: object) -> str:
    """The value, but for settings into which a key or a password may have been pasted."""
    return "a value that is not shown" if key.endswith(("api_key_env", "base_url")) else repr(value)


def _suggest(key: str) -> str:
    close = difflib.get_close_matches(key, [*setting_names(), *section_names()], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
