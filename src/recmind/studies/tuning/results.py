"""What a tuning found: the trials as a table, the best one as a recipe, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import tomli_w

from recmind.config import Config, put_setting, setting_at, setting_names
from recmind.studies.report import write_parts
from recmind.studies.report.blocks import Block, Cell, Code, Figure, Part, Table, Text
from recmind.studies.tuning.search import Trialled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recmind.studies.tuning.task import Task

_SHOWN: Final = 20
"""Trials in the report's table; ``trials.parquet`` has all."""
_NOT_IN_RECIPES: Final = ("seed", "device", "threads", "training.checkpoint_seconds", "language.cache_dir")
_NO_SECTIONS: Final = ("split.", "evaluation.")


def trials_table(done: Sequence[Trialled], metric: str) -> pl.DataFrame:
    """A row per trial, with its settings as columns ``settings.<key>``; what a trial lacks is null."""
    rows = []
    for one in done:
        found = one.found
        row: dict[str, Any] = {
            "trial": one.number,
            "state": "failed" if one.value is None else "finished",
            "metric": metric,
            "value": one.value,
            "best_epoch": found.get("best_epoch"),
            "peak_memory_mb": found.get("peak_memory_mb"),
            "same_as": found.get("same_as"),
            "error": found.get("error"),
            "command": found.get("command"),
        }
        row |= {f"seconds.{stage}": value for stage, value in found.get("seconds", {}).items()}
        row |= {f"valid.{name}": value for name, value in found.get("valid", {}).items()}
        # A list is a choice like any other, and as text it can stand beside others.
        row |= {f"settings.{k}": str(v) if isinstance(v, list | dict) else v for k, v in one.settings.items()}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame()


def recipe_of(config: Config, best: Trialled, n_trials: int, dataset: str) -> str:
    """The settings of a trial as a recipe: everything in which they differ from the defaults."""
    usual, own = Config().model_dump(mode="json"), config.model_dump(mode="json")
    tree: dict[str, Any] = {"recipe": f"{config.model.name}-tuned"}
    for key in setting_names():
        value = setting_at(own, key)
        if key in ("recipe", *_NOT_IN_RECIPES) or key.startswith(_NO_SECTIONS) or value is None:
            continue
        if value != setting_at(usual, key) or key == "model.name":
            put_setting(tree, key, value)
    # Through TOML only what TOML knows.
    epoch = f", epoch {best.found['best_epoch']}" if best.found.get("best_epoch") else ""
    head = (
        f"# {config.model.name} tuned on {dataset}: the best of {n_trials} trials by validation "
        f"{config.training.metric} ({best.value:.5f}{epoch}).\n#\n"
        "#   recmind train DATASET --recipe FILE --out RUN\n\n"
    )
    return head + tomli_w.dumps(tree)


def write_results(
    task: Task, done: Sequence[Trialled], best: Trialled, importances: Mapping[str, float], out: Path
) -> str:
    """Write the report of a tuning and return its Markdown."""
    metric = task.fixed["training.metric"]
    failed = [one for one in done if one.value is None]
    lead = f"Which settings of `{task.model}` are best on the validation part? The test part was never looked at."
    recipe = out / f"{task.model}.toml"
    parts = [
        Part(
            "Best",
            [
                Text(
                    f"Trial {best.number} of {len(done)}: {metric} {best.value:.5f} on validation"
                    + (f"; the recipe's own settings have {done[0].value:.5f}." if done[0].value is not None else ".")
                ),
                Code([f"recmind train {task.dataset} --recipe {recipe} --out RUN"]),
                _best_table(task, best),
            ],
        ),
        Part("Trials", [*_trials(done, metric), *_figures(task, done, metric)]),
    ]
    if importances:
        parts.append(Part("What decided", _importance(importances)))
    if failed:
        lines = [[str(one.number), one.found["error"].splitlines()[0], _settings(one.settings)] for one in failed]
        parts.append(Part("Failed", [Table(["trial", "error", "settings"], lines)]))
    fixed = ", ".join(f"`{key}` {value}" for key, value in task.fixed.items())
    same = Text(
        f"All trials of all models have the same early stopping and metric: {fixed}. Trial 0 has the settings of the "
        f"recipe `{task.recipe}` as far as the space holds them, then come the starts of the space, if it has any; up "
        "to trial 10 settings are drawn at random, then by TPE. No trial is cut short by comparison with others: a "
        "slow learner would lose to a fast one that is worse."
    )
    parts.append(Part("How", [same]))
    commands = [Part("Commands", [Code([one.found["command"] for one in done])])]
    return write_parts(f"tune {task.model}: {task.dataset.name}", lead, parts, commands, out)


def _best_table(task: Task, best: Trialled) -> Table:
    usual = task.config({}).model_dump(mode="json")
    lines = [
        [key, _plain(setting_at(usual, key)), Cell(_plain(value), "best" if value != setting_at(usual, key) else "")]
        for key, value in best.settings.items()
    ]
    return Table(["setting", "recipe", "best"], lines)


def _trials(done: Sequence[Trialled], metric: str) -> list[Block]:
    ordered = sorted((one for one in done if one.value is not None), key=lambda one: -(one.value or 0))
    lines = []
    for one in ordered[:_SHOWN]:
        seconds = one.found.get("seconds", {}).get("train")
        cells = [f"{one.value:.5f}", str(one.found.get("best_epoch") or "-"), f"{seconds:.0f}" if seconds else "-"]
        lines.append([str(one.number), *cells, _settings(one.settings)])
    note = Text(f"The best {len(lines)} of {len(done)}; `trials.parquet` has all.")
    return [Table(["trial", metric, "best epoch", "training s", "settings"], lines), note]


def _importance(importances: Mapping[str, float]) -> list[Block]:
    def draw(axis: Axes) -> None:
        axis.barh(range(len(importances)), list(importances.values()), height=0.66)
        axis.set_yticks(range(len(importances)), list(importances), fontsize=7.5)
        axis.set_ylim(len(importances) - 0.4, -0.6)
        axis.set(xlabel="share")

    text = Text(
        "How much each setting decides whether a trial is among the best quarter (PED-ANOVA), as shares of all. With "
        "few trials these are rough."
    )
    lines = [[key, f"{value:.0%}"] for key, value in importances.items()]
    return [text, Table(["setting", "importance"], lines), Figure("Importance", draw, rows=len(importances))]


def _figures(task: Task, done: Sequence[Trialled], metric: str) -> list[Figure]:
    finished = [one for one in done if one.value is not None]

    def by_trial(axis: Axes) -> None:
        numbers, values = [one.number for one in finished], [one.value or 0.0 for one in finished]
        best = [max(values[: at + 1]) for at in range(len(values))]
        axis.plot(numbers, values, "o", ms=4, alpha=0.7)
        axis.step(numbers, best, where="post", lw=1.4)
        axis.set(xlabel="trial", ylabel=f"{metric}, validation")

    found = [Figure("Trials and the best so far", by_trial)]
    for key in task.space.searched:
        here = [one for one in finished if key in one.settings]
        if len(here) > 2:
            found.append(Figure(key, _scatter(here, key, metric, log=task.space.ranges[key].log)))
    return found


def _scatter(here: Sequence[Trialled], key: str, metric: str, *, log: bool) -> Any:
    def draw(axis: Axes) -> None:
        values = [one.settings[key] for one in here]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        shown = values if numbers else [str(value) for value in values]
        axis.plot(shown, [one.value or 0.0 for one in here], "o", ms=4, alpha=0.7)
        axis.set(xlabel=key, ylabel=metric)
        if log:
            axis.set_xscale("log")

    return draw


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {_plain(value)}" for key, value in settings.items())


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
