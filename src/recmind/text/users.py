"""Texts of users as the settings say: by the template, or by a chat model with the template to fall back on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recmind.config import TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split
from recmind.text.chat.prompt_file import load_prompt
from recmind.text.chat.prompts import build_prompts
from recmind.text.chat.writer import Written, describe_failures, write_profiles
from recmind.text.profiles import TokenClipper, clipped, filled, user_texts
from recmind.text.wording import Phrase

CACHE_FOLDER = "profiles"
"""Folder of the answers of chat models inside the cache."""


@dataclass(frozen=True)
class UserTexts:
    """What the encoder reads about each user.

    Attributes
    ----------
    texts:
        One text per user, or ``None`` where there is nothing to say.
    answers:
        What a chat model wrote about each user, unabridged; ``None`` where it did not.
    failures:
        Why a user who was asked about has the template's text, else ``None``.
    written:
        What the asking took, where a chat model was asked.
    """

    texts: list[str | None]
    answers: list[str | None]
    failures: list[str | None]
    written: Written | None = None


def written_user_texts(
    dataset: Dataset,
    split: Split,
    config: TextConfig,
    clip: TokenClipper,
    cache_dir: Path,
    *,
    ask_again: bool = False,
    show_progress: bool = True,
) -> UserTexts:
    """One text per user from ``split.train`` alone, by the writer that ``config.profiles`` names.

    A chat model's answer stands behind the instruction and is cut to ``config.max_tokens``, as a template's text
    is. Users without a usable answer keep the template's text, and a warning says how many they are.

    Parameters
    ----------
    cache_dir:
        The cache; answers are kept in its folder :data:`CACHE_FOLDER`.
    ask_again:
        Ask again about users whom an earlier call could not get a usable answer for.

    Raises
    ------
    ConfigError
        If the template, the prompt file or the instruction is wrong, or the API key is missing.
    DataError
        If held-out rows got into a prompt, or the cache cannot be used.
    EndpointError
        If the endpoint refuses, cannot be reached, or fails for too many users.
    """
    texts = user_texts(dataset, split.train, config, clip)
    nobody: list[str | None] = [None] * dataset.n_users
    if config.profiles.writer == "template":
        return UserTexts(texts, nobody, nobody)
    prompts = build_prompts(dataset, split, config, clip)
    folder = cache_dir / CACHE_FOLDER
    written = write_profiles(prompts, config.profiles, folder, ask_again=ask_again, show_progress=show_progress)
    answers, failures = list(nobody), list(nobody)
    for user, answer in zip(prompts.users.tolist(), written.answers, strict=True):
        answers[user], failures[user] = answer.text, answer.failure
    instructed = filled(pl.Series(answers, dtype=pl.String), Phrase(config.user_instruction, ""))
    read = clipped(instructed, config.max_tokens, clip)
    if written.failures:
        warnings.warn(
            f"{written.failures.total():,} of {len(prompts):,} users keep the template's text "
            f"({describe_failures(written.failures)}); `recmind profiles` asks about them again",
            stacklevel=2,
        )
    return UserTexts(
        [new if new is not None else old for new, old in zip(read, texts, strict=True)],
        answers,
        failures,
        written,
    )


def writer_manifest(config: TextConfig) -> dict[str, Any]:
    """Who writes the users' texts, for the run folder; empty for the template."""
    if config.profiles.writer == "template":
        return {}
    file = load_prompt(config.profiles.prompt)
    return {"profiles": {"model": config.profiles.model, "prompt": file.name, "prompt_hash": file.version}}
