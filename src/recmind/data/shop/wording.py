"""What the shop writes about its products."""

from __future__ import annotations

import numpy as np
import polars as pl

from recmind.data.shop.lexicon import Lexicon, fill, sentence_case
from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.world import World
from recmind.schema import Columns

FEATURES = "features"
ADDED = "added"


def write_items(config: ShopConfig, world: World) -> pl.DataFrame:
    """The table of products: one row per product, texts in their own words.

    Returns
    -------
    pl.DataFrame
        ``item_id``, ``title``, ``brand``, ``categories`` (list), ``features``
        (list of sentences), ``attributes`` (list of ``"name: value"``),
        ``description``, ``price``, ``added`` (seconds since 1970). What is
        missing is null or an empty list.
    """
    rng = np.random.default_rng([config.seed, 5])
    n, lexicon = world.n_items, world.lexicon
    columns = _columns(world, rng)
    kind_draws = rng.integers(1 << 20, size=n)
    sentences = _sentences(world, columns, kind_draws, rng)
    features = [
        lexicon.words["kind_lines"].pick(world.kind, kind_draws + 2),
        sentence_case(lexicon.words["theme_words"].pick(world.theme, rng.integers(1 << 20, size=n))) + ".",
    ]
    items = pl.DataFrame(
        {
            Columns.ITEM: item_ids(n),
            Columns.TITLE: _titles(world, columns, rng),
            Columns.BRAND: columns["brand"],
            Columns.CATEGORIES: _categories(world, rng),
            FEATURES: pl.DataFrame(features).select(pl.concat_list(pl.all())).to_series(),
            Columns.ATTRIBUTES: _attributes(world, columns, rng),
            Columns.DESCRIPTION: _shuffled(sentences, rng),
            Columns.PRICE: world.price.round(2),
            ADDED: world.added,
        }
    )
    return _with_gaps(config, items, rng)


def item_ids(n: int) -> pl.Series:
    """Ids of products, ten characters like the published ones."""
    return pl.select("B0" + pl.int_range(n).cast(pl.String).str.zfill(8)).to_series()


def _columns(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """One wording of each concept of each product, ``n`` rows."""
    lexicon, n = world.lexicon, world.n_items

    def draw(name: str, concepts: np.ndarray) -> pl.Series:
        return lexicon.words[name].pick(concepts, rng.integers(1 << 20, size=n))

    return pl.DataFrame(
        {
            "brand": pl.Series(world.brand_names).gather(world.brand),
            "noun": draw("nouns", world.kind),
            "theme": draw("theme_words", world.theme),
            "facet": draw("facets", world.facet),
            "purpose": draw("purposes", world.purpose),
            "size": draw("sizes", world.department),
            "model": pl.Series(lexicon.raw["models"]).gather(rng.integers(len(lexicon.raw["models"]), size=n)),
            "colour": pl.Series(lexicon.raw["colours"]).gather(rng.integers(len(lexicon.raw["colours"]), size=n)),
        }
    )


def _titles(world: World, columns: pl.DataFrame, rng: np.random.Generator) -> pl.Series:
    templates = world.lexicon.raw["phrases"]["title"]
    forms = [department["facet_title"] for department in world.lexicon.raw["departments"]]
    columns = columns.with_columns(fill(forms, world.department, columns).alias("facet"))
    titles = sentence_case(fill(templates, rng.integers(len(templates), size=world.n_items), columns))
    named = world.lexicon.coloured[world.department] & (rng.random(world.n_items) < 0.4)
    return pl.select(pl.when(pl.Series(named)).then(titles + ", " + columns["colour"]).otherwise(titles)).to_series()


def _sentences(
    world: World, columns: pl.DataFrame, kind_draws: np.ndarray, rng: np.random.Generator
) -> list[pl.Series]:
    """Sentences of the descriptions; each concept is left out (null) now and then."""
    lexicon, n = world.lexicon, world.n_items
    again = _columns(world, rng)  # other words than in the title

    def some(share: float, n_templates: int) -> np.ndarray:
        return np.where(rng.random(n) < share, rng.integers(n_templates, size=n), -1)

    phrases = lexicon.raw["phrases"]
    facet_line = lexicon.words["facet_lines"].pick(world.department, rng.integers(1 << 20, size=n))
    facet = _fill_one(facet_line, "facet", again["facet"])
    kept = pl.Series(rng.random(n) < 0.75)
    theme_draws = rng.integers(1 << 20, size=n)
    second = pl.Series(rng.random(n) < 0.3)
    return [
        lexicon.words["kind_lines"].pick(world.kind, kind_draws),
        _keep(lexicon.words["kind_lines"].pick(world.kind, kind_draws + 1), second),
        lexicon.words["theme_lines"].pick(world.theme, theme_draws),
        _keep(lexicon.words["theme_lines"].pick(world.theme, theme_draws + 1), pl.Series(rng.random(n) < 0.3)),
        fill(phrases["purpose"], some(0.85, len(phrases["purpose"])), again),
        _keep(facet, kept),
        fill(phrases["size"], some(0.3, len(phrases["size"])), columns),
    ]


def _fill_one(templates: pl.Series, name: str, values: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"template": templates, "value": values})
    return (
        frame.select(pl.col("template").str.replace_many([f"{{{name}}}"], ["\0"]).str.split("\0"))
        .select(pl.col("template").list.get(0) + values + pl.col("template").list.get(1))
        .to_series()
    )


def _keep(texts: pl.Series, where: pl.Series) -> pl.Series:
    return pl.select(pl.when(where).then(texts)).to_series()


def _shuffled(sentences: list[pl.Series], rng: np.random.Generator) -> pl.Series:
    """The sentences of each row, joined in a random order; null ones are skipped."""
    table = np.stack([column.to_numpy() for column in sentences], axis=1)  # (n, n_sentences) of objects
    table = np.take_along_axis(table, rng.random(table.shape).argsort(1), axis=1)
    columns = [pl.Series(str(place), list(table[:, place]), dtype=pl.String) for place in range(table.shape[1])]
    return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True)).to_series()


def _categories(world: World, rng: np.random.Generator) -> pl.Series:
    """Department, and for four products in five the kind."""
    lexicon = world.lexicon
    department = pl.Series(lexicon.departments).gather(world.department)
    kind = _keep(pl.Series(lexicon.kinds).gather(world.kind), pl.Series(rng.random(world.n_items) < 0.8))
    return pl.DataFrame({"a": department, "b": kind}).select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()


def _attributes(world: World, columns: pl.DataFrame, rng: np.random.Generator) -> pl.Series:
    """Lines such as ``Material: oak``; each is there or not."""
    lexicon: Lexicon = world.lexicon
    labels = pl.Series(lexicon.facet_labels).gather(world.department)
    facet = lexicon.words["facets"].pick(world.facet, rng.integers(1 << 20, size=world.n_items))
    coloured = pl.Series(lexicon.coloured[world.department])
    lines = pl.DataFrame(
        {
            "facet": _keep(labels + ": " + facet, pl.Series(rng.random(world.n_items) < 0.7)),
            "size": _keep("Size: " + columns["size"], pl.Series(rng.random(world.n_items) < 0.6)),
            "colour": _keep("Colour: " + columns["colour"], coloured),
        }
    )
    return lines.select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()


def _with_gaps(config: ShopConfig, items: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Take texts away from the set shares of products, and leave HTML in some descriptions."""
    n = items.height
    order = rng.permutation(n)
    n_none, n_bare = round(n * config.share_no_text), round(n * config.share_no_description)
    none, bare, html = (np.zeros(n, dtype=bool) for _ in range(3))
    none[order[:n_none]] = True
    bare[order[: n_none + n_bare]] = True
    html[order[n_none + n_bare :]] = rng.random(n - n_none - n_bare) < config.share_html
    description = pl.col(Columns.DESCRIPTION)
    dirty = (
        "<p>" + description.str.replace_all(". ", ".<br />", literal=True).str.replace_all("'", "&#39;") + "&nbsp;</p>"
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    gone, short = pl.Series(none), pl.Series(bare)
    return items.with_columns(
        pl.when(short).then(None).when(pl.Series(html)).then(dirty).otherwise(description).alias(Columns.DESCRIPTION),
        pl.when(short).then(empty).otherwise(FEATURES).alias(FEATURES),
        *[pl.when(gone).then(None).otherwise(name).alias(name) for name in (Columns.TITLE, Columns.BRAND)],
        *[pl.when(gone).then(empty).otherwise(name).alias(name) for name in (Columns.CATEGORIES, Columns.ATTRIBUTES)],
    )
