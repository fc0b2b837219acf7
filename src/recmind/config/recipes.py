"""Settings from a recipe and from changes to it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from recmind.config.checking import validate_config
from recmind.config.model import ModelName
from recmind.config.run import Config, section_names
from recmind.errors import ConfigError


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("recmind") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(
    recipe: str | Path = "default",
    *,
    model: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
) -> Config:
    """Settings from a recipe, the model's own table in it, and overrides, in this order.

    Parameters
    ----------
    recipe:
        Name of a shipped recipe or path of a TOML file.
    model:
        Model to train; the recipe's ``[overrides.<model>]`` applies.
    overrides:
        ``"model.layers=3"`` strings (the value is read as TOML, else as text),
        or a mapping with the same dotted keys.

    Raises
    ------
    ConfigError
        With every unknown key and wrong value at once.
    """
    tree, name = _read_recipe(recipe)
    _check_tables(tree, where=f"recipe {name!r}")
    per_model = tree.pop("overrides", {})
    changes = _parse_overrides(overrides)
    chosen = model or changes.get("model.name") or tree.get("model", {}).get("name", "recmind")
    _merge(tree, per_model.get(chosen, {}) if isinstance(chosen, str) else {})
    tree.setdefault("model", {})["name"] = chosen
    tree.setdefault("recipe", name)
    for key, value in changes.items():
        put_setting(tree, key, value)
    return validate_config(tree, where=f"recipe {name!r}" + (" with overrides" if changes else ""))


def recipe_text(recipe: str | Path) -> str:
    """The TOML text of a shipped recipe or of a recipe file, as written.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    path = Path(recipe)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ConfigError("there is no such recipe file", where=path, accepted=recipe_names())
        try:
            return path.read_text(encoding="utf-8")
        except ValueError as error:
            raise ConfigError(f"the recipe is not UTF-8 text: {error}", where=path) from error
    if str(recipe) not in recipe_names():
        raise ConfigError(
            "there is no such recipe",
            where="--recipe",
            got=str(recipe),
            accepted=[*recipe_names(), "the path of a .toml file"],
        )
    return (resources.files("recmind") / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")


def _read_recipe(recipe: str | Path) -> tuple[dict[str, Any], str]:
    try:
        return tomllib.loads(recipe_text(recipe)), Path(recipe).stem if str(recipe).endswith(".toml") else str(recipe)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the recipe is not valid TOML: {error}", where=recipe) from error


def _check_tables(tree: Mapping[str, Any], *, where: str) -> None:
    """Refuse a recipe whose sections or tables of overrides cannot be merged."""
    per_model = tree.get("overrides", {})
    tables = {key: tree[key] for key in [*section_names(), "overrides"] if key in tree}
    if isinstance(per_model, Mapping):
        tables |= {f"overrides.{key}": value for key, value in per_model.items()}
        models = get_args(ModelName)
        for key in per_model:
            if key not in models:
                raise ConfigError("there is no such model", where=f"{where}, [overrides.{key}]", accepted=models)
    for key, value in tables.items():
        if not isinstance(value, Mapping):
            raise ConfigError("must be a table", where=f"{where}, {key}", got=value, accepted=f"[{key}]")


def _parse_overrides(overrides: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed: dict[str, Any] = {}
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError("an override must read key=value", where="--set", got=text, hint="--set model.layers=3")
        parsed[key.strip()] = _parse_value(value.strip())
    return parsed


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def put_setting(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Put a value at a dotted key of a tree of settings.

    Raises
    ------
    ConfigError
        If the key goes below a plain value.
    """
    *parents, last = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError("the key goes below a plain value", where="--set", got=dotted)
    tree[last] = value
