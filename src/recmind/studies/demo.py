"""The whole way on a generated shop: what ``recmind demo`` does and shows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from recmind.config import Config, load_config
from recmind.data.dataset import Dataset
from recmind.data.prepare import prepare
from recmind.data.shop import Shop, ShopConfig, generate_shop, write_raw
from recmind.pipeline import train_run
from recmind.schema import Columns
from recmind.serving.recommender import Recommender

Size = Literal["tiny", "small", "medium"]

SIZES: Final[dict[str, dict[str, Any]]] = {
    "tiny": {"n_users": 150, "n_items": 150, "mean_interactions": 8},
    "small": {},
    "medium": {"n_users": 10_000, "n_items": 6_000},
}
"""Settings of the shop by size; what is not named keeps its default."""

_EPOCHS: Final = {"tiny": 8}
"""Epochs at most where not everything that the recipe allows is wanted: `tiny` only shows that it runs."""

MODELS: Final = ("popularity", "lightgcn", "text", "recmind")
K: Final = 40
_WIDTH = 100
_SHOWN_HISTORY, _SHOWN_RECOMMENDATIONS = 5, 10


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes
    ----------
    metrics:
        By model, what its ``metrics.json`` holds.
    recommendations:
        The ten best products for :attr:`user`: ``item_id``, ``rank``, ``score``.
    user:
        The customer who is shown.
    new_item:
        The product that nobody has bought yet.
    users_for_new_item, near_new_item:
        Who would get it, and which products are nearest.
    seconds:
        Wall time of everything.
    """

    metrics: dict[str, dict[str, Any]]
    recommendations: pl.DataFrame
    user: str
    new_item: str
    users_for_new_item: pl.DataFrame
    near_new_item: pl.DataFrame
    seconds: float


def run_demo(
    out: str | Path,
    *,
    seed: int = 0,
    size: Size = "small",
    show_progress: bool = True,
    console: Console | None = None,
) -> DemoResult:
    """Generate a shop, prepare it, train four models on it, compare them, and show what they recommend.

    Parameters
    ----------
    out:
        Folder for the raw files, the dataset and a run for each model. Those of
        an earlier demo are replaced.
    seed:
        Seed of the shop and of training.
    size:
        A key of :data:`SIZES`.
    show_progress:
        Show progress bars on stderr.
    console:
        Where results are printed; by default stdout.

    Raises
    ------
    RecMindError
        If ``out`` holds something else, or the encoder is not installed.
    """
    started = time.perf_counter()
    folder = Path(out)
    console = console or _console()
    _head(console, 1, "A shop", "products, customers with tastes, reviews: generated, in the raw format of Amazon 2023")
    shop = generate_shop(ShopConfig(**SIZES[size], seed=seed), show_progress=show_progress)
    raw = write_raw(shop, folder / "raw")
    _print_shop(console, shop)

    _head(console, 2, "Prepare", "read the raw files as any others, clean the texts, drop repeated rows")
    report = prepare("amazon-2023", list(raw), folder / "dataset", show_progress=show_progress)
    dataset = Dataset.load(folder / "dataset")
    _print_dataset(console, dataset, sum(found["count"] for found in report.problems.values()))

    _head(console, 3, "Train", "each customer's last purchase is hidden for the test, the last but one validates")
    runs = {name: folder / "runs" / name for name in MODELS}
    metrics = {
        name: train_run(
            dataset, demo_config(name, folder, seed, size), run, overwrite=True, show_progress=show_progress
        )
        for name, run in runs.items()
    }

    _head(console, 4, "Compare", "how often the hidden purchase is among the best 20 or 40 of all products")
    recommenders = {name: Recommender.load(run) for name, run in runs.items()}
    _print_comparison(console, metrics, recommenders)

    recommender = recommenders["recmind"]
    user = typical_user(recommender)
    recommendations = recommender.recommend([user], k=_SHOWN_RECOMMENDATIONS, leave_out="train+valid")
    _head(console, 5, "Recommend", f"the ten best products for customer {user}, by RecMind")
    _print_recommendations(console, recommender, user, recommendations)

    new_item = unsold_item(recommender)
    takers, near = recommender.users_for(new_item, 3), recommender.similar_items(new_item, 5)
    _head(console, 6, "A product that nobody has bought yet", "RecMind knows it by its text alone")
    _print_new_item(console, recommender, new_item, takers, near)

    seconds = time.perf_counter() - started
    _print_next(console, folder, seconds)
    return DemoResult(metrics, recommendations, user, new_item, takers, near, seconds)


def demo_config(model: str, folder: Path, seed: int, size: Size = "small") -> Config:
    """The default recipe for ``model``, with everything that it writes kept below ``folder``."""
    overrides = {"seed": seed, "language.cache_dir": str(folder / "embeddings"), "evaluation.bootstrap": 200}
    if size in _EPOCHS:
        overrides["training.max_epochs"] = _EPOCHS[size]
    return load_config("default", model=model, overrides=overrides)


def typical_user(recommender: Recommender) -> str:
    """The first customer with 8 to 15 known purchases; where there is none, the one with most."""
    degrees = recommender.split.user_degrees()
    fitting = np.flatnonzero((degrees >= 8) & (degrees <= 15))
    return recommender.users[Columns.USER][int(fitting[0] if len(fitting) else degrees.argmax())]


def unsold_item(recommender: Recommender) -> str:
    """The first product without any known purchase that has a description; else any without a purchase.

    Where every product has been bought, the one that was bought least.
    """
    split = recommender.split
    bought = np.concatenate([part.items for part in (split.train, split.valid, split.test)])
    counts = np.bincount(bought, minlength=split.n_items)
    described = recommender.items[Columns.DESCRIPTION].is_not_null().to_numpy()
    return recommender.items[Columns.ITEM][int(np.lexsort((~described, counts))[0])]


# -- What is printed ------------------------------------------------------------------------------


def _console() -> Console:
    console = Console(highlight=False)
    return Console(highlight=False, width=min(_WIDTH, console.width) if console.is_terminal else _WIDTH)


def _head(console: Console, number: int, name: str, what: str) -> None:
    console.print(f"\n[bold cyan]{number}  {name}[/]  [dim]{what}[/]")


def _say(console: Console, text: str) -> None:
    console.print(Padding(text, (0, 0, 0, 3), expand=False))


def _print_shop(console: Console, shop: Shop) -> None:
    config, items = shop.config, shop.items
    _say(
        console,
        f"{config.n_users:,} customers made {shop.interactions.height:,} purchases among {config.n_items:,} products. "
        f"{config.n_new:,} are new and unsold, {items[Columns.DESCRIPTION].null_count():,} have no description, "
        f"{items[Columns.TITLE].null_count():,} no text at all.",
    )
    review = shop.interactions.filter(pl.col(Columns.REVIEW).str.len_chars() > 80).row(0, named=True)
    _say(console, f"[dim]A review, {review[Columns.RATING]:.0f} stars:[/] “{review[Columns.REVIEW]}”")


def _print_dataset(console: Console, dataset: Dataset, problems: int) -> None:
    counts = dataset.counts()
    _say(
        console,
        f"{counts['n_interactions']:,} interactions, {counts['n_items_with_text']:,} of {counts['n_items']:,} "
        f"products with text; {problems:,} damaged or repeated rows left out.",
    )


def _print_comparison(
    console: Console, metrics: Mapping[str, Mapping[str, Any]], recommenders: Mapping[str, Recommender]
) -> None:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("  model")
    for name in ("Recall@20", "Recall@40", "NDCG@20", "NDCG@40", "rare items'\nRecall@40", "rare items\nin top 40"):
        table.add_column(name, justify="right")
    table.add_column("seconds", justify="right")
    columns = {name: _row(metrics[name], recommenders[name]) for name in MODELS}
    best = {at: max(row[at] for row in columns.values()) for at in range(5)}
    for name, row in columns.items():
        cells = [f"{value:.4f}" for value in row[:5]] + [f"{row[5]:.1%}", f"{row[6]:.1f}"]
        cells = [
            f"[bold green]{cell}[/]" if at in best and row[at] == best[at] else cell for at, cell in enumerate(cells)
        ]
        table.add_row(f"  {_LABELS[name]}", *cells)
    console.print(table)
    strata = metrics["recmind"]["strata"]
    none, few = (strata.get(f"items_degree_{degree}", {}).get("n", 0) for degree in ("0", "1_3"))
    total = sum(values["n"] for name, values in strata.items() if name.startswith("items_degree_"))
    _say(
        console,
        f"Cold items: {none / total:.1%} of the {total:,} hidden purchases are of products never bought in training, "
        f"{few / total:.1%} of products bought one to three times. These are the rare items of the table.",
    )


_LABELS: Final = {"popularity": "Popularity", "lightgcn": "LightGCN", "text": "Text only", "recmind": "RecMind"}


def _row(metrics: Mapping[str, Any], recommender: Recommender) -> list[float]:
    """Numbers of one model: four metrics, Recall@40 on rare targets, share of rare items, seconds."""
    test, strata = metrics["test"], metrics["strata"]
    rare = [strata[name] for name in ("items_degree_0", "items_degree_1_3") if strata.get(name, {}).get("n")]
    n = sum(values["n"] for values in rare)
    recall = sum(values["n"] * values[f"recall@{K}"] for values in rare) / n if n else 0.0
    lists = recommender.recommend(k=K, leave_out="train+valid")
    is_rare = recommender.items.select(Columns.ITEM).with_columns(
        pl.Series("rare", recommender.split.item_degrees() <= 3)
    )
    share = lists.join(is_rare, on=Columns.ITEM, how="left")["rare"].to_numpy().mean()
    names = ("recall@20", "recall@40", "ndcg@20", "ndcg@40")
    return [*(test[name] for name in names), recall, float(share), sum(metrics["seconds"].values())]


def _print_recommendations(console: Console, recommender: Recommender, user: str, found: pl.DataFrame) -> None:
    history = recommender.history(user).head(_SHOWN_HISTORY)
    console.print("   [dim]bought before, latest first[/]")
    for row in history.iter_rows(named=True):
        console.print(f"     · {_name(row)}", overflow="ellipsis", no_wrap=True)
    degrees = dict(zip(recommender.items[Columns.ITEM], recommender.split.item_degrees(), strict=True))
    test = recommender.split.test
    code = recommender.users[Columns.USER].to_list().index(user)
    hidden = set(recommender.items[Columns.ITEM].gather(test.items[test.users == code].astype(np.int64)))
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("    ", justify="right")
    table.add_column("recommended", no_wrap=True, overflow="ellipsis", max_width=58)
    table.add_column("department", no_wrap=True, overflow="ellipsis", max_width=24)
    table.add_column("buyers", justify="right", min_width=6)
    joined = found.join(recommender.items, on=Columns.ITEM, how="left", maintain_order="left")
    for row in joined.iter_rows(named=True):
        mark = " [bold green]← bought next[/]" if row[Columns.ITEM] in hidden else ""
        table.add_row(str(row[Columns.RANK]), _name(row) + mark, _department(row), f"{degrees[row[Columns.ITEM]]:,}")
    console.print(table)


def _print_new_item(
    console: Console, recommender: Recommender, item: str, takers: pl.DataFrame, near: pl.DataFrame
) -> None:
    row = recommender.items.row(by_predicate=pl.col(Columns.ITEM) == item, named=True)
    console.print(f"   [bold]{_name(row)}[/]")
    if row[Columns.DESCRIPTION]:
        _say(console, f"[dim]{escape(row[Columns.DESCRIPTION])}[/]")
    console.print("   nearest products")
    for title in near.join(recommender.items, on=Columns.ITEM, how="left", maintain_order="left").iter_rows(named=True):
        console.print(f"     · {_name(title)}  [dim]{_department(title)}[/]", overflow="ellipsis", no_wrap=True)
    console.print("   would be offered first to")
    for user in takers[Columns.USER]:
        recent = [_name(bought) for bought in recommender.history(user).head(2).iter_rows(named=True)]
        console.print(f"     · {user}, who bought {'; '.join(recent)}", overflow="ellipsis", no_wrap=True)


def _print_next(console: Console, folder: Path, seconds: float) -> None:
    console.print(
        f"\n[bold]Done[/] in {seconds:.0f} s; everything is below {folder}. Look at it in a browser:\n\n"
        f"  recmind serve {folder / 'runs' / 'recmind'}\n\n"
        "Then with your own tables:\n\n"
        "  recmind prepare table --interactions purchases.csv --items products.csv --out data/mine\n"
        "  recmind train data/mine --out runs/mine\n"
    )


def _name(row: Mapping[str, Any]) -> str:
    return escape(row.get(Columns.TITLE) or f"(no title, {row[Columns.ITEM]})")


def _department(row: Mapping[str, Any]) -> str:
    categories = row.get(Columns.CATEGORIES)
    if isinstance(categories, str):
        return categories
    return " > ".join(categories or [])
