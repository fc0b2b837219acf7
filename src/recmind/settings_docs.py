"""Reference pages made from the code, so that they cannot drift from it.

``python -m recmind.settings_docs --write`` writes ``docs/settings.md`` from the
docstrings in :mod:`recmind.config` and ``docs/commands.md`` from the command
line's own help; without ``--write`` it says whether they are up to date.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recmind.config import Config, walk_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
"""The docs folder of a clone."""

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


def settings_page() -> str:
    """``docs/settings.md`` as text."""
    lines = [
        "# Settings",
        "",
        "<!-- Made by `make docs` from src/recmind/config: edit there. -->",
        "",
        "A recipe is a TOML file with any of these settings; what it leaves out keeps the default given here. "
        "`recmind recipes` lists the recipes that come with RecMind, `recmind recipes NAME` shows one. "
        "Settings for one model only stand in a table `[overrides.MODEL]`, or `[overrides.MODEL.SECTION]`, of the "
        "recipe. On the command line a setting is changed with `--set key=value`, for instance "
        "`--set model.layers=3`. Order of precedence: default, recipe, the recipe's table for the model, `--set`, "
        "an option of its own such as `--seed`. Unknown keys and values out of range are refused, all at once.",
        "",
    ]
    section = None
    for setting in describe_settings():
        group = setting.key.rpartition(".")[0]
        if group != section:
            section = group
            lines += _heading(group)
        lines += [
            f"**`{setting.key}`** = `{setting.default}`  ",
            f"*{setting.accepts}*  ",
            setting.text,
            "",
        ]
    return "\n".join(lines)


def _heading(group: str) -> list[str]:
    cls: type[BaseModel] = Config
    for part in group.split(".") if group else []:
        inner = cls.model_fields[part].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        cls = inner
    title = f"`[{group}]`" if group else "Outside any table"
    return [f"## {title}", "", " ".join((inspect.getdoc(cls) or "").split()), ""]


def commands_page() -> str:
    """``docs/commands.md`` as text."""
    from recmind.cli import app

    # cyclopts writes the name of the running program into the usage lines.
    program, sys.argv[0] = sys.argv[0], "recmind"
    try:
        _, _, body = app.generate_docs().partition("\n")
    finally:
        sys.argv[0] = program
    return f"# Commands\n\n<!-- Made by `make docs` from src/recmind/cli: edit there. -->\n{body.rstrip()}\n"


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page, "commands.md": commands_page}
"""Generated pages by file name."""


def stale_pages() -> list[Path]:
    """Generated pages whose file is missing or out of date."""
    return [
        path
        for path, make in ((DOCS / name, make) for name, make in PAGES.items())
        if not path.exists() or path.read_text(encoding="utf-8") != make()
    ]


def main(arguments: list[str]) -> int:
    """Write the pages (``--write``), or say which are stale; 1 if any is."""
    stale = stale_pages()
    if arguments == ["--write"]:
        DOCS.mkdir(exist_ok=True)
        for path in stale:
            path.write_text(PAGES[path.name](), encoding="utf-8")
            print(f"wrote {path}")
        return 0
    for path in stale:
        print(f"{path} is out of date: run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
