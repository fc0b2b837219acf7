"""Which columns of the results a report shows, and their rows by variant."""

from __future__ import annotations

from typing import Any

import polars as pl

Groups = dict[Any, list[dict[str, Any]]]

STRATA = ("0", "1_3", "4_10", "11_50", "over_50")
"""Training degrees as the columns call them."""


def shown_metrics(results: pl.DataFrame) -> list[str]:
    """Recall and NDCG at the two largest cutoffs, as the columns call them without ``test.``."""
    names = [name.removeprefix("test.") for name in results.columns if name.startswith("test.")]
    cutoffs = sorted(int(name.partition("@")[2]) for name in names if name.startswith("ndcg@") and name.count(".") == 0)
    return [f"{metric}@{k}" for k in cutoffs[-2:] for metric in ("recall", "ndcg")]


def groups(results: pl.DataFrame, *keys: str) -> Groups:
    """Rows by variant, or by other columns, in the order of the table."""
    found: Groups = {}
    for row in results.iter_rows(named=True):
        key = tuple(row[name] for name in keys) if keys else row["variant"]
        found.setdefault(key, []).append(row)
    return found


def in_words(stratum: str) -> str:
    """A training degree as it is read.

    >>> in_words("1_3"), in_words("over_50"), in_words("0")
    ('1 to 3', 'over 50', '0')
    """
    return stratum.replace("over_", "over ").replace("_", " to ")
