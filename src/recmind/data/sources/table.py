"""Any table: Parquet, CSV, TSV or JSON lines, gzip or not, with named columns."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recmind.data.sources.base import ROLES, Format, Role, Source, parse_number
from recmind.data.sources.cleaning import join_details, join_paths, join_prose, map_distinct
from recmind.data.sources.columns import contract_names, looks_like, match_columns, other_columns
from recmind.data.sources.delimited import delimited, header_of, split_line, text_of
from recmind.data.sources.json_lines import LINE, json_lines, keys_of
from recmind.data.sources.lines import NOT_UTF8, RawFile, check_file, first_line
from recmind.data.sources.problems import Problems
from recmind.errors import DataError
from recmind.progress import note
from recmind.schema import Columns

PARQUET_ROWS = 1 << 16
"""Rows of a Parquet file read at once."""
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
_SAMPLE_LINES = 1000


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix.lower() if path.suffix == ".gz" else path.suffix.lower()


def columns_of(path: Path, encoding: str | None = None) -> list[str]:
    """Column names of a table (``encoding`` where it is not UTF-8); of JSON lines, the keys of the first thousand rows.

    Raises
    ------
    DataError
        If the kind of table cannot be told.
    """
    check_file(path)
    if _suffix(path) in (".parquet", ".pq"):
        return _parquet(path).schema_arrow.names
    line = first_line(path)
    if not line:
        return []
    if line[:1] == b"{":
        return _json_keys(path)
    return split_line(text_of(line, encoding), separator_of(path, line))


def read_csv(path: Path) -> pl.DataFrame:
    """All columns of a CSV or TSV file as text, under its own names; for tables that are small and must be whole.

    Raises
    ------
    DataError
        At the first line that cannot be read, or without a header line.
    """
    problems = Problems()
    file, line = RawFile(path, problems), first_line(path)
    if not line:
        raise DataError("the file is empty", where=path)
    separator = separator_of(path, line)
    frames = list(delimited(separator)(file))
    for what, found in problems.as_dict().items():
        if what == NOT_UTF8:
            note(f"{path.name} is not UTF-8 and was read as Windows-1252")
        else:
            where, _, got = found["examples"][0].partition(": ")
            raise DataError(f"the file cannot be read: {what}", where=where, got=got or None)
    names = header_of(file, separator, quoted=True)
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(names, pl.String)), *(frame.drop(LINE) for frame in frames)])


def _json_keys(path: Path) -> list[str]:
    block = next(iter(RawFile(path, Problems()).blocks(1 << 20)), None)
    lines = block.data.split(b"\n")[:_SAMPLE_LINES] if block else []
    return list(dict.fromkeys(key for line in lines if line.strip() for key in sorted(keys_of(line, False))))


def separator_of(path: Path, line: bytes) -> str:
    """The character between fields: by the file's ending, else the likeliest in the header."""
    known = _SEPARATORS.get(_suffix(path))
    text = line.decode(errors="replace")
    if known and (known in text or not any(other in text for other in ",\t;|")):
        return known
    try:
        return csv.Sniffer().sniff(text, delimiters=",\t;|").delimiter
    except csv.Error:
        raise DataError(
            "the kind of table cannot be told",
            where=f"{path}:1",
            got=text[:80],
            accepted=".parquet, .csv, .tsv, .jsonl, each with column names",
        ) from None


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"the file cannot be read as Parquet: {error}", where=path) from error


def _read_parquet(file: RawFile) -> Iterator[pl.DataFrame]:
    table = _parquet(file.path)
    size, start = file.path.stat().st_size, 1
    for batch in table.iter_batches(batch_size=PARQUET_ROWS, use_threads=False):
        frame = pl.DataFrame(pl.from_arrow(batch))
        share = size * frame.height // max(1, table.metadata.num_rows)
        file.raw_bytes += share
        file.advance(share)
        yield frame.with_columns(pl.int_range(start, start + frame.height, dtype=pl.Int64).alias(LINE))
        start += frame.height


def _read(file: RawFile, role: Role, mapping: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    """Contract columns (and, for items and users, all others) of a table of any kind."""
    available = columns_of(file.path, file.encoding)
    if not available:
        for _ in file.blocks():  # records the empty file
            pass
        return
    matched = match_columns(available, role, mapping, file.path)
    if _suffix(file.path) in (".parquet", ".pq"):
        reader: Callable[[RawFile], Iterator[pl.DataFrame]] = _read_parquet
    elif (line := first_line(file.path))[:1] == b"{":
        reader = json_lines(available)
    else:
        reader = delimited(separator_of(file.path, line))
    others = other_columns(role, available, matched)
    for frame in reader(file):
        guessed = matched.get(Columns.ORDER) if Columns.ORDER not in mapping else None
        if guessed and not parse_number(frame[guessed]).is_not_null().any():
            del matched[Columns.ORDER]  # the name of an order, not a place in a history
        yield _flat(frame.select(LINE, *(pl.col(raw).alias(name) for name, raw in matched.items()), *others))


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Nested columns as text: lists joined, structs as JSON."""
    flat = []
    for column in frame:
        if column.dtype == pl.List(pl.List(pl.String)):
            column = column.list.eval(pl.element().list.join(" > ")).list.join(", ")
        elif isinstance(column.dtype, pl.List | pl.Array):
            between = " > " if column.name == Columns.CATEGORIES else ", "
            column = column.cast(pl.List(pl.String)).list.join(between)
        elif isinstance(column.dtype, pl.Struct):
            column = column.struct.json_encode()
        if column.dtype == pl.String and column.name == Columns.CATEGORIES:
            column = map_distinct(column, join_paths)
        elif column.dtype == pl.String and column.name == Columns.DESCRIPTION:
            column = map_distinct(column, join_prose)
        elif column.dtype == pl.String and column.name == Columns.ATTRIBUTES:
            readable = map_distinct(column, join_details())
            column = readable.zip_with(readable.is_not_null(), column)
        flat.append(column)
    return pl.DataFrame(flat)


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    mapping = contract_names(columns)

    def recognise(role: Role, line: bytes) -> bool:
        keys = sorted(keys_of(line, False)) or split_line(line.decode(errors="replace"), _likely(line))
        both = looks_like(keys, "interactions", mapping)
        return both if role == "interactions" else looks_like(keys, role, mapping) and not both

    return tuple(
        Format(
            what=role,
            role=role,
            names=tuple(f"{role}.{ending}" for ending in ("parquet", "csv", "tsv", "jsonl", "json")),
            recognise=partial(recognise, role),
            read=partial(_read, role=role, mapping=mapping),
            convert=lambda frame: frame,
            by_name=True,
        )
        for role in ROLES
    )


def _likely(line: bytes) -> str:
    return max(("\t", ",", ";", "|"), key=lambda separator: line.count(separator.encode()))


SOURCE = Source("table", "Any Parquet, CSV, TSV or JSON lines table with named columns", _formats, takes_columns=True)
