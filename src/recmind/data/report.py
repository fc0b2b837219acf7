"""What a preparation did, for people and for ``dataset.json``; and whether it need be done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmind.config import PrepareConfig
from recmind.data.filtering import Step
from recmind.data.sources.inputs import Inputs
from recmind.data.sources.parts import FileReport
from recmind.schema import SCHEMA_VERSION, Files

READERS_VERSION = 3
"""Raised when a reader or a filter changes what it makes of the same files."""


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation read, met, filtered and left; ``str()`` of it is readable.

    Attributes
    ----------
    source, out:
        Source and dataset folder.
    files:
        Each file with its rows and uncompressed bytes.
    unused:
        Names of files in the given folders that the source does not read.
    missing:
        Tables that no file held.
    problems:
        ``{kind: {"count", "examples"}}``, examples as ``file:line``.
    steps:
        What each filter removed.
    counts:
        Sizes of the dataset.
    seconds:
        Time taken.
    unchanged:
        The dataset was there already, made from the same files with the same settings.
    """

    source: str
    out: Path
    files: tuple[FileReport, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    problems: dict[str, dict[str, Any]]
    steps: tuple[Step, ...]
    counts: dict[str, int | float]
    seconds: float
    unchanged: bool = False

    def as_info(self) -> dict[str, Any]:
        """The part of ``dataset.json`` that tells where the data come from."""
        return {
            "source": self.source,
            "files": [file.as_dict() for file in self.files],
            "unused_files": list(self.unused),
            "missing_tables": list(self.missing),
            "problems": self.problems,
            "filtered": [step.as_dict() for step in self.steps],
            "prepare_seconds": self.seconds,
        }

    def __str__(self) -> str:
        lines = [f"{self.source} → {self.out}"]
        if self.unchanged:
            lines.append("Unchanged files and settings: the dataset made before was kept.")
        lines.append("Read")
        for file in self.files:
            lines.append(
                f"  {file.path.name:<44} {file.what:<16} {file.rows:>12,} rows {file.raw_bytes / 1e6:>10,.1f} MB"
            )
        lines += [f"  no {role}: {_WITHOUT[role]}" for role in self.missing]
        if self.unused:
            lines.append(f"  not read: {', '.join(self.unused[:8])}{' …' if len(self.unused) > 8 else ''}")
        if self.problems:
            lines.append("Problems")
            for kind, found in self.problems.items():
                lines.append(f"  {found['count']:>12,}  {kind}")
                lines += [f"                {example}" for example in found["examples"][:2]]
        lines.append("Filtered")
        for step in self.steps:
            note = f" ({step.note})" if step.note else ""
            lines.append(f"  {step.removed:>12,}  {step.name}{note}, {step.left:,} left")
        lines.append("Dataset")
        lines += [f"  {value:>12,}  {name.removeprefix('n_').replace('_', ' ')}" for name, value in self.counts.items()]
        if not self.unchanged:
            lines.append(f"  {self.seconds:>12,.1f}  seconds")
        return "\n".join(lines)


_WITHOUT = {"items": "items have no texts", "users": "users have no profiles", "interactions": "nothing to learn from"}


def stamp_of(source: str, inputs: Inputs, columns: Mapping[str, str], config: PrepareConfig) -> dict[str, Any]:
    """What decides the outcome of a preparation; equal stamps, equal datasets."""
    files = []
    for entry in inputs.files:
        stat = entry.path.stat()
        files.append([str(entry.path.resolve()), entry.format.what, stat.st_size, stat.st_mtime_ns])
    return {
        "source": source,
        "columns": dict(sorted(columns.items())),
        "settings": config.model_dump(mode="json"),
        "inputs": files,
        "versions": [SCHEMA_VERSION, READERS_VERSION],
    }


def read_report(out: Path, stamp: Mapping[str, Any]) -> PrepareReport | None:
    """The report of an earlier preparation of ``out`` with the same stamp, if its files are there."""
    try:
        info = json.loads((out / Files.DATASET).read_text(encoding="utf-8"))
        same = info["prepared_from"] == stamp
        whole = all((out / name).stat().st_size for name in (Files.INTERACTIONS, Files.ITEMS))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (same and whole):
        return None
    paths = {Path(entry[0]).name: Path(entry[0]) for entry in stamp["inputs"]}
    return PrepareReport(
        source=info["source"],
        out=out,
        files=tuple(
            FileReport(paths.get(file["file"], Path(file["file"])), file["what"], file["rows"], file["bytes"])
            for file in info["files"]
        ),
        unused=tuple(info["unused_files"]),
        missing=tuple(info["missing_tables"]),
        problems=info["problems"],
        steps=tuple(
            Step(step["step"], step["removed"], step["left"], step.get("note", "")) for step in info["filtered"]
        ),
        counts={key: value for key, value in info.items() if key.startswith("n_")},
        seconds=info["prepare_seconds"],
        unchanged=True,
    )
