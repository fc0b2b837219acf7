"""What a study has to do: a job per variant and seed, with its settings, folders and command."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Final

from recmind.config import Config, load_config, recipe_text
from recmind.errors import ConfigError, RunError
from recmind.schema import Files
from recmind.studies.suites import ORIGINAL, Suite, TextChange, Variant, slug
from recmind.training.run_folder import RunFolder, run_fingerprint

_NOT_SET = {"seed": "--seeds", "recipe": "--suite", "model.name": "--suite"}


ROWS: Final = "rows"
"""Folder of the lines of the results, below that of the study."""


@dataclass(frozen=True)
class Job:
    """One variant with one seed: a line of the results."""

    variant: Variant
    seed: int
    dataset: Path
    """The dataset of the study."""
    out: Path
    """Folder of the study."""
    overrides: tuple[str, ...]
    """Changes to the recipe as ``key=value``."""
    config: Config

    @property
    def run(self) -> Path:
        """Run folder that is measured."""
        return self._run(self.variant.folder)

    @property
    def trained(self) -> Path:
        """Run folder that is trained: another one where the run is then refreshed."""
        return self._run(self.variant.start) if self.variant.refreshed else self.run

    @property
    def data(self) -> Path:
        """Dataset folder that is trained on."""
        return self.data_of(self.variant.texts)

    @property
    def tuned(self) -> bool:
        """Whether the recipe is a file that was found by tuning, where the variant has a place for one."""
        return bool(self.variant.tuned) and self.variant.recipe.endswith(".toml")

    @property
    def row_file(self) -> Path:
        """Where the line of the results is kept."""
        return self.out / ROWS / f"{slug(self.variant.label)}-s{self.seed}.json"

    def data_of(self, texts: TextChange) -> Path:
        """The dataset with its texts changed."""
        return self.dataset if texts == ORIGINAL else self.out / "data" / f"{texts.name}-s{self.seed}"

    def command(self) -> str:
        """Command that makes the run; for a refreshed one, from the run that it begins with."""
        if self.variant.refreshed:
            items = self.data_of(self.variant.refreshed) / Files.ITEMS
            run = quote(str(self.run))
            refresh = f"recmind refresh {quote(str(self.trained))} --items {quote(str(items))} --out {run}"
            return f"{refresh} && recmind evaluate {run}"
        parts = ["recmind", "train", str(self.data), "--out", str(self.run)]
        parts += ["--recipe", self.variant.recipe, "--model", self.variant.model, "--seed", str(self.seed)]
        parts += [word for text in self.overrides for word in ("--set", text)]
        return " ".join(map(quote, parts))

    def state(self, dataset_hash: str | None) -> str:
        """``new``, ``unfinished`` or ``finished``, of the run that is trained.

        Raises
        ------
        RunError
            If it is a run with other settings or, where the hash is given, other data.
        """
        run = RunFolder(self.trained)
        if not (run / Files.STATE).exists() or not (run / Files.CONFIG).exists():
            return "new"
        if dataset_hash is not None and run.read_json(Files.STATE).get("fingerprint") != self.fingerprint(dataset_hash):
            raise RunError(
                "the folder holds a run with other settings or other data",
                where=run.path,
                hint="choose another --out, or repeat the study with its own --set and dataset",
            )
        return "finished" if run.finished else "unfinished"

    def fingerprint(self, dataset_hash: str) -> str:
        """What the trained run depends on."""
        return run_fingerprint(self.config, dataset_hash)

    def _run(self, folder: str) -> Path:
        return self.out / "runs" / f"{folder}-s{self.seed}"


def plan(
    suite: Suite,
    dataset: Path,
    out: Path,
    *,
    seeds: Sequence[int] | None = None,
    settings: Iterable[str] = (),
    variants: Sequence[str] = (),
    recipes: Path | None = None,
) -> list[Job]:
    """Every job of a suite, seed by seed, so that a stopped study has whole seeds.

    Parameters
    ----------
    seeds:
        By default the suite's own.
    settings:
        ``key=value`` for every run; they win over what the suite sets.
    variants:
        Labels, or the names of their folders; without any, all.
    recipes:
        Folder of tuned recipes, ``<model>.toml`` or ``<model>/<model>.toml`` as ``recmind tune`` writes them, for
        the variants that allow it.

    Raises
    ------
    ConfigError
        If a setting or variant is unknown, a setting is what the suite varies, or there are no such recipes.
    """
    chosen = _tuned(_chosen(suite, variants), recipes)
    given = pairs(settings)
    _check_free(suite, given)
    seeds = suite.seeds if seeds is None else seeds
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError("seeds must be different whole numbers from 0", where="--seeds", got=list(seeds))
    jobs = []
    for seed in seeds:
        for variant in chosen:
            if seed != seeds[0] and not variant.by_chance:
                continue
            merged = {key: json.dumps(value, ensure_ascii=False) for key, value in variant.overrides.items()} | given
            overrides = tuple(f"{key}={value}" for key, value in merged.items())
            config = load_config(variant.recipe, model=variant.model, overrides=[*overrides, f"seed={seed}"])
            jobs.append(Job(variant, seed, dataset, out, overrides, config))
    return jobs


def _chosen(suite: Suite, names: Sequence[str]) -> list[Variant]:
    known = {slug(variant.label): variant for variant in suite.variants}
    unknown = [name for name in names if slug(name) not in known]
    if unknown:
        raise ConfigError("there is no such variant in the suite", where="--variants", got=unknown, accepted=known)
    wanted = {slug(name) for name in names} or known.keys()
    return [variant for name, variant in known.items() if name in wanted]


def _tuned(variants: list[Variant], recipes: Path | None) -> list[Variant]:
    """The variants with their tuned recipes; those that are nothing without one only where there is one."""
    found: dict[str, Path] = {}
    if recipes is not None:
        if not recipes.is_dir():
            raise ConfigError("there is no such folder of recipes", where="--recipes", got=str(recipes))
        models = {variant.model for variant in variants if variant.tuned}
        for model in sorted(models):
            places = (recipes / f"{model}.toml", recipes / model / f"{model}.toml")
            if there := [place for place in places if place.is_file()]:
                found[model] = there[0]
        if not found:
            wanted = "of a model of the suite" if models else "nothing: this suite has no variant that is tuned"
            raise ConfigError("there is no recipe to take", where="--recipes", got=str(recipes), accepted=wanted)
    kept = [variant for variant in variants if variant.tuned != "alone" or variant.model in found]
    if not kept:
        labels = [variant.label for variant in variants]
        raise ConfigError("there is nothing to run without a tuned recipe", where="--recipes", got=labels)
    return [_with_recipe(v, found[v.model]) if v.tuned and v.model in found else v for v in kept]


def _with_recipe(variant: Variant, recipe: Path) -> Variant:
    name = tomllib.loads(recipe_text(recipe)).get("model", {}).get("name", variant.model)
    if name != variant.model:
        raise ConfigError("the recipe is for another model", where=recipe, got=name, accepted=[variant.model])
    return replace(variant, recipe=str(recipe))


def pairs(settings: Iterable[str]) -> dict[str, str]:
    """``key=value`` texts by key; the values as they stand."""
    found = {}
    for text in settings:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError("a setting must read key=value", where="--set", got=text, hint="--set model.layers=3")
        found[key.strip()] = value.strip()
    return found


def _check_free(suite: Suite, given: Iterable[str]) -> None:
    """Refuse settings that tell the variants apart, and those that have an option of their own."""
    for key in given:
        if key in _NOT_SET:
            raise ConfigError("the study sets this itself", where="--set", got=key, hint=f"see {_NOT_SET[key]}")
        if key in suite.varies:
            raise ConfigError("this is what the suite varies", where="--set", got=key, hint="leave it to the suite")
