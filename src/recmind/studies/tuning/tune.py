"""`recmind tune`: trials one after the other, each in a process of its own, and the best settings as a recipe.

The folder of a tuning holds

- ``tune.json``: what it is of, ``space.toml``: what was searched,
- ``search.db``: optuna's database with every trial,
- ``trials/0000`` and so on: settings, history and validation metrics of each,
- ``trials.parquet``, ``report.md``, ``report.html``, ``report.png``: everything together,
- ``<model>.toml``: the best settings, for ``recmind train --recipe``.

The test part cannot be seen: every trial has ``split.hide_test``, with which
the split that training and evaluation get has an empty test part.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from recmind.config import load_config, setting_at
from recmind.data.dataset import Dataset
from recmind.errors import ConfigError, RecMindError, TrainingError
from recmind.files import write_atomic
from recmind.progress import note
from recmind.schema import Files
from recmind.studies.apart import claimed, train_apart
from recmind.studies.tuning.results import recipe_of, trials_table, write_results
from recmind.studies.tuning.search import Search, Trialled, import_optuna
from recmind.studies.tuning.space import space_text
from recmind.studies.tuning.task import Task, make_task
from recmind.training.run_folder import RunFolder, run_fingerprint

DATABASE, TRIALS = "search.db", "trials.parquet"
_MARK: Final = "tune.json"
_KEPT: Final = (Files.CONFIG, Files.HISTORY, Files.METRICS, Files.ENVIRONMENT)
_MOST_FAILURES: Final = 3
"""So many trials that fail at the start, one after the other, and there is something wrong with all of them."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning found.

    Attributes
    ----------
    trials:
        One row per trial; columns as in ``trials.parquet``.
    best:
        The best trial.
    recipe:
        The file with its settings.
    report:
        The report's Markdown.
    """

    trials: pl.DataFrame
    best: Trialled
    recipe: Path
    report: str


def tune(
    dataset: str | Path,
    model: str,
    out: str | Path,
    *,
    trials: int = 30,
    seed: int = 0,
    recipe: str = "default",
    space: Path | None = None,
    settings: Iterable[str] = (),
    show_progress: bool = True,
) -> Tuned:
    """Search the settings of a model that are best on the validation part.

    Finished trials are not made again and one that was stopped goes on, so the
    same call after a crash, or with more trials, ends where a single one would
    have. The first trial has the recipe's own settings, the next have the space's starts.

    Parameters
    ----------
    model:
        A model of :func:`recmind.model.registry.model_names`.
    trials:
        How many in all; those of earlier calls count. Fewer where nothing is searched.
    seed:
        Of the search and of training.
    space:
        TOML file of ranges (:mod:`recmind.studies.tuning.space`); by default the model's own, or the recipe's for it.
    settings:
        ``key=value`` for every trial, such as ``training.max_epochs=100``.

    Raises
    ------
    ConfigError
        If a setting, a range or the model is unknown.
    RunError
        If ``out`` holds something else.
    TrainingError
        If no trial could be trained.
    """
    folder = Path(out)
    task = make_task(dataset, model, recipe=recipe, space=space, settings=settings, seed=seed)
    if trials < 1:
        raise ConfigError("there must be a trial", where="--trials", got=trials, accepted="1 or more")
    import_optuna()
    wanted = trials if task.space.searched else 1
    with claimed(folder, _MARK, _mark(task), "tuning") as lock:
        text = space_text(model, space, recipe=recipe)
        write_atomic(folder / "space.toml", lambda path: path.write_text(text, encoding="utf-8"))
        search = Search(task.space, folder / DATABASE, seed=seed, first=_own_settings(task))
        for one in search.ended():
            _slim(folder / "trials" / f"{one.number:04}")
        while len(done := search.ended()) < wanted:
            _refuse_hopeless(done)
            _next(task, search, done, wanted, folder, lock, show_progress)
        return _finished(task, search, done, folder)


def _next(
    task: Task, search: Search, done: list[Trialled], wanted: int, folder: Path, lock: int, show_progress: bool
) -> None:
    """Make one trial more."""
    number = len(done)
    trial, settings = search.ask(number)
    run = folder / "trials" / f"{number:04}"
    note(f"trial {number + 1} of {wanted}: {_in_words(settings)}", show=show_progress)
    same = next((one for one in done if one.settings == settings and one.value is not None), None)
    start = time.perf_counter()
    if same is not None:
        found: dict[str, Any] = {**same.found, "same_as": same.number}
    else:
        found = _trained(task, settings, run, lock, show_progress)
    value = found.pop("value", None)
    search.tell(trial, value, {**found, "command": task.command(settings, run)})
    _slim(run)
    write_atomic(folder / TRIALS, trials_table(search.ended(), task.fixed["training.metric"]).write_parquet)
    values = [one.value for one in search.ended() if one.value is not None]
    said = f"{value:.5f}, best {max(values):.5f}" if value is not None else f"failed: {found['error']}"
    note(f"  {said}, {time.perf_counter() - start:.0f} s", show=show_progress)


def _trained(task: Task, settings: Mapping[str, Any], run: Path, lock: int, show_progress: bool) -> dict[str, Any]:
    """What a trial found, or why it failed."""
    try:
        config = task.config(settings)
        if (run / Files.CONFIG).exists() and RunFolder(run).config() != config:
            shutil.rmtree(run)  # begun with another version of optuna, which proposed something else
        train_apart(task.dataset, config, run, lock=lock, show_progress=show_progress)
    except RecMindError as error:
        return {"error": str(error)}
    document = RunFolder(run).read_json(Files.METRICS)
    return {
        "value": document["valid"][config.training.metric],
        "valid": document["valid"],
        "best_epoch": document["best_epoch"],
        "seconds": document["seconds"],
        "peak_memory_mb": document["peak_memory_mb"],
    }


def _slim(run: Path) -> None:
    """Leave of a trial's run what is small: its settings, history and metrics. The model can be trained again."""
    if not run.is_dir():
        return
    for entry in run.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in _KEPT:
            entry.unlink()


def _finished(task: Task, search: Search, done: list[Trialled], folder: Path) -> Tuned:
    successes = [one for one in done if one.value is not None]
    if not successes:
        raise TrainingError("no trial could be trained", where=folder, got=done[-1].found["error"])
    # Of equal values the earlier trial: what is nearer to the recipe.
    best = max(successes, key=lambda one: (one.value or 0.0, -one.number))
    recipe = folder / f"{task.model}.toml"
    text = recipe_of(task.recipe_config(best.settings), best, len(done), task.dataset.name)
    write_atomic(recipe, lambda path: path.write_text(text, encoding="utf-8"))
    table = trials_table(done, task.fixed["training.metric"])
    write_atomic(folder / TRIALS, table.write_parquet)
    report = write_results(task, done, best, search.importances(), folder)
    return Tuned(table, best, recipe, report)


def _refuse_hopeless(done: list[Trialled]) -> None:
    if len(done) >= _MOST_FAILURES and all(one.value is None for one in done):
        raise TrainingError(
            f"the first {len(done)} trials all failed; the last one said\n{done[-1].found['error']}",
            hint="mend what it says, then begin anew in another --out",
        )


def _mark(task: Task) -> dict[str, Any]:
    return {
        "model": task.model,
        "dataset_hash": Dataset.load(task.dataset).hash,
        "recipe": task.recipe,
        # What the recipe says for this model, so that nobody changes it half-way.
        "recipe_settings": run_fingerprint(task.config({}), ""),
        "seed": task.seed,
        "space": task.space.as_plain(),
        "settings": dict(task.fixed),
    }


def _own_settings(task: Task) -> dict[str, Any]:
    """What the recipe says about everything that is searched."""
    plain = load_config(task.recipe, model=task.model).model_dump(mode="json")
    return {key: setting_at(plain, key) for key in task.space.ranges}


def _in_words(settings: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in settings.items()) or "as it is"
