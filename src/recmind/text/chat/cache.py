"""Answers of chat models kept by content: what was answered once is never asked again.

One SQLite file in write-ahead mode, ``<cache>/profiles/answers.sqlite``. Every answer is a transaction of
its own, so that a process killed at any moment loses only what was under way, and several processes may
fill one file. The API key, the endpoint and the ids of users are not in it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmind.config import ProfilesConfig
from recmind.errors import DataError

FILE = "answers.sqlite"
_LOCKED_SECONDS = 30.0
_AT_ONCE = 500
"""Keys in one query; SQLite's own limit is higher everywhere."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY,
    model TEXT NOT NULL,
    text TEXT,
    failure TEXT,
    tokens_in INTEGER,
    tokens_out INTEGER,
    seconds REAL,
    written REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Answer:
    """A profile, or why there is none; with what it took, where the endpoint says so."""

    text: str | None
    failure: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None


def answer_key(config: ProfilesConfig, keys: Sequence[str], messages: list[dict[str, str]]) -> bytes:
    """Key of an answer: sha256 of the model, the messages, the sampling settings and what is accepted."""
    content = [
        config.model,
        messages,
        config.temperature,
        config.max_tokens,
        config.json_mode,
        config.max_words,
        list(keys),
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).digest()


class AnswerCache:
    """The answers kept in ``folder``; a context manager.

    Raises
    ------
    DataError
        If the file cannot be opened, or is damaged: answers cost money, so nothing is thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The writer may run on another thread than the one that opened it, never on two at once.
            self._db = sqlite3.connect(
                self.path, timeout=_LOCKED_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            # A killed process loses nothing; a power cut may lose the last answers, and damages nothing.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._broken(error) from error

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def read(self, keys: Iterable[bytes]) -> dict[bytes, Answer]:
        """The answers, and failures, that are there."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, Answer] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, text, failure, tokens_in, tokens_out, seconds FROM answers WHERE key IN ({marks})"
            found |= {bytes(key): Answer(*rest) for key, *rest in self._query(query, part)}
        return found

    def write(self, key: bytes, model: str, answer: Answer) -> None:
        """Keep an answer. One that is there stays, as another process may have read it; a failure is replaced."""
        self._query(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text, "
            "failure = excluded.failure, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out, "
            "seconds = excluded.seconds, written = excluded.written WHERE answers.text IS NULL",
            (
                key,
                model,
                answer.text,
                answer.failure,
                answer.tokens_in,
                answer.tokens_out,
                answer.seconds,
                time.time(),
            ),
        )

    def typical(self, model: str, n: int = 500) -> Answer | None:
        """Median tokens and seconds of the last ``n`` answers of a model; ``None`` where there is none."""
        rows = self._query(
            "SELECT tokens_in, tokens_out, seconds FROM answers WHERE model = ? AND text IS NOT NULL "
            "ORDER BY written DESC LIMIT ?",
            (model, n),
        )
        if not rows:
            return None
        columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
        tokens_in, tokens_out, seconds = (statistics.median(column) if column else None for column in columns)
        return Answer("", None, tokens_in and round(tokens_in), tokens_out and round(tokens_out), seconds)

    def _query(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            with closing(self._db.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            f"the answers of chat models cannot be kept: {error}",
            where=self.path,
            hint="move a damaged file away, free disk space, or set language.cache_dir or RECMIND_CACHE to another "
            "folder",
        )
