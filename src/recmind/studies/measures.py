"""What a suite measures of a finished run beyond its ``metrics.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from recmind.data.dataset import Dataset
from recmind.files import write_atomic
from recmind.studies.plan import ROWS, Job
from recmind.studies.suites import Measure, slug

IN_USE: Final = "use"
"""First part of the columns of what :mod:`recmind.studies.use` measures, and the name of its table."""


def measure(job: Job) -> dict[str, Any]:
    """Measure a finished run as its variant says: columns of its line; the tables behind them are kept beside it."""
    if job.variant.measure is None:
        return {}
    row, tables = _MEASURES[job.variant.measure](job)
    for name, table in tables.items():
        write_atomic(_file(job.out, job.variant.label, job.seed, name), table.write_parquet)
    return row


def measured_run(out: Path, variant: str, seed: int, name: str) -> pl.DataFrame:
    """A table of one run."""
    return pl.read_parquet(_file(out, variant, seed, name))


def measured(results: pl.DataFrame, out: Path, name: str) -> pl.DataFrame:
    """A table of all runs of a study one under the other, with the columns ``variant`` and ``seed`` in front."""
    found = []
    for variant, seed in results.select("variant", "seed").iter_rows():
        path = _file(out, variant, seed, name)
        if path.exists():
            about = pl.lit(variant).alias("variant"), pl.lit(seed).cast(pl.Int64).alias("seed")
            found.append(pl.read_parquet(path).select(*about, pl.all()))
    return pl.concat(found) if found else pl.DataFrame()


def _file(out: Path, variant: str, seed: int, name: str) -> Path:
    return out / ROWS / f"{slug(variant)}-s{seed}.{name}.parquet"


_Found = tuple[dict[str, Any], Mapping[str, pl.DataFrame]]


def _gate(job: Job) -> _Found:
    from recmind.studies.gates import gates_of_run

    found = gates_of_run(job.run, seed=job.seed)
    row = {}
    for line in found.correlations.iter_rows(named=True):
        name = f"{line['what']}.{line['side']}" + (f".{line['layer']}" if line["layer"] else "")
        row |= {f"{name}.mean": line["mean"], f"{name}.spearman": line["spearman"]}
        row |= {f"{name}.spearman.low": line["low"], f"{name}.spearman.high": line["high"]}
    return row, {"gate": found.groups, "gate-correlation": found.correlations}


def _cold(job: Job) -> _Found:
    from recmind.studies.cold import cold_start

    metrics, users = cold_start(job.run, bootstrap=job.config.evaluation.bootstrap)
    return _flat(metrics, "among"), {"cold": metrics, "cold-users": users}


def _few(job: Job) -> _Found:
    from recmind.studies.few import by_history

    metrics, users = by_history(job.run, Dataset.load(job.data), bootstrap=job.config.evaluation.bootstrap)
    return _flat(metrics, "history"), {"few": metrics, "few-users": users}


def _use(job: Job) -> _Found:
    from recmind.studies.use import in_use

    found = in_use(job.run, bootstrap=job.config.evaluation.bootstrap)
    if found is None:
        return {}, {}
    row: dict[str, Any] = {f"{IN_USE}.{name}": value for name, value in found.metrics.items()}
    for name, bounds in found.intervals.items():
        row |= {f"{IN_USE}.{name}.{end}": bound for end, bound in zip(("low", "high"), bounds, strict=True)}
    return row, {IN_USE: found.per_user}


def _flat(metrics: pl.DataFrame, key: str) -> dict[str, Any]:
    """``among.cold.test.recall@40`` and so on, with the bounds."""
    row = {}
    for line in metrics.iter_rows(named=True):
        group = f"{key}.{line[key].replace(' ', '_')}.{line['part']}"
        row |= {f"{group}.n": line["n_users"], f"{group}.{line['metric']}": line["value"]}
        row |= {f"{group}.{line['metric']}.{end}": line[end] for end in ("low", "high")}
    return row


_MEASURES: Final[dict[Measure, Callable[[Job], _Found]]] = {"use": _use, "gate": _gate, "cold": _cold, "few": _few}
