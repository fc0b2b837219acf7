"""MovieLens: 100k (``u.data``, ``u.item``, ``u.user``), 1M (``.dat``), latest and 20M on (``.csv``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import polars as pl

from recmind.data.sources.base import Format, Source
from recmind.data.sources.delimited import delimited
from recmind.data.sources.json_lines import LINE, Reader
from recmind.schema import Columns

_GENRES = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|Film-Noir|Horror|Musical|"
    "Mystery|Romance|Sci-Fi|Thriller|War|Western"
)
GENRES = _GENRES.split("|")
"""Order of the flags in ``u.item``."""

_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56 or over"}
_WORK = (
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service|doctor/health care|"
    "executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer|retired|sales/marketing|scientist|"
    "self-employed|technician/engineer|tradesman/craftsman|unemployed|writer"
)
_SEX = {"M": "man", "F": "woman"}

_RATING = (Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)


def _title(raw: str) -> pl.Expr:
    """ "Matrix, The (1999)" as "The Matrix (1999)"."""
    return pl.col(raw).str.replace(r"^(.+), (The|A|An|Le|La|Les|Il|Der|Die|Das|El) (\(\d{4}\))$", "$2 $1 $3")


def _genres() -> pl.Expr:
    genres = pl.when(pl.col("genres") != "(no genres listed)").then(pl.col("genres"))
    return genres.str.replace_all("|", ", ", literal=True)


def _movies(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        LINE,
        pl.col("movie").alias(Columns.ITEM),
        _title("title").alias(Columns.TITLE),
        _genres().alias(Columns.CATEGORIES),
    )


def _flagged_movies(frame: pl.DataFrame) -> pl.DataFrame:
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES[1:]]
    genres = pl.concat_str(*flags, separator="|", ignore_nulls=True)
    return _movies(frame.with_columns(genres.alias("genres")))


def _profile(frame: pl.DataFrame, age: pl.Expr, work: pl.Expr) -> pl.DataFrame:
    sex = pl.col("sex").replace_strict(_SEX, default=None, return_dtype=pl.String)
    text = pl.concat_str(sex, age, work, separator=", ", ignore_nulls=True)
    return frame.select(LINE, pl.col("user").alias(Columns.USER), text.alias(Columns.PROFILE))


def _users_100k(frame: pl.DataFrame) -> pl.DataFrame:
    return _profile(frame, "aged " + pl.col("age"), pl.col("work"))


def _users_1m(frame: pl.DataFrame) -> pl.DataFrame:
    work = {str(code): name for code, name in enumerate(_WORK.split("|"))}
    return _profile(
        frame,
        "aged " + pl.col("age").replace_strict(_AGES, default=None, return_dtype=pl.String),
        pl.col("work").replace_strict(work, default=None, return_dtype=pl.String),
    )


def _ratings(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(LINE, *_RATING)


def _csv_ratings(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(LINE, **dict(zip(_RATING, ("userId", "movieId", "rating", "timestamp"), strict=True)))


def _csv_movies(frame: pl.DataFrame) -> pl.DataFrame:
    return _movies(frame.rename({"movieId": "movie"}))


def _starts(*words: str) -> Callable[[bytes], bool]:
    return lambda line: line.decode("latin-1").split(",")[: len(words)] == list(words)


def _never(line: bytes) -> bool:
    """Files without a header or keys cannot be told apart by their first line."""
    return False


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    item = ("movie", "title", "date", "video", "url", *GENRES)
    pipe = delimited("|", names=item, quoted=False, encoding="latin-1")
    people = delimited("|", names=("user", "age", "sex", "work", "zip"), quoted=False, encoding="latin-1")

    def dat(*names: str) -> Reader:
        return delimited("::", names=names, quoted=False, encoding="latin-1")

    tab = delimited("\t", names=_RATING, quoted=False)
    person = ("user", "sex", "age", "work", "zip")
    bare = partial(Format, recognise=_never, by_name=True, time="seconds")
    return (
        bare("ratings (100k)", "interactions", ("u.data",), read=tab, convert=_ratings),
        bare("movies (100k)", "items", ("u.item",), read=pipe, convert=_flagged_movies),
        bare("users (100k)", "users", ("u.user",), read=people, convert=_users_100k),
        bare("ratings (1M)", "interactions", ("ratings.dat",), read=dat(*_RATING), convert=_ratings),
        bare("movies (1M)", "items", ("movies.dat",), read=dat("movie", "title", "genres"), convert=_movies),
        bare("users (1M)", "users", ("users.dat",), read=dat(*person), convert=_users_1m),
        Format(
            "ratings (csv)",
            "interactions",
            ("ratings.csv",),
            _starts("userId", "movieId", "rating"),
            delimited(","),
            _csv_ratings,
            "seconds",
        ),
        Format("movies (csv)", "items", ("movies.csv",), _starts("movieId", "title"), delimited(","), _csv_movies),
    )


SOURCE = Source("movielens", "MovieLens 100k, 1M, 10M, 20M, 25M, latest: the unpacked folder", _formats)
