"""Commands about RecMind itself: recipes, settings, doctor."""

from __future__ import annotations

import json

from recmind.cli.options import JsonFlag


def recipes(name: str | None = None, /) -> None:
    """List the recipes, or show one as it is written.

    A recipe printed to a file is a recipe of your own: change it and pass it to `recmind train --recipe`.

        recmind recipes
        recmind recipes default
        recmind recipes default > mine.toml

    Parameters
    ----------
    name:
        Recipe to show: its name, or the path of a TOML file.
    """
    from recmind.config import recipe_names, recipe_text

    if name is not None:
        print(recipe_text(name).rstrip())
        return
    for recipe in recipe_names():
        comment = recipe_text(recipe).strip().partition("\n")[0].lstrip("# ")
        print(f"{recipe:<12} {comment}")


def settings(word: str = "", /) -> None:
    """List the settings whose key contains a word, with type, default and meaning.

    Any of them can stand in a recipe, or behind `--set` of `recmind train`.

        recmind settings
        recmind settings alignment
        recmind settings model.layers

    Parameters
    ----------
    word:
        Part of a key; without it, every setting.
    """
    from recmind.config import describe_settings
    from recmind.errors import ConfigError

    found = [entry for entry in describe_settings() if word in entry.key]
    if not found:
        raise ConfigError(f"no setting has {word!r} in its key", hint="`recmind settings` lists them all")
    for entry in found:
        print(f"{entry.key} = {entry.default}    ({entry.accepts})")
        print(f"    {entry.text}\n")


def doctor(*, as_json: JsonFlag = False) -> int:
    """Say what is installed, which device would be used, and what is broken.

    Exits with 1 where something needed is broken, and says what to do about it.

        recmind doctor
        recmind doctor --json

    Parameters
    ----------
    as_json:
        Print JSON, and nothing else, on stdout.
    """
    from recmind.cli.show import print_diagnosis
    from recmind.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print(json.dumps(diagnosis.as_dict(), indent=2))
    else:
        print_diagnosis(diagnosis)
    return 1 if diagnosis.problems else 0
