"""Every setting in words: what it accepts, its default, and its docstring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from recmind.config.run import walk_settings

_SIGNS: dict[type[BaseMetadata], tuple[str, str]] = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


@dataclass(frozen=True)
class Setting:
    """One setting as it is documented."""

    key: str
    """Dotted key, as ``--set`` takes it."""
    accepts: str
    """Type and range, in words."""
    default: str
    """Default, as TOML."""
    text: str
    """The field's docstring, on one line."""


def describe_settings() -> list[Setting]:
    """Every setting with what it accepts, its default and its docstring."""
    return [
        Setting(
            key=key,
            accepts=_accepts(Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation),
            default=_as_toml(info.get_default(call_default_factory=True)),
            text=" ".join((info.description or "").split()),
        )
        for key, info in walk_settings()
    ]


def _accepts(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _accepts(arguments[0]) + _range(arguments[1:])
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin in (Union, UnionType):
        known = [argument for argument in arguments if argument is not NoneType]
        optional = ", or left out" if len(known) < len(arguments) else ""
        return " or ".join(_accepts(argument) for argument in known) + optional
    if origin is tuple:
        return f"list of {_accepts(arguments[0])}"
    if origin is dict:
        return f"table of {_accepts(arguments[1])}"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
    return names[annotation]


def _range(metadata: tuple[Any, ...]) -> str:
    bounds = []
    for entry in metadata:
        # A pydantic Field inside an alias such as Positive carries its bounds one level down.
        for bound in entry.metadata if isinstance(entry, FieldInfo) else (entry,):
            if type(bound) in _SIGNS:
                name, sign = _SIGNS[type(bound)]
                bounds.append(f"{sign} {getattr(bound, name):g}")
    return f" {' and '.join(bounds)}" if bounds else ""


def _as_toml(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_as_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_as_toml(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)
