"""Delimited text (CSV, TSV, ``::``) as frames of text columns, in bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from recmind.data.sources.json_lines import LINE, Reader
from recmind.data.sources.lines import BLOCK_BYTES, WINDOWS, RawFile, first_line
from recmind.data.sources.problems import Finding
from recmind.errors import DataError

_UNIT = "\x1f"
"""Stands for a separator of several characters, which Arrow does not read."""


def delimited(
    separator: str,
    *,
    names: Sequence[str] | None = None,
    quoted: bool = True,
    encoding: str | None = None,
) -> Reader:
    """A reader of delimited text; every column comes as text, empty fields as null.

    Parameters
    ----------
    separator:
        One or more characters between fields.
    names:
        Column names of a file without a header line. ``None``: the first line names the columns.
    quoted:
        Whether ``"`` encloses fields.
    encoding:
        Character encoding of the file where it is not UTF-8 and nobody says what it is.
    """

    def read(file: RawFile) -> Iterator[pl.DataFrame]:
        file.encoding = file.encoding or encoding
        columns = list(names) if names is not None else header_of(file, separator, quoted)
        if columns:
            yield from _read(file, separator, columns, quoted, has_header=names is None)

    return read


def header_of(file: RawFile, separator: str, quoted: bool) -> list[str]:
    """Column names from the first line; empty for an empty file, which is recorded."""
    line = text_of(first_line(file.path), file.encoding)
    if not line:
        file.report(Finding(0, "the file is empty"))
        return []
    return split_line(line, separator, quoted)


def text_of(line: bytes, encoding: str | None = None) -> str:
    """A line of a table as text, in ``encoding`` (else Windows-1252) where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode(encoding or WINDOWS, errors="replace")


def split_line(line: str, separator: str, quoted: bool = True) -> list[str]:
    """The fields of one line."""
    if not quoted or len(separator) > 1:
        return [field.strip() for field in line.split(separator)]
    return [field.strip() for field in next(csv.reader([line], delimiter=separator), [])]


def _read(
    file: RawFile, separator: str, columns: list[str], quoted: bool, *, has_header: bool
) -> Iterator[pl.DataFrame]:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError("column names occur more than once", where=f"{file.path}:1", got=repeated)
    ragged: list[arrow_csv.InvalidRow] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    stream = pa.PythonFile(_BlockStream(file, separator), mode="r")
    row = 1 + has_header
    line = row
    try:
        reader = arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=columns, skip_rows=int(has_header)
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator if len(separator) == 1 else _UNIT,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in reader:
            frame = pl.DataFrame(pl.from_arrow(batch))
            frame, row, line = _numbered(file, frame, row, line, ragged, len(columns))
            yield frame
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        raise DataError(
            f"the table cannot be read beyond this place: {error}",
            where=f"{file.path}:{line}",
            hint="look for a quotation mark that is opened and not closed",
        ) from error


def _numbered(
    file: RawFile, frame: pl.DataFrame, row: int, line: int, ragged: list[arrow_csv.InvalidRow], expected: int
) -> tuple[pl.DataFrame, int, int]:
    """``frame`` with line numbers, and the numbers of the next row and line.

    A record takes one line and one more for each line break inside its fields,
    records with a wrong number of fields (which Arrow left out) included.
    """
    lengths = pl.repeat(1, frame.height, dtype=pl.Int64, eager=True)
    broken = [column.name for column in frame if column.str.contains("\n", literal=True).any()]
    if broken:
        breaks = frame.select(pl.sum_horizontal(pl.col(broken).str.count_matches("\n", literal=True)))
        lengths = lengths + breaks.to_series().cast(pl.Int64)
    skipped = {bad.number: bad for bad in ragged if bad.number is not None}
    ragged.clear()
    total = frame.height + len(skipped)
    numbers = range(row, row + total)
    if skipped:
        sound = iter(lengths.to_list())
        every = [1 + skipped[n].text.count("\n") if n in skipped else next(sound, 1) for n in numbers]
        lengths = pl.Series(every, dtype=pl.Int64)
    ends = lengths.cum_sum()
    starts = line + ends - lengths
    if skipped:
        places = dict(zip(numbers, starts.to_list(), strict=True))
        file.report(*(_ragged(bad, places.get(number, line), expected) for number, bad in skipped.items()))
        starts = starts.filter(pl.Series([number not in skipped for number in numbers]))
    frame = frame.with_columns(starts.alias(LINE)).with_columns(
        pl.when(pl.col(pl.String).str.strip_chars() != "").then(pl.col(pl.String)).name.keep()
    )
    blank = pl.all_horizontal(pl.exclude(LINE).is_null())
    return frame.filter(~blank), row + total, line + (int(ends[-1]) if total else 0)


def _ragged(bad: arrow_csv.InvalidRow, line: int, expected: int) -> Finding:
    kind = "the line has too few fields" if bad.actual_columns < expected else "the line has too many fields"
    return Finding(line, kind, f"{bad.actual_columns} fields, {expected} expected: {bad.text[:80]}")


class _BlockStream(io.RawIOBase):
    """The blocks of a raw file as a readable stream, long separators replaced."""

    def __init__(self, file: RawFile, separator: str) -> None:
        self._blocks = file.blocks()
        self._separator = separator.encode()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            block = next(self._blocks, None)
            data = block.data if block else b""
            if len(self._separator) > 1:
                data = data.replace(self._separator, _UNIT.encode())
            self._rest = memoryview(data)
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)
