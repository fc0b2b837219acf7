"""What is tuned: a model on a dataset, what is searched and what all trials have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from recmind.config import Config, load_config, setting_at
from recmind.errors import ConfigError
from recmind.studies.plan import pairs
from recmind.studies.tuning.space import PROTOCOL, Space, load_space


@dataclass(frozen=True)
class Task:
    """What is tuned, and what all trials have in common."""

    dataset: Path
    model: str
    recipe: str
    space: Space
    fixed: Mapping[str, Any]
    """Settings of every trial by dotted key."""
    seed: int

    def overrides(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that a trial changes of the recipe."""
        return {**self.fixed, **settings, "seed": self.seed}

    def recipe_config(self, settings: Mapping[str, Any]) -> Config:
        """What ``settings`` are as a recipe."""
        return load_config(self.recipe, model=self.model, overrides=self.overrides(settings))

    def config(self, settings: Mapping[str, Any]) -> Config:
        """Settings of a trial; the test part is hidden, whatever they say, and nothing made for use alone."""
        hidden = {"split.hide_test": True, "evaluation.bootstrap": 0, "training.catch_up_epochs": 0}
        return load_config(self.recipe, model=self.model, overrides={**self.overrides(settings), **hidden})

    def command(self, settings: Mapping[str, Any], out: Path) -> str:
        """Command that makes the run of a trial again."""
        parts = ["recmind", "train", str(self.dataset), "--out", str(out), "--recipe", self.recipe]
        parts += ["--model", self.model, "--seed", str(self.seed), "--set", "split.hide_test=true"]
        for key, value in {**self.fixed, **settings}.items():
            parts += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
        return " ".join(map(quote, parts))


def make_task(
    dataset: str | Path,
    model: str,
    *,
    recipe: str = "default",
    space: Path | None = None,
    settings: Iterable[str] = (),
    seed: int = 0,
) -> Task:
    """What is to be done, checked; nothing is written.

    Raises
    ------
    ConfigError
        If a setting, a range or the model is unknown.
    """
    load_config(recipe, model=model)
    ranges = load_space(model, space, recipe=recipe)
    given = pairs(settings)
    for key in given:
        if key in ranges.ranges:
            raise ConfigError("this is what is searched", where="--set", got=key, hint="leave it to the space")
        if key in ("seed", "recipe", "model.name", "split.hide_test"):
            raise ConfigError("the tuning sets this itself", where="--set", got=key)
    # Read as `recmind train --set` reads them.
    config = load_config(recipe, model=model, overrides=[f"{key}={value}" for key, value in given.items()])
    plain = config.model_dump(mode="json")
    fixed = PROTOCOL | {key: setting_at(plain, key) for key in given}
    task = Task(Path(dataset), model, recipe, ranges, fixed, seed)
    task.config({})
    return task
