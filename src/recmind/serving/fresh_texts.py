"""What changed items and users make the language model say: new z̃ for the rows whose texts read otherwise now."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from recmind.data.dataset import Dataset
from recmind.data.splitting import Part
from recmind.errors import RunError
from recmind.language.encoder import TextEncoder
from recmind.language.features import encoder_manifest, load_encoder, mean_of_items
from recmind.language.store import EmbeddingStore
from recmind.schema import Columns, Files, Tensors
from recmind.serving.changes import Changed
from recmind.serving.recommender import Recommender
from recmind.text.profiles import item_texts, user_texts

_SAME_TEXT = 0.99
"""Cosine above which a text made again is the one that was encoded: bfloat16 keeps .9998."""

MUST_AGREE = (
    "weights_sha256",
    "content_sha256",
    "adapters_sha256",
    "pooling",
    "window",
    "d_lm",
    "modules_sha256",
    "lower_case",
    "unpooled_prompts",
    "long_text",
    "quantisation",
    "item_instruction",
    "user_instruction",
)
"""What the encoder of a run and that of now must have in common, so that new vectors fit beside the old ones."""


@dataclass
class Spoken:
    """Vectors of one side and what became of them.

    Attributes
    ----------
    vectors, known:
        z̃, float32 ``(n, d_lm)``, and whether there is one, bool ``(n,)``.
    why:
        ``text``, ``items`` (a mean of items of which one changed), ``new``, or
        empty for what stays, ``(n,)``.
    """

    vectors: np.ndarray
    known: np.ndarray
    why: np.ndarray

    @classmethod
    def unchanged(cls, vectors: np.ndarray, known: np.ndarray) -> Spoken:
        """A copy in which nothing has changed yet."""
        return cls(vectors.copy(), known.copy(), np.full(len(vectors), "", dtype=object))


def item_vectors(recommender: Recommender) -> tuple[np.ndarray, np.ndarray]:
    """z̃ of all items of a run ``(n_items, d_lm)``, those that came after training last, and which are known."""
    tensors = recommender.trained.tensors
    parts = [prefix for prefix in (Tensors.TEXTS, Tensors.ADDED) if f"{prefix}items" in tensors]
    vectors = torch.cat([tensors[f"{prefix}items"] for prefix in parts])
    return vectors.numpy(), torch.cat([tensors[f"{prefix}items_known"] for prefix in parts]).numpy()


class Reader:
    """The run's language model as it reads one side, from its cache where it can be.

    Raises
    ------
    RunError
        If the model or its adapters are other ones than those of the run.
    """

    def __init__(
        self, recommender: Recommender, recorded: Mapping[str, Any], side: str = "items", *, show_progress: bool
    ) -> None:
        key = "adapters_sha256" if side == "items" else f"{side}_adapters_sha256"
        recorded = {**recorded, "adapters_sha256": recorded.get(key, recorded.get("adapters_sha256"))}
        adapters = _adapters(recommender.adapters, recorded["adapters_sha256"])
        self.encoder: TextEncoder
        self.encoder, self.text = load_encoder(recommender.config.text, recommender.config.language, adapters)
        now = encoder_manifest(self.encoder, self.text)
        other = {key: now.get(key) for key in MUST_AGREE if now.get(key) != recorded.get(key)}
        if other:
            raise RunError(
                "the language model is not the one that the run was trained with",
                where="language.encoder",
                got=other,
                accepted=f"{ {key: recorded.get(key) for key in other} }",
                hint="bring that model back, or train again",
            )
        if now["prompt_version"] != recorded.get("prompt_version"):
            warnings.warn("texts are put together in another way than when the run was trained", stacklevel=4)
        self._store = EmbeddingStore(self.encoder, recommender.config.language.cache_dir, now["prompt_version"])
        self._show_progress = show_progress

    def items(self, table: pl.DataFrame) -> list[str | None]:
        """The text of each item."""
        return item_texts(table, self.text, self.encoder.clip)

    def vectors(self, texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
        """z̃ ``(n, d_lm)``, zero where there is no text, and where there is one."""
        known = np.array([text is not None for text in texts], dtype=bool)
        found = np.zeros((len(texts), self.encoder.dim), dtype=np.float32)
        found[known] = self._store.vectors([t for t in texts if t is not None], show_progress=self._show_progress)
        return found, known


def _adapters(folder: Path | None, expected: str | None) -> Path | None:
    """The folder of the adapters with this hash: users may have others than items."""
    from recmind.language.adapters import SETTINGS, stored_sha256

    if expected is None:
        return None
    found = [] if folder is None else [folder, folder / Files.USERS_ADAPTERS]
    for path in found:
        if (path / SETTINGS).is_file() and stored_sha256(path) == expected:
            return path
    raise RunError("the adapters that read the run's texts are missing", where=folder, accepted=f"sha256 {expected}")


def fresh_items(recommender: Recommender, changed: Changed | None, reader: Reader) -> Spoken:
    """z̃ of all items, the new ones last; only texts that read otherwise now are encoded."""
    spoken = Spoken.unchanged(*item_vectors(recommender))
    if changed is None:
        return spoken
    old = reader.items(recommender.items[changed.rows])
    new = reader.items(changed.table[changed.rows])
    rows = changed.rows[[before != after for before, after in zip(old, new, strict=True)]]
    fresh = np.arange(changed.n_old, changed.table.height)
    vectors, known = reader.vectors(reader.items(changed.table[np.concatenate([rows, fresh])]))
    dim, n = spoken.vectors.shape[1], len(fresh)
    spoken.vectors = np.concatenate([spoken.vectors, np.zeros((n, dim), dtype=np.float32)])
    spoken.known = np.concatenate([spoken.known, np.zeros(n, dtype=bool)])
    spoken.why = np.concatenate([spoken.why, np.full(n, "new", dtype=object)])
    spoken.vectors[np.concatenate([rows, fresh])] = vectors
    spoken.known[np.concatenate([rows, fresh])] = known
    spoken.why[rows] = "text"
    return spoken


def means_of_users(recommender: Recommender, items: Spoken, n_trained: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean z̃ of each user's training items ``(n_users, d_lm)``, and which users have one."""
    vectors, known = items.vectors[:n_trained], items.known[:n_trained]
    return mean_of_items(vectors, known, recommender.split.train, recommender.users.height)


def fresh_users(
    recommender: Recommender, items: Spoken, table: pl.DataFrame, changed: Changed | None, reader: Reader
) -> tuple[Spoken, int]:
    """z̃ of the users of a run in which users have texts, and how many could not be read again.

    Written again are the texts of the users in ``changed``, and of those whose
    text is made of titles that changed; a user without a text has the mean of
    the items' vectors, which moves with them. Which of these a user has is
    told by the vector of the old text, made again. A text that the run does not
    hold (reviews, a chat model's profile) stays as it is.

    Parameters
    ----------
    table:
        The items' new texts.
    """
    texts = recommender.trained.texts
    assert texts.users is not None and texts.users_known is not None
    spoken = Spoken.unchanged(texts.users.numpy(), texts.users_known.numpy())
    train, n_trained = recommender.split.train, len(texts.items)
    bought = np.isin(train.items, np.flatnonzero(items.why[:n_trained] == "text"))
    named = changed.rows if changed is not None else np.empty(0, dtype=np.int64)
    codes = np.unique(np.concatenate([train.users[bought].astype(np.int64), named]))
    if not len(codes):
        return spoken, 0
    old_items = Spoken.unchanged(*item_vectors(recommender))
    before, _ = means_of_users(recommender, old_items, n_trained)
    after, after_known = means_of_users(recommender, items, n_trained)
    people = changed.table if changed is not None else recommender.users
    old = _texts_of_users(recommender, codes, recommender.items, recommender.users, reader)
    new = _texts_of_users(recommender, codes, table, people, reader)
    is_named = np.isin(codes, named)
    differs = np.array([a != b for a, b in zip(old, new, strict=True)]) | is_named
    old_vectors, _ = reader.vectors([t if d else None for t, d in zip(old, differs & ~is_named, strict=True)])
    new_vectors, has_text = reader.vectors([t if d else None for t, d in zip(new, differs, strict=True)])
    stored = spoken.vectors[codes]
    is_mean = np.abs(stored - before[codes]).max(1) < 1e-5
    was_it = (stored * old_vectors).sum(1) > _SAME_TEXT
    rewritten = differs & has_text & (is_named | was_it)
    by_items = ~rewritten & (is_mean | (is_named & ~has_text))
    for rows, vectors, known, why in (
        (rewritten, new_vectors, has_text, "text"),
        (by_items, after[codes], after_known[codes], "items"),
    ):
        moved = rows & (np.abs(vectors - stored).max(1) > 1e-6)
        spoken.vectors[codes[moved]], spoken.known[codes[moved]] = vectors[moved], known[moved]
        spoken.why[codes[moved]] = why
    return spoken, int((differs & ~rewritten & ~by_items).sum())


def _texts_of_users(
    recommender: Recommender, codes: np.ndarray, items: pl.DataFrame, users: pl.DataFrame, reader: Reader
) -> list[str | None]:
    """Texts of some users, ascending codes, from the run's training interactions and what the tables say."""
    train = recommender.split.train
    rows = np.isin(train.users, codes)
    users_of, items_of = np.searchsorted(codes, train.users[rows]), train.items[rows]
    people = users[codes]
    reviews = _reviews(people)
    # A review stands on an item without a title, so that the user's titles stay what they were.
    untitled = items.height
    items = pl.concat([items, items.clear(1)])
    part = Part(
        np.concatenate([users_of, reviews[Columns.USER_CODE].to_numpy()]).astype(np.int32),
        np.concatenate([items_of, np.full(reviews.height, untitled)]).astype(np.int32),
        np.arange(len(users_of) + reviews.height),
    )
    texts = pl.concat([pl.Series([None], dtype=pl.String).new_from_index(0, len(users_of)), reviews["text"]])
    dataset = Dataset(pl.DataFrame({Columns.REVIEW: texts}), items, people)
    return user_texts(dataset, part, reader.text, reader.encoder.clip)


def _reviews(people: pl.DataFrame) -> pl.DataFrame:
    """Reviews given for some users as (user, text), each user's oldest first."""
    if Columns.REVIEWS not in people.columns:
        return pl.DataFrame(schema={Columns.USER_CODE: pl.Int32, "text": pl.String})
    lists = people.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias(Columns.USER_CODE), pl.col(Columns.REVIEWS).alias("text")
    )
    if isinstance(people.schema[Columns.REVIEWS], pl.List):
        lists = lists.explode("text")
    return lists.select(Columns.USER_CODE, pl.col("text").cast(pl.String)).drop_nulls()
