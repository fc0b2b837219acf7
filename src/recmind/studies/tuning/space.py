"""What a search may try: a TOML file of ranges, one for every model, and for a recipe that has its own.

Each entry of the file is a setting by its dotted key and what it may be::

    "training.learning_rate" = { low = 5e-4, high = 2e-2, log = true }
    "model.layers" = { low = 1, high = 4 }
    "training.loss" = { choices = ["bpr", "softmax"] }
    "training.temperature" = { low = 0.05, high = 0.5, when = { "training.loss" = "softmax" }, otherwise = 1.0 }
    "training.weight_decay" = { value = 0.0 }

Two whole numbers as bounds give whole numbers. ``when`` names settings further
up in the file; where they have other values, the setting is ``otherwise``, or
without one what the recipe says.

``start`` holds settings that are worth a trial right after the recipe, so that
a search with few trials need not find by chance what is known to be good; what
one does not name is the recipe's::

    [[start]]
    "training.loss" = "softmax"
    "training.temperature" = 0.2
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError, model_validator

from recmind.config import Settings, load_config, recipe_names, setting_names
from recmind.errors import ConfigError

PROTOCOL: Final[dict[str, Any]] = {
    "training.metric": "ndcg@40",
    "training.max_epochs": 400,
    "training.eval_every": 5,
    "training.patience": 6,
}
"""What all trials of all models have in common: the metric that is tuned for, and the early stopping."""

_NOT_SEARCHED: Final = ("seed", "recipe", "device", "threads", "model.name", *PROTOCOL)
_NO_SECTIONS: Final = ("split.", "evaluation.")
_START: Final = "start"
_FOLDER: Final = resources.files("recmind") / "recipes" / "spaces"

Value = bool | int | float | str | list[Any]
Draw = Callable[[str, "Range"], Any]
"""Draws a value for a key from its range."""


class Range(Settings):
    """What one setting may be: bounds, choices, or one value."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = None
    value: Any = None
    when: dict[str, Any] = Field(default_factory=dict)
    otherwise: Any = None

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        bounds = self.low is not None or self.high is not None
        if bounds + (self.choices is not None) + (self.value is not None) != 1:
            raise ValueError("give either low and high, or choices, or value")
        if bounds:
            self._check_bounds()
        if self.log and not bounds:
            raise ValueError("log belongs to low and high")
        if self.choices is not None and (len(self.choices) < 2 or len({json.dumps(c) for c in self.choices}) < 2):
            raise ValueError("choices needs two different values at least; for one, give value")
        if self.otherwise is not None and not self.when:
            raise ValueError("otherwise belongs to when")
        return self

    def _check_bounds(self) -> None:
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, got {self.low}")

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def searched(self) -> bool:
        """Whether there is anything to choose."""
        return self.value is None

    def holds(self, value: Any) -> bool:
        """Whether a value is one that could be drawn."""
        if self.choices is not None:
            return value in self.choices
        if self.low is None or self.high is None or isinstance(value, bool) or not isinstance(value, int | float):
            return value == self.value
        return self.low <= value <= self.high and (not self.whole or value == int(value))

    def tried(self) -> list[Any]:
        """The values at its ends, all choices, and what stands in otherwise."""
        ends = [end for end in (self.low, self.high, self.value, self.otherwise) if end is not None]
        return [*ends, *(self.choices or [])]


@dataclass(frozen=True)
class Space:
    """Ranges by dotted key, in the order in which they are drawn."""

    ranges: dict[str, Range]
    where: str
    """The file, for messages."""
    starts: list[dict[str, Any]] = field(default_factory=list)
    """Settings to try after the recipe's."""

    @property
    def searched(self) -> list[str]:
        """Keys of the settings that are searched."""
        return [key for key, one in self.ranges.items() if one.searched]

    def settings(self, draw: Draw) -> dict[str, Any]:
        """Settings by dotted key, each drawn where its condition holds."""
        found: dict[str, Any] = {}
        for key, one in self.ranges.items():
            if all(found.get(other) == wanted for other, wanted in one.when.items()):
                found[key] = draw(key, one) if one.searched else one.value
            elif one.otherwise is not None:
                found[key] = one.otherwise
        return found

    def as_plain(self) -> dict[str, Any]:
        """The space as JSON takes it: two spaces are the same where these are."""
        ranges = {key: one.model_dump(exclude_defaults=True) for key, one in self.ranges.items()}
        return {**ranges, _START: self.starts} if self.starts else ranges


def space_names() -> list[str]:
    """Models for which a space comes with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))


def space_text(model: str, path: Path | None = None, *, recipe: str = "default") -> str:
    """The text of a file, or of the space of a model that comes with the package.

    A shipped recipe may have a space of its own for a model, where another one would leave its method:
    ``spaces/<recipe>/<model>.toml`` in place of ``spaces/<model>.toml``.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if path is not None:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"the space cannot be read: {error}", where="--space", got=str(path)) from error
    if model not in space_names():
        raise ConfigError("there is no search space for the model", where="--model", got=model, accepted=space_names())
    own = _FOLDER / recipe / f"{model}.toml" if recipe in recipe_names() else None
    chosen = own if own is not None and own.is_file() else _FOLDER / f"{model}.toml"
    return chosen.read_text(encoding="utf-8")


def load_space(model: str, path: Path | None = None, *, recipe: str = "default") -> Space:
    """The space of a model, or of a file of one's own, checked.

    Raises
    ------
    ConfigError
        With everything that is wrong: unknown settings, ranges that cannot be
        drawn from, values that the settings do not accept.
    """
    where = str(path) if path is not None else f"space of {model!r}"
    try:
        tree = tomllib.loads(space_text(model, path, recipe=recipe))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the space is not valid TOML: {error}", where=where) from error
    starts = tree.pop(_START, [])
    ranges, problems = _read(_flat(tree))
    problems += _wrong_starts(starts, ranges)
    if not problems:
        problems = _refused(ranges, model, recipe)
    if problems:
        wrong = "1 wrong entry" if len(problems) == 1 else f"{len(problems)} wrong entries"
        raise ConfigError(
            f"{wrong}\n  - " + "\n  - ".join(problems),
            where=where,
            hint="`recmind tune DATASET --model M --out DIR --dry-run` shows the space of a model as an example",
        )
    return Space(ranges, where, starts)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Ranges by dotted key: ``[training]`` above ``loss = {...}`` is as good as ``"training.loss" = {...}``."""
    flat: dict[str, Any] = {}
    for key, entry in tree.items():
        if isinstance(entry, Mapping) and not entry.keys() & Range.model_fields.keys():
            flat |= _flat(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat


def _read(tree: Mapping[str, Any]) -> tuple[dict[str, Range], list[str]]:
    known, ranges, problems = setting_names(), {}, []
    for key, entry in tree.items():
        if key in _NOT_SEARCHED or key.startswith(_NO_SECTIONS):
            problems.append(f"{key}: all trials have this in common, it is not searched")
        elif key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            problems.append(f"{key}: unknown setting" + (f"; did you mean {close[0]!r}?" if close else ""))
        elif not isinstance(entry, Mapping):
            problems.append(f"{key}: got {entry!r}, give a range such as {{ low = 1, high = 4 }}")
        else:
            try:
                ranges[key] = Range.model_validate(entry)
            except ValidationError as error:
                problems += [f"{key}: {_message(entry)}" for entry in error.errors()]
            else:
                unknown = [other for other in ranges[key].when if other not in ranges or other == key]
                problems += [f"{key}: when names {other!r}, which does not stand above it" for other in unknown]
    return ranges, problems


def _wrong_starts(starts: Any, ranges: Mapping[str, Range]) -> list[str]:
    if not isinstance(starts, list) or not all(isinstance(one, Mapping) for one in starts):
        return [f"{_START}: got {starts!r}, write [[{_START}]] and a line for each setting"]
    problems = []
    for number, start in enumerate(starts, start=1):
        for key, value in start.items():
            if key not in ranges or not ranges[key].searched:
                problems.append(f"{_START} {number}: {key} is not searched")
            elif not ranges[key].holds(value):
                problems.append(f"{_START} {number}: {key} cannot be {value!r}, which is outside its range")
    return problems


def _message(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{place}: no part of a range; there are {', '.join(Range.model_fields)}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {text[0].lower()}{text[1:]}" if place else text


def _refused(ranges: Mapping[str, Range], model: str, recipe: str) -> list[str]:
    """What the settings say against the values of the ranges, one by one."""
    problems = []
    for key, one in ranges.items():
        for value in one.tried():
            try:
                load_config(recipe, model=model, overrides={key: value})
            except ConfigError as error:
                if key not in error.what:
                    continue  # only together with other settings is it wrong, or right
                problems.append(error.what.partition("\n  - ")[2].partition("\n")[0])
    return list(dict.fromkeys(problems))
