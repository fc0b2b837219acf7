"""The words of the shop: ``lexicon.toml`` as flat tables that numpy can draw from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import polars as pl

_FIELD = re.compile(r"\{(\w+)\}")


class Wordings:
    """For each concept its wordings, in one flat table."""

    def __init__(self, groups: Iterable[Sequence[str]]) -> None:
        lists = [list(group) for group in groups]
        self.lengths = np.array([len(group) for group in lists], dtype=np.int64)  # (n_concepts,)
        self.starts = np.cumsum(self.lengths) - self.lengths  # (n_concepts,)
        self.flat = pl.Series([word for group in lists for word in group], dtype=pl.String)

    def pick(self, concepts: np.ndarray, draws: np.ndarray) -> pl.Series:
        """Wording number ``draws`` (modulo their count) of each of ``concepts``, both ``(n,)``."""
        return self.flat.gather(self.starts[concepts] + draws % self.lengths[concepts])


@dataclass(frozen=True)
class Lexicon:
    """All concepts, numbered through over the departments.

    Attributes
    ----------
    departments, kinds, themes:
        Names; the position is the code.
    kind_department, kind_price:
        Department ``(n_kinds,)`` and price range ``(n_kinds, 2)`` of each kind of product.
    first_facet, n_facets, first_purpose, n_purposes:
        Range of facet and purpose codes of each department, ``(n_departments,)``.
    allowed_themes:
        Which themes a department knows, bool ``(n_departments, n_themes)``.
    season:
        Whether a department is in season, bool ``(n_departments, 12)``.
    words:
        Wordings by name: ``nouns`` and ``kind_lines`` by kind; ``facets``,
        ``purposes``; ``facet_lines`` and ``sizes`` by department;
        ``theme_words``, ``theme_lines``, ``praise`` and ``person`` by theme.
    raw:
        The file as read, for what is not drawn by concept.
    """

    departments: list[str]
    kinds: list[str]
    themes: list[str]
    facet_labels: list[str]
    coloured: np.ndarray
    kind_department: np.ndarray
    kind_price: np.ndarray
    first_facet: np.ndarray
    n_facets: np.ndarray
    first_purpose: np.ndarray
    n_purposes: np.ndarray
    allowed_themes: np.ndarray
    season: np.ndarray
    words: dict[str, Wordings]
    raw: dict[str, Any]


@cache
def load_lexicon() -> Lexicon:
    """The lexicon that comes with the package."""
    raw = tomllib.loads((resources.files("recmind.data.shop") / "lexicon.toml").read_text(encoding="utf-8"))
    departments, themes = raw["departments"], raw["themes"]
    kinds = [(d, kind) for d, department in enumerate(departments) for kind in department["kinds"]]
    n_facets = np.array([len(department["facets"]) for department in departments])
    n_purposes = np.array([len(department["purposes"]) for department in departments])
    words = {
        "nouns": Wordings(kind["nouns"] for _, kind in kinds),
        "kind_lines": Wordings(kind["lines"] for _, kind in kinds),
        "facets": Wordings(words for department in departments for words in department["facets"].values()),
        "purposes": Wordings(words for department in departments for words in department["purposes"].values()),
        "facet_lines": Wordings(department["facet_lines"] for department in departments),
        "sizes": Wordings(department["sizes"] for department in departments),
        "theme_words": Wordings(theme["words"] for theme in themes.values()),
        "theme_lines": Wordings(theme["lines"] for theme in themes.values()),
        "praise": Wordings(theme["praise"] for theme in themes.values()),
        "person": Wordings(theme["person"] for theme in themes.values()),
    }
    return Lexicon(
        departments=[department["name"] for department in departments],
        kinds=[kind["name"] for _, kind in kinds],
        themes=[theme["label"] for theme in themes.values()],
        facet_labels=[department["facet"] for department in departments],
        coloured=np.array([department["coloured"] for department in departments]),
        kind_department=np.array([d for d, _ in kinds]),
        kind_price=np.array([kind["price"] for _, kind in kinds], dtype=np.float64),
        first_facet=np.cumsum(n_facets) - n_facets,
        n_facets=n_facets,
        first_purpose=np.cumsum(n_purposes) - n_purposes,
        n_purposes=n_purposes,
        allowed_themes=np.array([[name not in d["without"] for name in themes] for d in departments]),
        season=np.array([[month in d["months"] for month in range(1, 13)] for d in departments]),
        words=words,
        raw=raw,
    )


def fill(templates: Sequence[str], choice: np.ndarray, columns: pl.DataFrame) -> pl.Series:
    """``templates[choice]`` with ``{name}`` replaced from ``columns``, row by row.

    Parameters
    ----------
    templates:
        Texts with names of columns in braces.
    choice:
        Number of the template of each row, ``(n,)``; -1 gives null.
    columns:
        ``n`` rows of strings.

    Returns
    -------
    pl.Series
        ``(n,)`` strings.
    """
    rows = [np.flatnonzero(choice == number) for number in range(-1, len(templates))]
    parts = [pl.Series([None] * len(rows[0]), dtype=pl.String)]
    for template, mine in zip(templates, rows[1:], strict=True):
        names = _FIELD.findall(template)
        if names:
            parts.append(columns[mine].select(pl.format(_FIELD.sub("{}", template), *names)).to_series())
        else:
            parts.append(pl.Series([template], dtype=pl.String).new_from_index(0, len(mine)))
    back = np.argsort(np.concatenate(rows))
    return pl.concat([part.rename("text") for part in parts]).gather(back)


def sentence_case(texts: pl.Series) -> pl.Series:
    """``texts`` with a capital first letter."""
    return texts.str.slice(0, 1).str.to_uppercase() + texts.str.slice(1)
