"""Users' texts ahead of training: what they would cost, and writing them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recmind.config import Config, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split, split_dataset
from recmind.files import write_atomic
from recmind.language.clipping import Clipper
from recmind.language.encoder import TextEncoder
from recmind.language.features import load_encoder
from recmind.language.resolve import load_tokenizer
from recmind.language.store import default_cache
from recmind.schema import Columns
from recmind.text.chat.estimate import Estimate, cost_of, estimate
from recmind.text.chat.prompts import build_prompts
from recmind.text.users import CACHE_FOLDER, UserTexts, written_user_texts


@dataclass(frozen=True)
class Profiles:
    """What :func:`write_user_profiles` did.

    Attributes
    ----------
    table:
        ``user_id``, ``writer`` (``chat``, ``template``, or null where nothing can be said), ``text`` (what the
        encoder reads), ``answer`` (what the chat model wrote, unabridged) and ``failure``.
    texts:
        The same by user code, with what the asking took.
    cost:
        Price of what was asked this time, by the tokens that the endpoint counted; ``None`` without prices.
    """

    table: pl.DataFrame
    texts: UserTexts
    cost: float | None


def plan_user_profiles(dataset: str | Path | Dataset, config: Config) -> Estimate:
    """What :func:`write_user_profiles` would ask, take and cost. Nothing is sent.

    Raises
    ------
    DataError, ConfigError, EncoderError
        As :func:`write_user_profiles`.
    """
    loaded, split, encoder, text = _ready(dataset, config)
    prompts = build_prompts(loaded, split, text, encoder.clip)
    _, tokenizer = load_tokenizer(encoder.source)
    return estimate(prompts, text.profiles, cache_of(config) / CACHE_FOLDER, Clipper(tokenizer).count, ask_again=True)


def write_user_profiles(
    dataset: str | Path | Dataset, config: Config, out: str | Path | None = None, *, show_progress: bool = True
) -> Profiles:
    """Let the chat model of ``config.text.profiles`` write about every user of a dataset.

    The answers go into the cache, where training with the same settings finds them, and with ``out`` into a
    Parquet table. What was answered before is not asked again; users who came to nothing before are.

    Raises
    ------
    DataError, ConfigError, EncoderError, EndpointError
        Each says what is wrong and what to do; see :func:`recmind.text.users.written_user_texts`.
    """
    loaded, split, encoder, text = _ready(dataset, config)
    texts = written_user_texts(
        loaded, split, text, encoder.clip, cache_of(config), ask_again=True, show_progress=show_progress
    )
    writers = [
        "chat" if answer is not None else "template" if read is not None else None
        for answer, read in zip(texts.answers, texts.texts, strict=True)
    ]
    columns = {"writer": writers, "text": texts.texts, "answer": texts.answers, "failure": texts.failures}
    table = pl.DataFrame({Columns.USER: loaded.user_ids, **columns}, schema_overrides=dict.fromkeys(columns, pl.String))
    if out is not None:
        write_atomic(out, table.write_parquet)
    written = texts.written
    cost = cost_of(written.tokens_in, written.tokens_out, text.profiles) if written else None
    return Profiles(table, texts, cost)


def cache_of(config: Config) -> Path:
    """Where embeddings and answers are kept."""
    return (config.language.cache_dir or default_cache()).expanduser()


def _ready(dataset: str | Path | Dataset, config: Config) -> tuple[Dataset, Split, TextEncoder, TextConfig]:
    loaded = dataset if isinstance(dataset, Dataset) else Dataset.load(dataset)
    split = split_dataset(loaded, config.split)
    encoder, text = load_encoder(config.text, config.language)
    return loaded, split, encoder, text
