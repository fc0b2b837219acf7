"""Tables and lists of ids that people hand in, and tables that they get: Parquet, CSV or JSON lines, by the suffix."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recmind.data.sources.columns import match_columns
from recmind.errors import DataError
from recmind.files import write_atomic
from recmind.schema import Columns


def read_table(path: str | Path) -> pl.DataFrame:
    """A Parquet, CSV or JSON lines file, by its suffix.

    Raises
    ------
    DataError
        If it is missing, of another kind or damaged.
    """
    file = Path(path)
    from recmind.data.sources.table import read_csv  # with pyarrow, which nothing else here needs

    # CSV as text: an id such as 007 is no number.
    text, lines = read_csv, pl.read_ndjson
    readers = {".parquet": pl.read_parquet, ".csv": text, ".tsv": text, ".jsonl": lines, ".json": lines}
    if not file.is_file():
        raise DataError("there is no such file", where=file)
    if file.suffix not in readers:
        raise DataError("the kind of file is unknown", where=file, got=file.suffix, accepted=readers)
    try:
        return readers[file.suffix](file)
    except DataError:
        raise
    except Exception as error:  # polars has no common base class for damaged files
        raise DataError(f"the file cannot be read: {error}", where=file) from error


def read_ids(path: str | Path) -> list[str]:
    """User ids from a table with a column ``user_id`` (or another usual name), or a text file with one id a line."""
    file = Path(path)
    if file.suffix in (".parquet", ".csv", ".tsv", ".jsonl", ".json"):
        table = read_table(file)
        try:
            column = match_columns(table.columns, "users", {}, file)[Columns.USER]
        except DataError as error:
            raise DataError(error.what, where=file, got=table.columns, accepted=error.accepted) from None
        return table[column].cast(pl.String).drop_nulls().to_list()
    if not file.is_file():
        raise DataError("there is no such file", where=file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"the file cannot be read: {error}", where=file) from error
    return [line.strip() for line in text.split("\n") if line.strip()]


_WRITERS = {".parquet": pl.DataFrame.write_parquet, ".csv": pl.DataFrame.write_csv, ".jsonl": pl.DataFrame.write_ndjson}


def check_format(path: str | Path, option: str = "--out") -> None:
    """Refuse a file that :func:`write_table` could not write, before the work is done.

    Raises
    ------
    DataError
        If the suffix is unknown.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise DataError("the kind of file is unknown", where=option, got=target.name, accepted=_WRITERS)


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a table as Parquet, CSV or JSON lines, by the suffix; whole or not at all.

    Raises
    ------
    DataError
        If the suffix is unknown.
    """
    check_format(path)
    write_atomic(path, lambda file: _WRITERS[Path(path).suffix](frame, file))
