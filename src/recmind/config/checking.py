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
        if entry["type"] == "extra_forbidden":
            problems.append(f"{key}: unknown setting{_suggest(key)}")
        elif not key:
            problems.append(str(entry["msg"]).removeprefix("Value error, "))
        else:
            problems.append(f"{key}: got {entry['input']!r}, {entry['msg'][0].lower()}{entry['msg'][1:]}")
    plural = "s" if len(problems) > 1 else ""
    return f"{len(problems)} wrong setting{plural}\n  - " + "\n  - ".join(problems)


def _suggest(key: str) -> str:
    close = difflib.get_close_matches(key, [*setting_names(), *section_names()], n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
