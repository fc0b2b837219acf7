"""The recommender that a server holds: a bundle, and what has changed since it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recmind.serving.answers import Placement, Reason, Status, Suggestion
from recmind.serving.options import Options


class LiveRecommender:
    """Recommends from a bundle; takes new items, interactions and deletions. Every method may be called from any thread.

    A call reads one state from beginning to end: another thread's change is
    either wholly there or not at all. A change returns after it is on disk.
    """

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
            Threads of one search.

        Raises
        ------
        BundleError
            If a file is missing, damaged or of another version, by name; if another process writes to the store.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish what is being written and close the store. Also a context manager."""

    # -- lists ---------------------------------------------------------------------------------------------------

    def recommend(
        self, user: str, k: int = 10, *, options: Options = Options(), text: str | None = None, text_weight: float = 0.5
    ) -> list[Suggestion]:
        """The k best items of a user, who may have come after training; with ``text`` also of a wish in words.

        With a text the taste is (1-v) h_user + v h_text, v = ``text_weight``.
        """
        raise NotImplementedError

    def recommend_many(
        self, users: Sequence[str], k: int = 10, *, options: Options = Options()
    ) -> list[list[Suggestion]]:
        """The same for several users in one search."""
        raise NotImplementedError

    def recommend_for_history(
        self,
        items: Sequence[str],
        k: int = 10,
        *,
        options: Options = Options(),
        text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Suggestion]:
        """The k best items of somebody of whom only these items are known, oldest first; nothing is kept."""
        raise NotImplementedError

    def recommend_for_text(self, text: str, k: int = 10, *, options: Options = Options()) -> list[Suggestion]:
        """The k best items of somebody of whom only these words are known; nothing is kept."""
        raise NotImplementedError

    def similar_items(self, item: str, k: int = 10, *, options: Options = Options()) -> list[Suggestion]:
        """The k items whose vectors point most nearly the way of ``item``'s; the score is the cosine."""
        raise NotImplementedError

    def place(self, fields: Mapping[str, Any], k: int = 10) -> Placement:
        """Where an item with these text fields would stand: its neighbours and its users; nothing is kept."""
        raise NotImplementedError

    # -- why -----------------------------------------------------------------------------------------------------

    def explain(
        self,
        item: str,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        text: str | None = None,
        text_weight: float = 0.5,
        words: int = 0,
        history_items: int = 5,
    ) -> Reason:
        """Why ``item`` has its score for a user, a history or a wish (at most one of user and history).

        ``words`` and ``history_items`` say how many of each are named; words cost an encoder pass.
        """
        raise NotImplementedError

    # -- changes: durable when they return -----------------------------------------------------------------------

    def add_items(self, items: Sequence[Mapping[str, Any]]) -> list[str]:
        """Let items enter by their text: ``item_id`` and the columns of ``items.parquet``. Ids that were new."""
        raise NotImplementedError

    def add_interactions(self, pairs: Sequence[tuple[str, str]]) -> int:
        """(user, item) pairs, oldest first; users may be new, items must be known. How many were not known before."""
        raise NotImplementedError

    def delete_item(self, item: str) -> None:
        """The item stands in no list, text or history any more."""

    def delete_user(self, user: str) -> None:
        """Everything of that person is gone from memory and from the store."""

    # -- looking things up ---------------------------------------------------------------------------------------

    def item(self, item: str) -> dict[str, Any]:
        """Fields of an item, with ``degree``, its training interactions; empty fields are left out."""
        raise NotImplementedError

    def items(self, items: Sequence[str]) -> list[dict[str, Any]]:
        """Fields of several items, in order."""
        raise NotImplementedError

    def history(self, user: str, limit: int | None = None) -> list[str]:
        """The items that a user is known to have, most recent first."""
        raise NotImplementedError

    def has_user(self, user: str) -> bool:
        """Whether anything is known of this user."""
        raise NotImplementedError

    def has_item(self, item: str) -> bool:
        """Whether there is such an item."""
        raise NotImplementedError

    def users(self, prefix: str = "", limit: int = 20) -> list[str]:
        """Ids of users that begin so, in order."""
        raise NotImplementedError

    def find_items(self, words: str = "", limit: int = 20) -> list[str]:
        """Ids of items whose id is, or whose title holds all of, these words; popular ones first."""
        raise NotImplementedError

    def categories(self, limit: int = 200) -> list[tuple[str, int]]:
        """Categories and how many items each has, the largest first."""
        raise NotImplementedError

    def brands(self, limit: int = 200) -> list[tuple[str, int]]:
        """Brands and how many items each has, the largest first."""
        raise NotImplementedError

    @property
    def card(self) -> dict[str, Any]:
        """The model card, ``model.json``: data, metrics, strata, gate, limits, encoder, settings."""
        raise NotImplementedError

    @property
    def status(self) -> Status:
        """What is served: bundle, model, index, counts."""
        raise NotImplementedError

    def warm(self) -> None:
        """Load what is loaded on first use, such as the language model, so that no request waits for it."""
