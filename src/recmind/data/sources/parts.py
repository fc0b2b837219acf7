"""Raw files as typed Parquet parts on disk, read in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.data.filtering import NO_TIME, Keys
from recmind.data.sources.base import Role
from recmind.data.sources.inputs import Input
from recmind.data.sources.json_lines import LINE
from recmind.data.sources.lines import RawFile
from recmind.schema import Columns

FILE = "_file"
"""Column with the number of the raw file."""
DIGEST = "_digest"
"""Column with a hash of all contract columns of the row."""

_INTERACTION_SCHEMA = {
    Columns.USER: pl.String,
    Columns.ITEM: pl.String,
    Columns.TIMESTAMP: pl.Int64,
    Columns.ORDER: pl.Int64,
    Columns.RATING: pl.Float64,
    Columns.REVIEW: pl.String,
}


@dataclass
class Parts:
    """Parquet parts of one role, in the order of the input.

    Attributes
    ----------
    folder:
        Where the parts lie.
    role:
        Table that the rows belong to.
    paths, heights:
        Each part and its number of rows.
    keys:
        For interactions: codes, times, ratings and digests of each part.
    """

    folder: Path
    role: Role
    paths: list[Path] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    keys: list[pl.DataFrame] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Rows in all parts."""
        return sum(self.heights)

    def append(self, frame: pl.DataFrame, file_number: int) -> None:
        """Write ``frame`` as the next part."""
        if self.role == "interactions":
            frame = frame.select(
                *(
                    pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
                    for name, dtype in _INTERACTION_SCHEMA.items()
                ),
                LINE,
            )
        content = [name for name in frame.columns if name != LINE]
        frame = frame.with_columns(
            pl.lit(file_number, pl.Int32).alias(FILE), frame.select(content).hash_rows(seed=0).alias(DIGEST)
        )
        path = self.folder / f"{self.role}-{len(self.paths):07d}.parquet"
        frame.write_parquet(path, compression="lz4", statistics=False)
        self.paths.append(path)
        self.heights.append(frame.height)
        if self.role == "interactions":
            self.keys.append(
                frame.select(
                    # Categorical codes are shared by all parts as long as one of them is alive.
                    pl.col(Columns.USER, Columns.ITEM).cast(pl.Categorical),
                    Columns.TIMESTAMP,
                    Columns.ORDER,
                    pl.col(Columns.RATING).cast(pl.Float32),
                    DIGEST,
                )
            )

    def take_keys(self) -> Keys:
        """The keys of all parts; they are handed over and not kept here."""
        frame = pl.concat(self.keys)
        self.keys.clear()
        clock = Columns.TIMESTAMP if frame[Columns.TIMESTAMP].count() else Columns.ORDER
        return Keys(
            users=frame[Columns.USER].to_physical().cast(pl.UInt32).to_numpy(),
            items=frame[Columns.ITEM].to_physical().cast(pl.UInt32).to_numpy(),
            times=frame[clock].fill_null(NO_TIME).to_numpy(),
            ratings=frame[Columns.RATING].fill_null(np.nan).to_numpy(),
            digests=frame[DIGEST].to_numpy(),
        )

    def collect(self, mask: np.ndarray | None = None) -> pl.DataFrame:
        """Rows where ``mask`` ``(height,)`` holds, without columns that are null throughout."""
        frames, start = [], 0
        for path, height in zip(self.paths, self.heights, strict=True):
            part = mask[start : start + height] if mask is not None else None
            start += height
            if part is None or part.any():
                frame = pl.read_parquet(path, glob=False)
                frames.append(frame if part is None or part.all() else frame.filter(pl.Series(part)))
        if not frames:
            return pl.DataFrame()
        whole = pl.concat(frames, how="diagonal_relaxed")
        return whole.select(column for column in whole if column.null_count() < whole.height)

    def places(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """(file number, line) of row numbers, sorted ascending."""
        found, start = [], 0
        for path, height in zip(self.paths, self.heights, strict=True):
            here = rows[(rows >= start) & (rows < start + height)] - start
            if len(here):
                found += pl.read_parquet(path, columns=[FILE, LINE], glob=False)[here.tolist()].rows()
            start += height
        return found


@dataclass(frozen=True)
class FileReport:
    """What was read from one file."""

    path: Path
    what: str
    rows: int
    raw_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The entry in ``dataset.json``."""
        return {"file": self.path.name, "what": self.what, "rows": self.rows, "bytes": self.raw_bytes}


def read_into(parts: Parts, file: RawFile, entry: Input, number: int, max_rows: int | None = None) -> FileReport:
    """Read one file into ``parts``, stopping once these hold ``max_rows`` rows."""
    before = parts.height
    for frame in entry.format.frames(file):
        room = frame.height if max_rows is None else max(0, max_rows - parts.height)
        if room and frame.height:
            parts.append(frame.head(room), number)
        if max_rows is not None and parts.height >= max_rows:
            break
    return FileReport(entry.path, entry.format.what, parts.height - before, file.raw_bytes)
