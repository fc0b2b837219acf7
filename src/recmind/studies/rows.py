"""A line of the results: what a run measured, flat, with the command that makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.data.dataset import Dataset
from recmind.data.splitting import Part
from recmind.files import write_atomic
from recmind.schema import Columns, Files
from recmind.studies.drift import changed_items
from recmind.studies.measures import measure
from recmind.studies.plan import ROWS, Job
from recmind.training.run_folder import RunFolder

Row = dict[str, Any]


def make_row(job: Job, suite: str, dataset_hash: str, refreshing: Mapping[str, float] | None = None) -> Row:
    """The line of a run that is finished.

    Parameters
    ----------
    refreshing:
        Seconds by stage of a refresh, where the run was refreshed.
    """
    run = RunFolder(job.run)
    document = _remeasured(job.run) if job.variant.refreshed else run.read_json(Files.METRICS)
    seconds = dict(refreshing or {}) if job.variant.refreshed else document["seconds"]
    row: Row = {
        "dataset": document["dataset"],
        "suite": suite,
        "variant": job.variant.label,
        "seed": job.seed,
        **job.variant.facts,
        "recipe": job.variant.recipe,
        "model": job.variant.model,
        "overrides": list(job.overrides),
        "metric": job.config.training.metric,
        "best_epoch": document["best_epoch"],
        "epochs": _epochs(job.run),
        "peak_memory_mb": None if job.variant.refreshed else document["peak_memory_mb"],
        "run": str(job.run.relative_to(job.out)),
        "command": job.command(),
        "fingerprint": job.fingerprint(dataset_hash),
    }
    row |= {f"seconds.{stage}": value for stage, value in seconds.items()}
    for part in ("valid", "test"):
        row |= {f"{part}.{name}": value for name, value in document[part].items()}
        for name, (low, high) in document["intervals"].get(part, {}).items():
            row |= {f"{part}.{name}.low": low, f"{part}.{name}.high": high}
    for stratum, values in document["strata"].items():
        row |= {f"strata.{stratum}.{name}": value for name, value in values.items()}
    if job.variant.divided_by:
        row |= _divided(job)
    return row | measure(job)


def saved_row(job: Job, dataset_hash: str) -> Row | None:
    """The line of an earlier call, if it is of these settings and the run is still there."""
    try:
        row = json.loads(job.row_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    made = isinstance(row, dict) and row.get("fingerprint") == job.fingerprint(dataset_hash)
    return row if made and RunFolder(job.run).finished else None


def saved_rows(out: Path) -> list[Row]:
    """The lines of all finished runs of a study's folder, whatever their settings."""
    found = []
    for path in sorted((out / ROWS).glob("*.json")):
        with suppress(OSError, ValueError, KeyError):
            row = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(row, dict) and RunFolder(out / row["run"]).finished:
                found.append(row)
    return found


def save_row(job: Job, row: Row) -> None:
    """Keep a line for later calls."""
    write_atomic(job.row_file, lambda path: path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8"))


def as_table(rows: list[Row]) -> pl.DataFrame:
    """Lines of one suite as a table; a column that a line lacks is null there."""
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame()


def history(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's ``history.jsonl``."""
    text = (run / Files.HISTORY).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _epochs(run: Path) -> int | None:
    """Epochs of the joint phase; ``None`` for a model without epochs."""
    return sum(row["phase"] == "joint" for row in history(run)) or None


def _remeasured(run: Path) -> dict[str, Any]:
    """``metrics.json`` of a refreshed run with every held-out part measured anew."""
    from recmind.evaluation.evaluate import evaluate
    from recmind.serving.recommender import Recommender

    recommender, folder = Recommender.load(run), RunFolder(run)
    config, split = recommender.config, recommender.split
    document = folder.read_json(Files.METRICS)
    for part in ("valid", "test"):
        if len(split.part(part)):
            found = evaluate(recommender.scorer, split, part, config.evaluation, seed=config.seed, show_progress=False)
            document[part], document["strata"] = found.metrics, found.strata
            document["intervals"] = {**document["intervals"], part: found.intervals}
            write_atomic(run / Files.PER_USER.format(split=part), found.per_user.write_parquet)
    return document


def _divided(job: Job) -> Row:
    """Test metrics among targets whose text the change touches, and among the others.

    All items are ranked for either; a user with both kinds of targets counts in both.
    """
    from recmind.evaluation.evaluate import evaluate
    from recmind.serving.recommender import Recommender

    assert job.variant.divided_by is not None
    before, after = Dataset.load(job.dataset), Dataset.load(job.data_of(job.variant.divided_by))
    recommender = Recommender.load(job.run)
    touched = changed_items(before, after)
    row: Row = {"share_changed": round(float(touched.mean()), 4)}
    config = job.config.evaluation.model_copy(update={"bootstrap": 0})
    test = recommender.split.test
    for name, rows in (("changed", touched[test.items]), ("unchanged", ~touched[test.items])):
        row[f"{name}.n"] = int(rows.sum())
        if rows.any():
            part = replace(recommender.split, test=_rows(test, rows))
            found = evaluate(recommender.scorer, part, "test", config, seed=job.seed, show_progress=False)
            row |= {f"{name}.{metric}": found.metrics[metric] for metric in found.per_user.columns[1:]}
    return row


def _rows(part: Part, rows: np.ndarray) -> Part:
    return Part(part.users[rows], part.items[rows], part.rows[rows])


def per_user(run: Path) -> pl.DataFrame:
    """Test metrics of a run by user code."""
    return pl.read_parquet(run / Files.PER_USER.format(split="test")).sort(Columns.USER_CODE)
