"""What a source is: the kinds of file it knows, and how raw rows become contract columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Literal

import polars as pl

from recmind.config.data import SlashDates
from recmind.data.sources.cleaning import clean_text
from recmind.data.sources.json_lines import LINE, Reader
from recmind.data.sources.lines import RawFile
from recmind.data.sources.problems import Finding
from recmind.schema import ITEM_TEXT_FIELDS, Columns

Role = Literal["interactions", "items", "users"]
ROLES: tuple[Role, ...] = ("interactions", "items", "users")

IDS: dict[Role, tuple[str, ...]] = {
    "interactions": (Columns.USER, Columns.ITEM),
    "items": (Columns.ITEM,),
    "users": (Columns.USER,),
}
"""Columns without which a row says nothing."""

_TEXTS = {*ITEM_TEXT_FIELDS, Columns.REVIEW, Columns.PROFILE}
_SHORT = {Columns.TITLE, Columns.BRAND}

_DATES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%m %d, %Y",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
)

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_SLASHED: dict[SlashDates, tuple[str, ...]] = {
    "refuse": (),
    "day-first": tuple(f"%d/%m/%Y{clock}" for clock in _CLOCKS),
    "month-first": tuple(f"%m/%d/%Y{clock}" for clock in _CLOCKS),
}

TIMES = (
    "seconds or finer units since 1970, 20210703, 2021-07-03, 2021-07-03 20:38, 2021-07-03T20:38:25Z, "
    "03.07.2021 20:38; 07/03/2021 with --slash-dates day-first or month-first"
)
"""What a time may look like, for messages."""

TimeUnit = Literal["auto", "seconds", "milliseconds"]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes
    ----------
    what:
        What the file holds, as the source calls it: ``"reviews"``.
    role:
        Which table its rows belong to.
    names:
        Usual file names as shell patterns, without ``.gz``, in lower case.
    recognise:
        Whether a file with this first line is of this kind.
    read:
        Raw rows as frames of text columns with the line number.
    convert:
        From raw columns to contract columns, still as text; ids, numbers, times and texts
        are checked and cleaned afterwards by :func:`normalise`.
    time:
        Unit of numeric times. ``auto`` tells seconds from finer units by their size.
    by_name:
        A usual name tells the kind, whatever the first line: there are neither header nor keys, or any may be.
    """

    what: str
    role: Role
    names: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    read: Reader
    convert: Callable[[pl.DataFrame], pl.DataFrame]
    time: TimeUnit = "auto"
    by_name: bool = False

    def named_like(self, name: str) -> bool:
        """Whether a file of this name is usually of this kind."""
        plain = name.lower().removesuffix(".gz")
        return any(fnmatch(plain, pattern) for pattern in self.names)

    def frames(self, file: RawFile) -> Iterator[pl.DataFrame]:
        """Contract columns of ``file``, block by block, with the line number of each row."""
        for raw in self.read(file):
            if not raw.is_empty():
                yield normalise(self.convert(raw), file, self.role, self.time)


@dataclass(frozen=True)
class Source:
    """One raw format.

    Attributes
    ----------
    name:
        Name on the command line.
    summary:
        One line about it.
    formats:
        The kinds of file, given the user's column mapping (contract column → raw column).
    takes_columns:
        Whether a column mapping means anything to it.
    """

    name: str
    summary: str
    formats: Callable[[Mapping[str, str]], tuple[Format, ...]]
    takes_columns: bool = False


def rename(**columns: str | pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A conversion: contract column = raw column or expression; the line number is kept."""
    expressions = {name: pl.col(raw) if isinstance(raw, str) else raw for name, raw in columns.items()}
    return lambda frame: frame.select(LINE, **expressions)


def summary_and_text(summary: str, text: str) -> pl.Expr:
    """Headline and body of a review as one text."""
    head = pl.col(summary).str.strip_chars()
    ended = pl.when(head.str.contains(r"[.!?…:]$")).then(head).otherwise(head + ".")
    return pl.concat_str(pl.when(head != "").then(ended), pl.col(text), separator=" ", ignore_nulls=True)


def normalise(frame: pl.DataFrame, file: RawFile, role: Role, time: TimeUnit = "auto") -> pl.DataFrame:
    """Typed, cleaned columns; rows that lack an id or hold a wrong type are recorded and left out."""
    times = partial(parse_time, unit=time, slash_dates=file.slash_dates)
    findings: list[Finding] = []
    wrong = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    checked: list[pl.Series] = []
    for column in frame:
        series, bad = _typed(column, role, times)
        if bad is not None and (rows := (bad & ~wrong).arg_true()).len():
            findings += _findings(frame, column, rows, role)
            wrong = wrong | bad
        checked.append(series)
    result = pl.DataFrame(checked)
    if findings:
        result = result.filter(~wrong)
    file.report(*findings)
    return result.with_columns(_cleaned(result))


def _cleaned(frame: pl.DataFrame) -> list[pl.Series]:
    return [clean_text(frame[name], short=name in _SHORT) for name in frame.columns if name in _TEXTS]


def _typed(
    column: pl.Series, role: Role, times: Callable[[pl.Series], pl.Series]
) -> tuple[pl.Series, pl.Series | None]:
    """The column in its contract type, and which rows are wrong (``None`` where all rows will do)."""
    name = column.name
    if name in IDS[role]:
        ids = column.cast(pl.String).str.strip_chars()
        # A replaced byte might be any: two people would become one.
        return ids, ids.is_null() | (ids == "") | ids.str.contains("^[\\[{]|\N{REPLACEMENT CHARACTER}")
    if name in (Columns.RATING, Columns.ORDER):
        number = parse_number(column).cast(pl.Int64 if name == Columns.ORDER else pl.Float64, strict=False)
    elif name == Columns.TIMESTAMP:
        number = times(column)
    elif name == Columns.PRICE:
        return parse_price(column), None
    elif name in _TEXTS:
        return column.cast(pl.String, strict=False), None
    else:
        return column, None
    return number, number.is_null() & column.is_not_null()


def _findings(frame: pl.DataFrame, column: pl.Series, rows: pl.Series, role: Role) -> list[Finding]:
    lines, values = frame[LINE].gather(rows).to_list(), column.gather(rows).to_list()
    missing = f"the row has no {column.name}"
    wrong = f"{column.name} has a wrong type"
    is_id = column.name in IDS[role]
    return [
        Finding(line, missing, "")
        if is_id and not str("" if value is None else value).strip()
        else Finding(line, wrong, str(value)[:80])
        for line, value in zip(lines, values, strict=True)
    ]


def parse_number(column: pl.Series) -> pl.Series:
    """Finite numbers as float64; null where a value is none."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    numbers = column.cast(pl.Float64, strict=False)
    return numbers.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series()


def parse_price(column: pl.Series) -> pl.Series:
    """The first amount in a price text as float64; null where there is none.

    "$1,299.00 - $1,499" is 1299, and so is "1.299,00 €": a comma before the last one or two digits is decimal.
    """
    if column.dtype.is_numeric():
        return parse_number(column)
    amount = pl.col(column.name).str.extract(_AMOUNT).str.replace_all(r"[\s'’]", "")
    european = amount.str.contains(r",\d{1,2}$")
    return (
        column.cast(pl.String)
        .to_frame()
        .select(
            pl.when(european)
            .then(amount.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
            .otherwise(amount.str.replace_all(",", "", literal=True))
            .cast(pl.Float64, strict=False)
        )
        .to_series()
    )


_AMOUNT = r"^[^\d.<{]{0,12}(\d{1,3}(?:[\s'’]\d{3})+(?:[.,]\d+)?|\d[\d.,]*\d|\d)"


def parse_time(column: pl.Series, unit: TimeUnit = "auto", slash_dates: SlashDates = "refuse") -> pl.Series:
    """Times as seconds since 1970, int64; null where a value is no time.

    Accepts dates, datetimes, numbers and texts of either. With ``auto``, numbers from
    1e11 on are milliseconds, from 1e14 on microseconds, from 1e17 on nanoseconds, and
    20210703 is a day: as seconds such numbers would all lie in three weeks of 1970. ``slash_dates`` says what
    07/03/2021 is, see :class:`recmind.config.PrepareConfig`.
    """
    if column.dtype.is_temporal() and column.dtype not in (pl.Duration, pl.Time):
        return column.dt.epoch("s")
    value = pl.col(column.name)
    numbers = parse_number(column).to_frame()
    if unit == "auto":
        size = value.abs()
        seconds = (
            pl.when(size < 1e11)
            .then(value)
            .when(size < 1e14)
            .then(value / 1e3)
            .when(size < 1e17)
            .then(value / 1e6)
            .otherwise(value / 1e9)
        )
    else:
        seconds = value / 1e3 if unit == "milliseconds" else value
    times = numbers.select(seconds.floor().cast(pl.Int64, strict=False)).to_series()
    if unit == "auto" and (days := times.is_between(19_000_101, 21_001_231).fill_null(False)).any():
        dates = times.filter(days).cast(pl.String).str.to_date("%Y%m%d", strict=False).cast(pl.Datetime("us"))
        times = times.scatter(days.arg_true(), dates.dt.epoch("s"))
    if column.dtype == pl.String and (times.is_null() & column.is_not_null()).any():
        times = times.zip_with(times.is_not_null(), _parse_dates(column, (*_DATES, *_SLASHED[slash_dates])))
    return times


def _parse_dates(column: pl.Series, patterns: Iterable[str]) -> pl.Series:
    """Seconds since 1970 of texts such as "2015-07-03 20:38:25"; null where no pattern fits."""
    # The T of 2015-07-03T20:38, not that of UTC.
    texts = column.str.strip_chars().str.replace(r"^(\S{8,10})T", "$1 ").str.replace(r"\s*(Z|UTC|GMT)$", "+00:00")
    found = pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    for pattern in patterns:
        # Most files have one pattern throughout, so the later ones see few rows or none.
        left = (found.is_null() & texts.is_not_null()).arg_true()
        if not len(left):
            break
        if ":" in pattern:
            times = texts.gather(left).str.to_datetime(pattern, strict=False, time_unit="us")
        else:
            times = texts.gather(left).str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
        found = found.scatter(left, times.dt.epoch("s"))
    return found
