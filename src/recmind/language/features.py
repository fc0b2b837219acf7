"""Language features of a dataset: one vector per item and per user, from training data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recmind.config import LanguageConfig, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part, Split
from recmind.language.encoder import TextEncoder
from recmind.language.prompts import with_prompts
from recmind.language.source import find_model
from recmind.language.store import EmbeddingStore, default_cache
from recmind.text.profiles import item_texts
from recmind.text.template import prompt_version
from recmind.text.users import writer_manifest, written_user_texts


@dataclass(frozen=True)
class LanguageFeatures:
    """What the language model says about items and users.

    Attributes
    ----------
    items, users:
        L2-normalised vectors, float32 ``(n_items, d_lm)`` and ``(n_users, d_lm)``;
        zero where nothing is known.
    items_known, users_known:
        Whether there is a text, bool ``(n_items,)`` and ``(n_users,)``.
    encoder:
        What made the vectors: model, revision, hashes, pooling, dtype, prompt
        version and d_lm.
    """

    items: np.ndarray
    items_known: np.ndarray
    users: np.ndarray
    users_known: np.ndarray
    encoder: dict[str, Any]


def language_features(
    dataset: Dataset,
    split: Split,
    text: TextConfig,
    language: LanguageConfig,
    *,
    show_progress: bool = True,
) -> LanguageFeatures:
    """Vectors of all items and users of ``dataset``.

    Items are described by their own fields, users by rows of ``split.train``
    alone. With ``text.user_view = "items"`` a user is the normalised mean of the
    vectors of the user's training items that have text. With ``"reviews"`` or
    ``"titles"`` it is the vector of the user's text, and that mean where a user
    has no text.

    Raises
    ------
    ConfigError
        If the prompt template or a text setting is wrong.
    EncoderError
        If the language model cannot be found, verified or loaded.
    EndpointError
        If a chat model is to write about the users and cannot.
    """
    encoder, text = load_encoder(text, language)
    store = EmbeddingStore(encoder, language.cache_dir, prompt_version(text))
    described, spoken = node_texts(dataset, split, text, encoder, show_progress=show_progress)
    vectors, known = encoded([*described, *spoken], store, show_progress)
    items, items_known = vectors[: dataset.n_items], known[: dataset.n_items]
    users, users_known = vectors[dataset.n_items :], known[dataset.n_items :]
    means, means_known = mean_of_items(items, items_known, split.train, dataset.n_users)
    users = np.where(users_known[:, None], users, means)
    return LanguageFeatures(items, items_known, users, users_known | means_known, encoder_manifest(encoder, text))


def node_texts(
    dataset: Dataset, split: Split, text: TextConfig, encoder: TextEncoder, *, show_progress: bool = True
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Texts of all items and of all users, ``None`` where there is nothing to say.

    With ``text.user_view = "items"`` no user has a text; otherwise the template writes it, or the chat model of
    ``text.profiles``, see :func:`recmind.text.users.written_user_texts`.
    """
    described = item_texts(dataset.items, text, encoder.clip)
    if text.user_view == "items":
        return described, [None] * dataset.n_users
    cache = (encoder.config.cache_dir or default_cache()).expanduser()
    return described, written_user_texts(dataset, split, text, encoder.clip, cache, show_progress=show_progress).texts


def load_encoder(
    text: TextConfig, language: LanguageConfig, adapters: Path | None = None
) -> tuple[TextEncoder, TextConfig]:
    """The language model, with the adapters of a folder where one is given, and the settings of the texts with the
    prompts that it declares.

    Raises
    ------
    ConfigError
        If an instruction is given twice.
    EncoderError
        If the language model cannot be found, verified or loaded, or has no such prompt.
    """
    source = find_model(language)
    text = with_prompts(source, text, language)
    return TextEncoder(source, language, (text.item_instruction, text.user_instruction), adapters), text


def encoder_manifest(encoder: TextEncoder, text: TextConfig) -> dict[str, Any]:
    """What made the vectors of a run: the encoder, and how its texts were written."""
    written = {"prompt_version": prompt_version(text), "user_view": text.user_view}
    instructions = {key: getattr(text, key) for key in ("item_instruction", "user_instruction") if getattr(text, key)}
    return {**encoder.manifest(), **written, **instructions, **writer_manifest(text)}


def encode_items(
    items: pl.DataFrame,
    text: TextConfig,
    language: LanguageConfig,
    *,
    adapters: Path | None = None,
    show_progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors ``(n, d_lm)`` and known marks ``(n,)`` of items, as :func:`language_features` makes them.

    For items that were not there in training, with the adapters of the run
    where it has some; the same errors are raised.
    """
    encoder, text = load_encoder(text, language, adapters)
    store = EmbeddingStore(encoder, language.cache_dir, prompt_version(text))
    return encoded(item_texts(items, text, encoder.clip), store, show_progress)


def mean_of_items(items: np.ndarray, known: np.ndarray, train: Part, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised mean of the vectors of each user's training items that have text.

    Parameters
    ----------
    items, known:
        Item vectors ``(n_items, d_lm)`` and whether each has a text ``(n_items,)``.
    train:
        The training interactions.

    Returns
    -------
    User vectors float32 ``(n_users, d_lm)``, zero for users without such an
    item, and which users have one, bool ``(n_users,)``.
    """
    from scipy.sparse import csr_array

    rows = known[train.items]
    ones = np.ones(int(rows.sum()), dtype=np.float32)
    bought = csr_array((ones, (train.users[rows], train.items[rows])), shape=(n_users, len(items)))
    sums = np.asarray(bought @ items, dtype=np.float32)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Vectors that cancel out leave no direction, only rounding.
    counts = np.bincount(train.users[rows], minlength=n_users)
    found = lengths[:, 0] > 1e-6 * np.maximum(counts, 1)
    return np.where(found[:, None], sums / np.maximum(lengths, 1e-12), 0).astype(np.float32), found


def encoded(texts: Sequence[str | None], store: EmbeddingStore, show_progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vectors ``(n, d_lm)``, zero where there is no text, and where there is one ``(n,)``."""
    known = np.array([text is not None for text in texts], dtype=bool)
    vectors = np.zeros((len(texts), store.encoder.dim), dtype=np.float32)
    vectors[known] = store.vectors([text for text in texts if text is not None], show_progress=show_progress)
    return vectors, known
