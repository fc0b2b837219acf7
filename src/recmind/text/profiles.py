"""Profiles: one text per item from its fields, one per user from recent training interactions.

Budgets are counted by the tokenizer of the language model, which comes in as a
function, so that this room knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from recmind.config import TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part
from recmind.errors import ConfigError
from recmind.schema import Columns
from recmind.text.clean import plain_text
from recmind.text.template import TEMPLATE_FIELDS, Phrase, Template, load_template

TokenClipper = Callable[[Sequence[str], int], list[str]]
"""``clip(texts, n)``: each text cut at the end to at most ``n`` tokens, special tokens not counted."""


def item_texts(items: pl.DataFrame, config: TextConfig, clip: TokenClipper) -> list[str | None]:
    """One text per row of ``items``, or ``None`` where there is nothing to say.

    Each field is cut to ``config.field_tokens``, put into the template's
    phrase, joined with the others behind the instruction, and the whole is cut
    to ``config.max_tokens``.

    Raises
    ------
    ConfigError
        If the template or a field name is wrong, or the instruction alone
        fills the budget.
    """
    template = load_template(config.template)
    _check_fields(config)
    _check_instruction("item_instruction", config.item_instruction, config, clip)
    fields = pl.DataFrame(
        {
            name: filled(clipped(plain_text(items[name]), config.field_tokens[name], clip), phrase)
            for name, phrase in template.item_fields.items()
            if name in items.columns and name in config.field_tokens
        }
    )
    if not fields.width:
        return [None] * items.height
    empty = pl.all_horizontal(pl.all().is_null())
    joined = pl.concat_str(pl.all(), separator=template.item_separator, ignore_nulls=True)
    body = fields.select(pl.when(~empty).then(joined).alias("text")).to_series()
    whole = filled(body, Phrase(config.item_instruction + template.item.before, template.item.after))
    return clipped(whole, config.max_tokens, clip).to_list()


def user_texts(dataset: Dataset, train: Part, config: TextConfig, clip: TokenClipper) -> list[str | None]:
    """One text per user from the rows in ``train`` alone, ``None`` where there is nothing to say.

    At most ``config.max_snippets`` (M_u) snippets, newest first. With
    ``user_view = "reviews"`` they are the user's reviews, and titles for users
    who wrote none; else titles of the user's items. What ``users.parquet``
    says in ``profile`` stands in front.

    Raises
    ------
    ConfigError
        If the template is wrong or the instruction alone fills the budget.
    """
    template = load_template(config.template)
    _check_instruction("user_instruction", config.user_instruction, config, clip)
    by_user = pl.DataFrame({Columns.USER_CODE: pl.int_range(dataset.n_users, dtype=pl.Int32, eager=True)})
    for kind, snippets in (("reviews", _reviews(dataset, train, config)), ("titles", _titles(dataset, train))):
        joined = _joined(snippets, kind, template, config, clip)
        by_user = by_user.join(joined, on=Columns.USER_CODE, how="left", maintain_order="left")
    parts = [pl.coalesce("reviews", "titles")]
    if Columns.PROFILE in dataset.users.columns:
        about = clipped(plain_text(dataset.users[Columns.PROFILE]), config.profile_tokens, clip)
        by_user = by_user.with_columns(filled(about, template.user["profile"]).alias("about"))
        parts.insert(0, pl.col("about"))
    empty = pl.all_horizontal(part.is_null() for part in parts)
    body = by_user.select(pl.when(~empty).then(pl.concat_str(parts, separator=". ", ignore_nulls=True)).alias("text"))
    return clipped(filled(body.to_series(), Phrase(config.user_instruction, "")), config.max_tokens, clip).to_list()


def _reviews(dataset: Dataset, train: Part, config: TextConfig) -> pl.DataFrame:
    """Training reviews as (user, text), each user's oldest first."""
    if config.user_view != "reviews" or Columns.REVIEW not in dataset.interactions.columns:
        return pl.DataFrame(schema={Columns.USER_CODE: pl.Int32, "text": pl.String})
    return _snippets(train, plain_text(dataset.interactions[Columns.REVIEW].gather(train.rows)))


def _titles(dataset: Dataset, train: Part) -> pl.DataFrame:
    """Titles of the training items as (user, text), each user's oldest first."""
    if Columns.TITLE not in dataset.items.columns:
        return pl.DataFrame(schema={Columns.USER_CODE: pl.Int32, "text": pl.String})
    return _snippets(train, plain_text(dataset.items[Columns.TITLE]).gather(train.items))


def _snippets(train: Part, texts: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({Columns.USER_CODE: train.users, "text": texts}).filter(pl.col("text").is_not_null())


def _joined(
    snippets: pl.DataFrame, kind: str, template: Template, config: TextConfig, clip: TokenClipper
) -> pl.DataFrame:
    """The newest M_u snippets of each user as one text, (user, ``kind``)."""
    newest = snippets.reverse().group_by(Columns.USER_CODE, maintain_order=True).head(config.max_snippets)
    cut = clipped(newest["text"], config.snippet_tokens, clip)
    newest = newest.with_columns(filled(cut, template.user[kind[:-1]]).alias("text"))
    lists = newest.group_by(Columns.USER_CODE, maintain_order=True).agg(pl.col("text"))
    texts = lists["text"].list.join(template.user_separator)
    return lists.select(Columns.USER_CODE, filled(texts, template.user[kind]).alias(kind))


def clipped(texts: pl.Series, budget: int, clip: TokenClipper) -> pl.Series:
    """``texts`` cut to ``budget`` tokens, each distinct text cut once."""
    distinct = texts.drop_nulls().unique(maintain_order=True)
    cut = pl.Series(clip(distinct.to_list(), budget), dtype=pl.String)
    return texts.replace_strict(distinct, cut, default=None, return_dtype=pl.String) if len(distinct) else texts


def filled(texts: pl.Series, phrase: Phrase) -> pl.Series:
    """``texts`` put into ``phrase``; null stays null."""
    filled = pl.concat_str(pl.lit(phrase.before), pl.col("text"), pl.lit(phrase.after))
    return pl.DataFrame({"text": texts}).select(filled.alias(texts.name)).to_series()


def _check_fields(config: TextConfig) -> None:
    unknown = [name for name in config.field_tokens if name not in TEMPLATE_FIELDS]
    if unknown:
        raise ConfigError(
            "unknown item fields", where="text.field_tokens", got=", ".join(unknown), accepted=TEMPLATE_FIELDS
        )


def _check_instruction(key: str, instruction: str, config: TextConfig, clip: TokenClipper) -> None:
    if instruction.strip() and clip([instruction + " x"], config.max_tokens) != [instruction + " x"]:
        raise ConfigError(
            f"the instruction leaves no room for the text within {config.max_tokens} tokens",
            where=f"text.{key}",
            got=instruction,
            hint="shorten it or raise text.max_tokens",
        )
