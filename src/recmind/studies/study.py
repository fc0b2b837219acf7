"""Studies: the runs of a suite one after the other, their results in one table, and a report.

The folder of a study holds

- ``study.json``: dataset and suite that it is of,
- ``runs/<variant>-s<seed>``: run folders as ``recmind train`` makes them,
- ``data/``: datasets with changed texts, where the suite changes some,
- ``rows/``: the line of each run, as soon as it is finished,
- ``results.parquet``, ``report.md``, ``report.html``, ``report.png``: everything together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from recmind.data.dataset import Dataset
from recmind.errors import RecMindError
from recmind.files import write_atomic
from recmind.progress import note
from recmind.schema import Files
from recmind.studies.apart import claimed, train_apart
from recmind.studies.drift import can_change, with_changed_texts
from recmind.studies.plan import Job, plan
from recmind.studies.report import RESULTS, write_report
from recmind.studies.rows import Row, as_table, make_row, save_row, saved_row, saved_rows
from recmind.studies.suites import ORIGINAL, Suite, TextChange, suite_named

_MARK: Final = "study.json"


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes
    ----------
    results:
        One row per run; columns as in ``results.parquet``.
    failed:
        What went wrong, by variant and seed.
    notes:
        What was left out, and why.
    report:
        The report's Markdown.
    """

    results: pl.DataFrame
    failed: dict[str, str]
    notes: list[str]
    report: str


def run_study(
    dataset: str | Path,
    suite: str,
    out: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    settings: Iterable[str] = (),
    variants: Sequence[str] = (),
    recipes: Path | None = None,
    show_progress: bool = True,
) -> Study:
    """Make every run of a suite that is not there yet, and write the table and the report.

    A finished run with the same settings is not made again, and one that was
    stopped goes on. A run that fails is noted, and the others are made. What earlier
    calls for the same folder made stays in the table and the report.

    Parameters
    ----------
    dataset:
        Dataset folder.
    suite:
        A key of :data:`~recmind.studies.suites.SUITES`.
    out:
        Folder of the study.
    seeds:
        Each variant is run once with each; by default the suite's own.
    settings, variants, recipes:
        See :func:`~recmind.studies.plan.plan`.

    Raises
    ------
    ConfigError
        If the suite, a variant or a setting is unknown.
    RunError
        If ``out`` holds something else, or runs with other settings.
    """
    folder = Path(out)
    chosen = suite_named(suite)
    jobs = plan(chosen, Path(dataset), folder, seeds=seeds, settings=settings, variants=variants, recipes=recipes)
    data = _Data(Path(dataset))
    jobs, notes = _possible(jobs, Dataset.load(dataset))
    mark = {"suite": suite, "dataset_hash": data.hash(Path(dataset))}
    with claimed(folder, _MARK, mark, "study") as lock:
        rows, failed = _make_all(jobs, suite, data, lock, show_progress)
        table = as_table(_with_earlier(rows, chosen, folder))
        write_atomic(folder / RESULTS, table.write_parquet)
        notes += [*_about_tuning(table, chosen), *_about_settings(table)]
        text = write_report(table, suite, folder, dataset=str(dataset), failed=failed, notes=notes)
    return Study(table, failed, notes, text)


def list_runs(
    dataset: str | Path,
    suite: str,
    out: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    settings: Iterable[str] = (),
    variants: Sequence[str] = (),
    recipes: Path | None = None,
) -> list[tuple[str, str, str]]:
    """Variant with seed, state (``new``, ``unfinished``, ``finished``) and command of every run; nothing is made."""
    jobs = plan(
        suite_named(suite),
        Path(dataset),
        Path(out),
        seeds=seeds,
        settings=settings,
        variants=variants,
        recipes=recipes,
    )
    jobs, _ = _possible(jobs, Dataset.load(dataset))
    data = _Data(Path(dataset))
    listed = []
    for job in jobs:
        state = job.state(data.hash(job.data) if job.data.exists() else None)
        if job.variant.refreshed and not job.run.exists():
            state = "new"
        listed.append((_name(job), state, job.command()))
    return listed


def _with_earlier(rows: list[Row], suite: Suite, folder: Path) -> list[Row]:
    """The lines of this call and of earlier ones, seed by seed, in the order of the suite."""
    place = {variant.label: at for at, variant in enumerate(suite.variants)}
    known = [row for row in (*saved_rows(folder), *rows) if row["variant"] in place]
    found = {(row["seed"], place[row["variant"]]): row for row in known}
    return [found[key] for key in sorted(found)]


def _about_tuning(table: pl.DataFrame, suite: Suite) -> list[str]:
    """Which variants have tuned settings, and which those of a recipe that suits all data alike."""
    if table.is_empty():
        return []
    recipes = dict(table.select("variant", "recipe").iter_rows())
    open_to_it = [variant.label for variant in suite.variants if variant.tuned and variant.label in recipes]
    tuned = [label for label in open_to_it if recipes[label].endswith(".toml")]
    files = "With settings from a file, whose first line says on which data they were tuned"
    notes = [f"{files}: {', '.join(tuned)}."] if tuned else []
    if shipped := [label for label in open_to_it if label not in tuned]:
        notes.append(f"With the settings of their recipe, not tuned for this dataset: {', '.join(shipped)}.")
    return notes


def _about_settings(table: pl.DataFrame) -> list[str]:
    """Variants whose seeds were run with different settings, in calls with another ``--set`` or ``--recipes``."""
    if table.is_empty():
        return []
    settings = pl.struct("recipe", pl.col("overrides").list.sort())  # named in whatever order
    differ = table.group_by("variant", maintain_order=True).agg(settings.n_unique().alias("n"))
    mixed = differ.filter(pl.col("n") > 1)["variant"].to_list()
    return [f"Not all seeds have the same settings, see the commands: {', '.join(mixed)}."] if mixed else []


def _make_all(
    jobs: list[Job], suite: str, data: _Data, lock: int, show_progress: bool
) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs, 1):
        try:
            note(f"{number} of {len(jobs)}: {_name(job)}", show=show_progress)
            rows.append(_made(job, suite, data, lock, show_progress))
        except RecMindError as error:
            failed[_name(job)] = str(error)
            note(f"{_name(job)} failed: {error}", show=show_progress)
        else:
            write_atomic(job.out / RESULTS, as_table(_with_earlier(rows, suite_named(suite), job.out)).write_parquet)
    return rows, failed


def _made(job: Job, suite: str, data: _Data, lock: int, show_progress: bool) -> Row:
    """The line of a job, for which whatever is not there yet is made."""
    for texts in (job.variant.texts, job.variant.refreshed, job.variant.divided_by):
        data.ensure(job, texts or ORIGINAL)
    digest = data.hash(job.data)
    state = job.state(digest)
    row = saved_row(job, digest) if state == "finished" else None
    if row is not None:
        return row
    if state != "finished":
        train_apart(job.data, job.config, job.trained, lock=lock, show_progress=show_progress)
    seconds: dict[str, float] = {}
    if job.variant.refreshed and not job.run.exists():
        from recmind.serving.refresh import refresh

        start = time.perf_counter()
        refresh(job.trained, job.data_of(job.variant.refreshed) / Files.ITEMS, out=job.run)
        seconds["refresh"] = round(time.perf_counter() - start, 3)
    row = make_row(job, suite, digest, seconds)
    save_row(job, row)
    return row


class _Data:
    """Datasets of a study: made once, each hashed once."""

    def __init__(self, original: Path) -> None:
        self.original = original
        self._hashes: dict[Path, str] = {}

    def ensure(self, job: Job, texts: TextChange) -> None:
        """Write the dataset with changed texts, if it is not there."""
        path = job.data_of(texts)
        # dataset.json is written last: without it the folder is not whole.
        if texts != ORIGINAL and not (path / Files.DATASET).exists():
            with_changed_texts(Dataset.load(self.original), texts, job.seed).save(path)

    def hash(self, path: Path) -> str:
        """Digest of a dataset's content."""
        if path not in self._hashes:
            self._hashes[path] = Dataset.load(path).hash
        return self._hashes[path]


def _possible(jobs: list[Job], dataset: Dataset) -> tuple[list[Job], list[str]]:
    """Jobs whose change of texts the dataset allows, and a note about the others."""
    kept, left = [], set()
    for job in jobs:
        changes = [texts for texts in (job.variant.texts, job.variant.divided_by) if texts]
        if all(can_change(dataset, texts) for texts in changes):
            kept.append(job)
        else:
            left.add(changes[-1].kind)
    return kept, [f"Left out: changes of the kind `{kind}`; no item has what they need." for kind in sorted(left)]


def _name(job: Job) -> str:
    return f"{job.variant.label}, seed {job.seed}"
