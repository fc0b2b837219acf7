"""Reference pages made from the code, so that they cannot drift from it.

``python -m recmind.docs --write`` writes ``docs/settings.md`` from the
docstrings in :mod:`recmind.config` and ``docs/commands.md`` from the command
line's own help; without ``--write`` it says whether they are up to date.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from recmind.cli import app
from recmind.config import Config, describe_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
"""The docs folder of a clone."""


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
