"""What a chat model is asked about each user: rendered from training rows, with the rows kept beside the text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recmind.config import TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part, Split
from recmind.errors import DataError
from recmind.schema import Columns
from recmind.text.chat.prompt_file import RATING, REVIEW, PromptFile, load_prompt
from recmind.text.clean import plain_text
from recmind.text.profiles import TokenClipper, clipped, filled
from recmind.text.wording import fill

_ROW = "row"


@dataclass(frozen=True)
class Prompts:
    """The prompts of some users.

    Attributes
    ----------
    file:
        The prompt file that they were made with.
    users:
        Codes of the users who have something to be asked about, int32 ``(n,)``, ascending.
    texts:
        The user message about each, ``n`` texts.
    rows:
        The rows of ``dataset.interactions`` that each text was made of.
    """

    file: PromptFile
    users: np.ndarray
    texts: list[str]
    rows: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.texts)

    def messages(self, position: int) -> list[dict[str, str]]:
        """The messages of one prompt, as the endpoint takes them."""
        system = [{"role": "system", "content": self.file.system}] if self.file.system else []
        return [*system, {"role": "user", "content": self.texts[position]}]


def build_prompts(dataset: Dataset, split: Split, config: TextConfig, clip: TokenClipper) -> Prompts:
    """A prompt for every user who has a training interaction about which there is something to say.

    At most ``config.profiles.max_snippets`` interactions a user, newest first, from ``split.train`` alone:
    :func:`check_sources` makes sure of it before anything is returned.

    Raises
    ------
    ConfigError
        If the prompt file is wrong.
    DataError
        If a held-out row, or a row of another user, has got into a prompt.
    """
    file = load_prompt(config.profiles.prompt)
    entries = _entries(dataset, split.train, file, config, clip)
    by_user = (
        entries.group_by(Columns.USER_CODE, maintain_order=True)
        .agg(pl.col(_ROW), pl.col("text"))
        .sort(Columns.USER_CODE)
    )
    histories = by_user["text"].list.join(file.separator).to_list()
    users = by_user[Columns.USER_CODE].to_numpy()
    texts = [
        fill(file.user, {"history": history, "about": about})
        for history, about in zip(histories, _about(dataset, users, file, config, clip), strict=True)
    ]
    prompts = Prompts(file, users, texts, [rows.to_numpy() for rows in by_user[_ROW]])
    check_sources(prompts, dataset, split)
    return prompts


def check_sources(prompts: Prompts, dataset: Dataset, split: Split) -> None:
    """Make sure that every row behind a prompt is a training row of that very user.

    Raises
    ------
    DataError
        Naming the first user for whom it is not so.
    """
    allowed = np.zeros(dataset.n_interactions, dtype=bool)
    allowed[split.train.rows] = True
    # A row that is in two parts at once is held out.
    allowed[split.valid.rows] = allowed[split.test.rows] = False
    owners = dataset.user_codes
    for user, rows in zip(prompts.users.tolist(), prompts.rows, strict=True):
        wrong = rows[~(allowed[rows] & (owners[rows] == user))]
        if len(wrong):
            raise DataError(
                "a prompt holds an interaction that is not of the user's training part",
                where=f"user {dataset.user_ids[user]!r}",
                got=f"rows {wrong.tolist()[:5]} of the interactions",
                hint="nothing was sent; give the split that the prompts were made with",
            )


def _entries(dataset: Dataset, train: Part, file: PromptFile, config: TextConfig, clip: TokenClipper) -> pl.DataFrame:
    """The newest interactions of each user as (user, row, text), newest first."""
    item_fields = [name for name in file.fields if name in dataset.items.columns and name in config.field_tokens]
    items = pl.DataFrame([plain_text(dataset.items[name]) for name in item_fields])
    columns: dict[str, pl.Series] = {name: items[name].gather(train.items) for name in item_fields}
    rated = _ratings(dataset, train) if RATING in file.fields else None
    if REVIEW in file.fields and config.user_view == "reviews" and Columns.REVIEW in dataset.interactions.columns:
        columns[REVIEW] = plain_text(dataset.interactions[Columns.REVIEW].gather(train.rows)).alias(REVIEW)
    if not columns:
        return pl.DataFrame(schema={Columns.USER_CODE: pl.Int32, _ROW: pl.Int64, "text": pl.String})
    keys = {Columns.USER_CODE: pl.Series(train.users), _ROW: pl.Series(train.rows, dtype=pl.Int64)}
    # A rating alone says nothing without what was rated.
    frame = pl.DataFrame({**keys, **columns, **({RATING: rated} if rated is not None else {})})
    said = frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in columns))
    newest = said.reverse().group_by(Columns.USER_CODE, maintain_order=True).head(config.profiles.max_snippets)
    budgets = {**config.field_tokens, REVIEW: config.profiles.snippet_tokens}
    parts = [
        filled(newest[name] if name == RATING else clipped(newest[name], budgets[name], clip), phrase).alias(name)
        for name, phrase in file.fields.items()
        if name in newest.columns
    ]
    joined = pl.DataFrame(parts).select(pl.concat_str(pl.all(), separator=file.joined, ignore_nulls=True))
    return newest.select(Columns.USER_CODE, _ROW, filled(joined.to_series(), file.entry).alias("text"))


def _ratings(dataset: Dataset, train: Part) -> pl.Series | None:
    if Columns.RATING not in dataset.interactions.columns:
        return None
    ratings = dataset.interactions[Columns.RATING].gather(train.rows)
    return pl.Series(RATING, [None if value is None else f"{value:g}" for value in ratings], dtype=pl.String)


def _about(dataset: Dataset, users: np.ndarray, file: PromptFile, config: TextConfig, clip: TokenClipper) -> list[str]:
    """What ``users.parquet`` says about each user, in the file's words; empty where it says nothing."""
    if Columns.PROFILE not in dataset.users.columns:
        return [""] * len(users)
    known = clipped(plain_text(dataset.users[Columns.PROFILE].gather(users)), config.profile_tokens, clip)
    return filled(known, file.about).fill_null("").to_list()
