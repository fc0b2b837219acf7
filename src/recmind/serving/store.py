"""What changed after a bundle was made, in SQLite: when a method returns, the change survives `kill -9`.

Write-ahead log, ``synchronous = FULL``: a commit is on disk before it is
acknowledged, and what was not acknowledged is wholly there or not at all. The
store is keyed by ids, so that it outlives its bundle: opened with a newer one,
what that one has learnt already is passed over. One process writes; a lock
beside the file says so.

Of a deleted user nothing is left but a salted hash of the id, needed to keep
the bundle's own rows of that user shut; SQLite overwrites the rest
(``secure_delete``) and the log is emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from recmind.errors import BundleError

VERSION = 1
_TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, item_id TEXT NOT NULL UNIQUE,
    fields TEXT NOT NULL, encoder TEXT NOT NULL, known INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE deleted_items (item_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE interactions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT NOT NULL, item_id TEXT NOT NULL, at INTEGER NOT NULL,
    UNIQUE (user_id, item_id));
CREATE INDEX interactions_by_item ON interactions (item_id);
CREATE TABLE deleted_users (digest TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class StoredItem:
    """An item that came after the bundle.

    Attributes
    ----------
    item_id, fields:
        Its id and the other columns.
    encoder:
        Fingerprint of what made the vector.
    vector, known:
        z̃ ``(d_lm,)``, and whether there was a text.
    """

    item_id: str
    fields: dict[str, Any]
    encoder: str
    vector: np.ndarray
    known: bool


class Store:
    """Changes in a SQLite file; every call takes the caller's word that no other one runs at the same time.

    Parameters
    ----------
    path:
        The file; made if missing. ``None`` keeps everything in memory.

    Raises
    ------
    BundleError
        If the file is no store, is damaged or of another version, or another process has it open.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lock: IO[str] | None = None
        if self.path is not None:
            self._lock = _claimed(self.path)
        try:
            self._connection = self._opened()
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Close the file and let others have it."""
        self._connection.close()
        self._unlock()

    # -- reading, at the start ------------------------------------------------------------------------------------

    def items(self) -> Iterator[StoredItem]:
        """Items that were added and not deleted, in order."""
        rows = self._connection.execute("SELECT item_id, fields, encoder, known, vector FROM items ORDER BY seq")
        for item_id, fields, encoder, known, vector in rows:
            yield StoredItem(item_id, json.loads(fields), encoder, np.frombuffer(vector, np.float32), bool(known))

    def deleted_items(self) -> list[str]:
        """Ids of items that were deleted."""
        return [row[0] for row in self._connection.execute("SELECT item_id FROM deleted_items")]

    def interactions(self) -> Iterator[tuple[str, str]]:
        """(user, item), oldest first."""
        yield from self._connection.execute("SELECT user_id, item_id FROM interactions ORDER BY seq")

    def deleted_users(self) -> set[str]:
        """Digests of the users who were deleted; :meth:`digest` makes one of an id."""
        return {row[0] for row in self._connection.execute("SELECT digest FROM deleted_users")}

    def digest(self, user: str) -> str:
        """Salted hash of a user's id."""
        return hashlib.sha256(self._salt + user.encode("utf-8", "surrogatepass")).hexdigest()

    # -- writing -------------------------------------------------------------------------------------------------

    def add_items(self, items: Sequence[StoredItem]) -> None:
        """Keep items. One of a bundle that was deleted stays shut: this one stands in its place."""
        with self._committed() as write:
            for item in items:
                fields = json.dumps(item.fields)
                blob = np.ascontiguousarray(item.vector, dtype=np.float32).tobytes()
                values = (item.item_id, fields, item.encoder, int(item.known), blob)
                write("INSERT INTO items (item_id, fields, encoder, known, vector) VALUES (?, ?, ?, ?, ?)", values)

    def add_interactions(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Keep interactions, oldest first; those known already stay as they are."""
        now = int(time.time())
        with self._committed() as write:
            for user, item in pairs:
                write("INSERT OR IGNORE INTO interactions (user_id, item_id, at) VALUES (?, ?, ?)", (user, item, now))

    def delete_item(self, item: str, *, keep_shut: bool) -> list[str]:
        """Forget an item and who had it; the users that it concerned. ``keep_shut``: the bundle has it too."""
        with self._committed() as write:
            users = [row[0] for row in write("SELECT user_id FROM interactions WHERE item_id = ?", (item,))]
            write("DELETE FROM interactions WHERE item_id = ?", (item,))
            write("DELETE FROM items WHERE item_id = ?", (item,))
            if keep_shut:
                write("INSERT OR IGNORE INTO deleted_items VALUES (?)", (item,))
        return users

    def delete_user(self, user: str, *, keep_shut: bool) -> None:
        """Forget a person. ``keep_shut``: the bundle knows the person, so a hash of the id stays."""
        with self._committed() as write:
            write("DELETE FROM interactions WHERE user_id = ?", (user,))
            if keep_shut:
                write("INSERT OR IGNORE INTO deleted_users VALUES (?)", (self.digest(user),))
        # The log still holds the old pages.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _committed(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Run statements as one transaction, on disk at the end."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _opened(self) -> sqlite3.Connection:
        where = ":memory:" if self.path is None else str(self.path)
        try:
            connection = sqlite3.connect(where, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise _unopened(error, where) from error
        try:
            if self.path is not None:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create(connection)
            elif version != VERSION:
                raise BundleError("the store is of another version", where=where, got=version, accepted=str(VERSION))
            problem = connection.execute("PRAGMA quick_check").fetchone()[0]
            if problem != "ok":
                raise BundleError(f"the store is damaged: {problem}", where=where, hint=_DAMAGED)
            salt = connection.execute("SELECT value FROM about WHERE key = 'salt'").fetchone()
            if salt is None:
                raise BundleError("the file is no store of RecMind", where=where, hint="choose another --changes")
            self._salt = bytes.fromhex(salt[0])
        except sqlite3.Error as error:
            connection.close()
            raise _unopened(error, where) from error
        except BundleError:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise BundleError("the file is no store of RecMind", where=self.path, hint="choose another --changes")
        salt = secrets.token_hex(16)
        # One transaction: a kill leaves an empty file or a whole store.
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} INSERT INTO about VALUES ('salt', '{salt}'); "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


_DAMAGED = "put a copy of the file back, or remove it to start without changes"
_NOT_OURS = "let this user write the file and its folder, or choose another --changes"


def _unopened(error: sqlite3.Error, where: str) -> BundleError:
    if error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return BundleError(f"the store cannot be written: {error}", where=where, hint=_NOT_OURS)
    return BundleError(f"the store cannot be read: {error}", where=where, hint=_DAMAGED)


def _claimed(path: Path) -> IO[str]:
    """The lock beside the store, held by this process until it is closed or dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise BundleError(
            "another process writes to the store", where=path, hint="stop it, or use one process"
        ) from error
    return lock
