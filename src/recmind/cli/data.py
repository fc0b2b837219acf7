"""Commands about data: demo, prepare."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

from cyclopts import Parameter

from recmind.cli.options import Flag
from recmind.config import PrepareConfig

SourceName = Literal["amazon-2014", "amazon-2018", "amazon-2023", "yelp", "movielens", "recbole", "table"]

ShopSize = Literal["tiny", "small", "medium"]

_KEEP_ALL = PrepareConfig()


def prepare(
    source: SourceName,
    /,
    *paths: Path,
    out: Path,
    interactions: Path | None = None,
    items: Path | None = None,
    users: Path | None = None,
    columns: Annotated[
        tuple[str, ...],
        Parameter(name=["--columns", "--column"], consume_multiple=True, negative="", show_default=False),
    ] = (),
    config: Annotated[PrepareConfig, Parameter(name="*")] = _KEEP_ALL,
    quiet: Flag = False,
) -> None:
    """Make a dataset folder from raw files.

    What each file holds is told by its name and first line; gzip is read as it is. Texts are cleaned,
    repeated interactions removed; what is wrong is counted and shown with file and line.

        recmind prepare amazon-2014 reviews_Beauty.json.gz meta_Beauty.json.gz \\
            --out data/beauty --min-user-interactions 5 --min-item-interactions 5
        recmind prepare movielens ml-1m/ --out data/ml-1m --min-rating 4
        recmind prepare yelp yelp_academic_dataset_business.json \\
            yelp_academic_dataset_review.json --out data/yelp
        recmind prepare table --interactions orders.csv --items products.csv \\
            --columns user=customer item=sku --out data/shop

    Parameters
    ----------
    source:
        Format of the files; `table` is any Parquet, CSV, TSV or JSON-lines table with named columns.
    paths:
        Files and folders, in any order.
    out:
        Dataset folder to write. A dataset that is there is replaced, any other folder is left alone.
    interactions:
        File of interactions, where that is to be said rather than told from the file.
    items:
        File of items and their texts, likewise.
    users:
        File of users, likewise.
    columns:
        How your columns are called, as `ours=yours`: `user=customer item=sku time=bought_at`. Ours are
        user, item, time, order, rating, review, title, brand, categories, attributes, description, price, profile.
        Usual names are found without being told; `time=` says that there is no such column, whatever it is called.
    quiet:
        No progress bar and no report.
    """
    from recmind.data.prepare import prepare as prepare_dataset

    report = prepare_dataset(
        source,
        paths,
        out,
        config,
        columns=_mapping(columns),
        interactions=interactions,
        items=items,
        users=users,
        show_progress=not quiet,
    )
    if not quiet:
        print(report)
        run = Path("runs") / out.resolve().name
        print(f"\nNext:\n  recmind train {quote(str(out))} --out {quote(str(run))}")


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    """``("user=customer",)`` as ``{"user": "customer"}``."""
    from recmind.errors import ConfigError

    pairs = [text.partition("=") for text in columns]
    for text, (ours, equals, _) in zip(columns, pairs, strict=True):
        if not ours or not equals:
            raise ConfigError(
                "a column must read ours=yours", where="--columns", got=text, hint="--columns user=customer"
            )
    return {ours.strip(): yours.strip() for ours, _, yours in pairs}


def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
    size: ShopSize = "small",
    quiet: Flag = False,
) -> None:
    """Go the whole way on a generated shop: prepare, read the texts, train four models, compare, recommend.

    The shop has products with texts, customers with tastes, new products and missing texts. Nothing
    is downloaded.

        recmind demo
        recmind demo --out /tmp/demo --seed 7

    Parameters
    ----------
    out:
        Folder to write: the raw files, the dataset, a run for each model.
    seed:
        Seed of the shop and of training.
    size:
        How large the shop is: `tiny` shows the way in seconds but proves nothing, `medium` has 10,000 customers.
    quiet:
        No progress bars.
    """
    from recmind.studies.demo import run_demo

    run_demo(out, seed=seed, size=size, show_progress=not quiet)
