"""The recommender that a server holds: a bundle, and what has changed since it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from recmind.errors import ConfigError
from recmind.schema import Columns
from recmind.serving.base import Base
from recmind.serving.bundle import Bundle
from recmind.serving.changing import new_items, new_pairs, replayed, there, with_new_items
from recmind.serving.reader import Reader
from recmind.serving.store import Store, StoredItem


class LiveRecommender(Reader):
    """Recommends from a bundle; takes new items, interactions and deletions. Every method may be called by any thread.

    A call reads one state from beginning to end: another thread's change is
    either wholly there or not at all. Several calls that belong together, a
    list and its reasons, ask one :meth:`moment`. A change returns after it is
    on disk. Open one with :meth:`open`.
    """

    def __init__(self, base: Base, store: Store) -> None:
        self._store = store
        self._writing = Lock()
        super().__init__(replayed(base, store))

    @classmethod
    def open(cls, bundle: str | Path, store: str | Path | None = None, *, threads: int = 1) -> LiveRecommender:
        """Read and verify a bundle, and replay what the store holds.

        Parameters
        ----------
        bundle:
            Folder made by ``recmind export``.
        store:
            SQLite file of what changes; made if missing. ``None`` keeps changes in memory.
        threads:
            Threads of one search for several users; for a single one torch's own number counts, which a server that
            answers several requests at once sets to 1 (:func:`torch.set_num_threads`).

        Raises
        ------
        BundleError
            If a file is missing, damaged or of another version, by name; if another process writes to the store.
        """
        base = Base(Bundle.load(bundle), threads)
        opened = Store(store)
        try:
            return cls(base, opened)
        except BaseException:
            opened.close()
            raise

    def reload(self, bundle: str | Path) -> None:
        """Go over to another bundle with the same store; calls under way end with the one they began with.

        Raises
        ------
        BundleError
            As :meth:`open`; the bundle of before then stays.
        """
        base = Base(Bundle.load(bundle), self._state.base.threads)
        with self._writing:
            self._state = replayed(base, self._store)

    def moment(self) -> Reader:
        """A reader of the state of now, which stays as it is."""
        return Reader(self._state)

    def close(self) -> None:
        """Finish what is being written and close the store. Also a context manager."""
        with self._writing:
            self._store.close()

    def __enter__(self) -> LiveRecommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- changes: durable when they return -----------------------------------------------------------------------

    def add_items(self, items: Sequence[Mapping[str, Any]]) -> list[str]:
        """Let items enter by their text: ``item_id`` and the columns of ``items.parquet``. Ids that were new.

        Raises
        ------
        DataError
            If an id is missing or occurs twice, or a field is wrong; then none enters.
        ConfigError
            If the bundle's model makes no vectors of texts.
        """
        state = self._state
        if not state.base.equations.reads:
            name = state.base.bundle.config.model.name
            raise ConfigError(
                f"a bundle of the model {name!r} makes no vectors of texts and cannot take new items",
                where="items",
                hint="serve a run of recmind or text",
            )
        fields = new_items(state, items)
        if not fields:
            return []
        speech = state.base.speech
        texts, known = speech.items(fields)  # before others have to wait
        with self._writing:
            now = self._state
            if now.base is not state.base:
                texts, known = now.base.speech.items(fields)
                speech = now.base.speech
            rows = [row for row, entry in enumerate(fields) if not there(now, entry[Columns.ITEM])]
            if not rows:
                return []
            fields, texts, known = [fields[row] for row in rows], texts[rows], known[rows]
            after = with_new_items(now, fields, texts, known)
            about = speech.fingerprint
            self._store.add_items(
                [_stored(entry, about, texts[row], bool(known[row])) for row, entry in enumerate(fields)]
            )
            self._state = after
        return [entry[Columns.ITEM] for entry in fields]

    def add_interactions(self, pairs: Sequence[tuple[str, str]]) -> int:
        """(user, item) pairs, oldest first; users may be new, items must be known. How many were not known before.

        Raises
        ------
        UnknownIdError
            If an item is unknown; then nothing is kept.
        """
        with self._writing:
            state = self._state
            fresh = new_pairs(state, pairs)
            if fresh:
                after = state.with_interactions(fresh)
                self._store.add_interactions([(user, state.item_id(code)) for user, code in fresh])
                self._state = after
        return len(fresh)

    def delete_item(self, item: str) -> None:
        """The item stands in no list, text or history any more.

        What users did with it before the bundle was made stays in their vectors.

        Raises
        ------
        UnknownIdError
            If there is no such item.
        """
        with self._writing:
            state = self._state
            state.item_code(item)
            users = self._store.delete_item(item, keep_shut=item in state.base.item_codes)
            self._state = state.without_item(item, users)

    def delete_user(self, user: str) -> None:
        """Everything of that person is gone from what is served and from the store.

        The bundle's own files still hold the vector and the history, shut by a
        salted hash of the id, until the next bundle is made without them.

        Raises
        ------
        UnknownIdError
            If nothing is known of the user.
        """
        with self._writing:
            state = self._state
            code, _ = state.find_user(user)
            self._store.delete_user(user, keep_shut=code is not None)
            self._state = state.without_user(user)


def _stored(fields: Mapping[str, Any], encoder: str, vector: np.ndarray, known: bool) -> StoredItem:
    rest = {name: value for name, value in fields.items() if name != Columns.ITEM}
    return StoredItem(fields[Columns.ITEM], rest, encoder, vector, known)
