"""From raw files to a dataset folder: read, filter, write, and say what was done."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from recmind.config import PrepareConfig
from recmind.data.dataset import Dataset
from recmind.data.filtering import Step, exact_repeats, filter_keys
from recmind.data.report import PrepareReport, read_report, stamp_of
from recmind.data.sources import get_source
from recmind.data.sources.base import IDS, ROLES, TIMES, Role
from recmind.data.sources.inputs import Inputs, find_inputs
from recmind.data.sources.json_lines import LINE
from recmind.data.sources.lines import RawFile
from recmind.data.sources.parts import DIGEST, FILE, FileReport, Parts, read_into
from recmind.data.sources.problems import Finding, Problems
from recmind.errors import DataError
from recmind.progress import task
from recmind.schema import Columns, Files

_OURS = {Files.INTERACTIONS, Files.ITEMS, Files.USERS, Files.DATASET}
_NEW, _OLD = "new", "old"
"""Folders in a workplace: the dataset that was made, and the one that it replaces."""
_REPEAT = "the row is an exact repeat of an earlier one"


def prepare(
    source: str,
    paths: Sequence[Path],
    out: Path,
    config: PrepareConfig | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    interactions: Path | None = None,
    items: Path | None = None,
    users: Path | None = None,
    show_progress: bool = True,
) -> PrepareReport:
    """Make the dataset folder ``out`` from raw files.

    Nothing is done where the same files and settings made ``out`` before. On
    failure ``out`` stays as it was. A process that was killed just while it put its
    dataset in place is finished by the next call, which removes what it left.

    Parameters
    ----------
    source:
        Name of the raw format, a key of :data:`recmind.data.sources.SOURCES`.
    paths:
        Files and folders of the source, in any order; what each holds is told by its first
        line or its name.
    out:
        Dataset folder to write.
    config:
        What is kept.
    columns:
        Column mapping, ours → theirs, for sources with free columns: ``{"user": "customer"}``.
    interactions, items, users:
        Files whose content is given rather than told.
    show_progress:
        Show a progress bar on stderr.

    Returns
    -------
    What was read, what was wrong, what was filtered and what is left.

    Raises
    ------
    DataError
        If an input is missing or unknown, if nothing is left, if ``out`` holds
        something other than a dataset, or, with ``config.strict``, at the first problem.
    """
    config, columns, out = config or PrepareConfig(), dict(columns or {}), Path(out)
    _clear_up(out)
    named: dict[Role, Path | None] = {"interactions": interactions, "items": items, "users": users}
    inputs = find_inputs(
        get_source(source),
        [Path(path) for path in paths],
        columns,
        {role: Path(path) if path else None for role, path in named.items()},
    )
    stamp = stamp_of(source, inputs, columns, config)
    if (known := read_report(out, stamp)) is not None:
        return known
    _check_out(out, inputs)
    started = time.perf_counter()
    with _workplace(out) as folder:
        problems = Problems(config.strict)
        parts, files = _read(inputs, folder, config, problems, show_progress)
        dataset, steps = _build(parts, [entry.path for entry in inputs.files], problems, config)
        report = PrepareReport(
            source=source,
            out=out,
            files=tuple(files),
            unused=tuple(path.name for path in inputs.unused),
            missing=inputs.missing,
            problems=problems.as_dict(),
            steps=tuple(steps),
            counts=dataset.counts(),
            seconds=round(time.perf_counter() - started, 2),
        )
        info = {"name": out.resolve().name, **dataset.info, **report.as_info(), "prepared_from": stamp}
        Dataset(dataset.interactions, dataset.items, dataset.users, info).save(folder / _NEW)
        _replace(out, folder)
    return report


def _read(
    inputs: Inputs, folder: Path, config: PrepareConfig, problems: Problems, show: bool
) -> tuple[dict[Role, Parts], list[FileReport]]:
    (folder / "parts").mkdir()
    parts: dict[Role, Parts] = {role: Parts(folder / "parts", role) for role in ROLES}
    reports = []
    total = sum(entry.path.stat().st_size for entry in inputs.files)
    with task("Reading", total / 1e6, show=show) as advance:
        for number, entry in enumerate(inputs.files):
            role = entry.format.role
            limit = config.max_rows if role == "interactions" else None

            def bytes_read(n: float = 1, note: str = "", name: str = entry.path.name) -> None:
                advance(n / 1e6, note or name)

            file = RawFile(entry.path, problems, bytes_read, config.encoding, config.slash_dates)
            reports.append(read_into(parts[role], file, entry, number, limit))
    if not parts["interactions"].height:
        told = {kind: found["count"] for kind, found in problems.as_dict().items()}
        raise DataError(
            "the files hold no usable interaction",
            where=", ".join(str(entry.path) for entry in inputs.files if entry.format.role == "interactions"),
            got=told or None,
            accepted=f"times such as {TIMES}" if f"{Columns.TIMESTAMP} has a wrong type" in told else None,
            hint=next((found["examples"][0] for found in problems.as_dict().values() if found["examples"]), None),
        )
    return parts, reports


def _build(
    parts: dict[Role, Parts], paths: list[Path], problems: Problems, config: PrepareConfig
) -> tuple[Dataset, list[Step]]:
    keys = parts["interactions"].take_keys()
    _report_repeats(parts["interactions"], np.flatnonzero(exact_repeats(keys)), paths, problems)
    alive, steps = filter_keys(
        keys,
        min_rating=config.min_rating,
        min_user_interactions=config.min_user_interactions,
        min_item_interactions=config.min_item_interactions,
        keep=config.keep,
    )
    del keys
    events = parts["interactions"].collect(alive).drop(LINE, FILE, DIGEST, strict=False)
    tables: dict[Role, pl.DataFrame | None] = {}
    for role in ("items", "users"):
        key = IDS[role][0]
        had = events[key].unique(maintain_order=True)
        wanted = had if role == "users" or not config.keep_items_without_interaction else None
        tables[role], more = _entities(parts[role], key, had, wanted, paths, problems)
        steps += more
    return Dataset.from_frames(events, tables["items"], tables["users"]), steps


def _entities(
    parts: Parts, key: str, had: pl.Series, wanted: pl.Series | None, paths: list[Path], problems: Problems
) -> tuple[pl.DataFrame | None, list[Step]]:
    """One row per item or user, the first; with ``wanted``, only those. ``had`` are the ids of the interactions."""
    if not parts.height:
        return None, []
    frame = parts.collect()
    if len(had) and not frame[key].is_in(had.implode()).any():
        what = f"no {key} of the table is one of the interactions'"
        problems.add(paths[frame[FILE][0]], [Finding(0, what, f"{frame[key][0]!r} here, {had[0]!r} there")])
    # The line tells repeats apart from rows that merely share the id.
    repeats = frame.select(~pl.struct(key, DIGEST).is_first_distinct()).to_series()
    _report_repeats(parts, repeats.arg_true().to_numpy(), paths, problems)
    once = frame.unique(key, keep="first", maintain_order=True)
    steps = [Step(f"{parts.role} with a repeated id", frame.height - once.height, once.height)]
    if wanted is not None:
        kept = once.filter(pl.col(key).is_in(wanted.implode()))
        steps.append(Step(f"{parts.role} without an interaction", once.height - kept.height, kept.height))
        once = kept
    return once.drop(LINE, FILE, DIGEST), [step for step in steps if step.removed]


def _report_repeats(parts: Parts, rows: np.ndarray, paths: list[Path], problems: Problems) -> None:
    """Record exactly repeated rows: all of them counted, the first few with their place."""
    examples = parts.places(rows[:5])
    for number, (file, line) in enumerate(examples):
        rest = len(rows) - len(examples) if number == len(examples) - 1 else 0
        problems.count(paths[file], Finding(line, _REPEAT), 1 + rest)


def _check_out(out: Path, inputs: Inputs) -> None:
    """Refuse to write over anything but a dataset, and over the inputs."""
    if out.exists() and not out.is_dir():
        raise DataError("the output is a file", where=out, accepted="a new folder or a dataset folder")
    resolved = out.resolve()
    inside = [entry.path for entry in inputs.files if resolved in entry.path.resolve().parents]
    if inside:
        raise DataError(
            "the output folder holds an input file", where=out, got=str(inside[0]), hint="use another --out"
        )
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name not in _OURS) if out.exists() else []
    if foreign:
        raise DataError("the output folder holds other files", where=out, got=foreign[:5], hint="use a new folder")


def _prefix(out: Path) -> str:
    return f".{out.resolve().name}.preparing-"


def _clear_up(out: Path) -> None:
    """Remove the workplaces of killed processes; a dataset that was about to replace ``out`` goes to its place."""
    target = out.resolve()
    for folder in target.parent.glob(f"{glob.escape(_prefix(out))}*"):
        if _runs_elsewhere(folder.name.removeprefix(_prefix(out))):
            continue
        # `old` is there only once the new dataset is whole, see `_replace`.
        if not target.exists() and (folder / _OLD).exists() and (folder / _NEW).exists():
            (folder / _NEW).rename(target)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out``, removed in any case."""
    parent = out.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{_prefix(out)}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs_elsewhere(pid: str) -> bool:
    """Whether ``pid`` is another process that runs: in containers the dead one often had this one's number."""
    if not pid.isdecimal():
        return True  # not a name of ours
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return int(pid) != os.getpid()


def _replace(out: Path, folder: Path) -> None:
    """Put the new dataset of a workplace in the place of ``out``; on failure ``out`` is put back."""
    target, new, old = out.resolve(), folder / _NEW, folder / _OLD
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
