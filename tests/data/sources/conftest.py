from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recmind.data.sources import get_source
from recmind.data.sources.inputs import Inputs, find_inputs
from recmind.data.sources.json_lines import LINE
from recmind.data.sources.lines import RawFile
from recmind.data.sources.parts import DIGEST, FILE, Parts, read_into
from recmind.data.sources.problems import Problems

Read = Callable[..., tuple[dict[str, pl.DataFrame], Problems]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read files of a source as ``prepare`` does: tables by role, and the problems."""

    def run(
        source: str, *paths: Path, strict: bool = False, how: dict[str, str] | None = None, **columns: str
    ) -> tuple[dict[str, pl.DataFrame], Problems]:
        inputs: Inputs = find_inputs(get_source(source), paths, columns, {})
        problems, tables = Problems(strict), {}
        for role in ("interactions", "items", "users"):
            folder = tmp_path / f"parts-{role}"
            folder.mkdir(exist_ok=True)
            parts = Parts(folder, role)
            for number, entry in enumerate(inputs.files):
                if entry.format.role == role:
                    read_into(parts, RawFile(entry.path, problems, **(how or {})), entry, number)
            tables[role] = parts.collect().drop(LINE, FILE, DIGEST, strict=False)
        return tables, problems

    return run
