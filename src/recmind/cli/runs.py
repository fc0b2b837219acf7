"""Commands about runs: train, evaluate, recommend."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

from cyclopts import Parameter

from recmind.cli.options import Flag, JsonFlag, SplitKind
from recmind.config import ModelName


def train(
    dataset: Path,
    /,
    *,
    out: Path,
    recipe: str = "default",
    model: ModelName | None = None,
    split: SplitKind | None = None,
    seed: int | None = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    resume: Flag = False,
    overwrite: Flag = False,
    quiet: Flag = False,
) -> None:
    """Train a model on a dataset and evaluate it.

    The run folder gets the settings, the history, the metrics and the model. A run that was killed
    goes on where it stopped with `--resume`, and ends with the same bits as an undisturbed one.

        recmind train data/beauty --out runs/beauty
        recmind train data/beauty --model lightgcn --out runs/lightgcn
        recmind train data/beauty --out runs/deep --set model.layers=3
        recmind train data/shop --split valid-only --out runs/live
        recmind train data/beauty --out runs/beauty --resume

    Parameters
    ----------
    dataset:
        Dataset folder, as `recmind prepare` makes it. A folder with only `interactions.parquet` will do.
    out:
        Run folder to write.
    recipe:
        Name of a recipe that comes with RecMind (see `recmind recipes`), or the path of a TOML file.
    model:
        Model to train. Without it, what the recipe says: `recmind`.
    split:
        How validation and test are held out. `leave-one-out`: each user's last interaction is tested, the
        last but one validates. `temporal`: one cut in time. `ratio`: a random share of each user.
        `cold-items`: tested items have no training edge. `cold-and-warm`: those, and each user's last two of the
        other items. `short-histories`: leave-one-out, and the histories of some users are cut to 1, 2, 3 or 5.
        `valid-only`: nothing is tested: for use, not for papers.
    seed:
        Seed of initialisation, sampling and order. Same seed and machine, same bits.
    settings:
        A setting as `key=value`, for instance `model.layers=3`; repeat it for more. All keys: `recmind settings`.
    resume:
        Go on with the run in `--out` where it stopped.
    overwrite:
        Replace the run in `--out`.
    quiet:
        No progress bars.
    """
    from recmind.cli.show import print_metrics
    from recmind.config import load_config
    from recmind.pipeline import train_run

    # Options of their own come last, so that they win over --set.
    options = {"split.kind": split, "seed": seed}
    overrides = [*settings, *(f"{key}={value}" for key, value in options.items() if value is not None)]
    config = load_config(recipe, model=model, overrides=overrides)
    metrics = train_run(dataset, config, out, resume=resume, overwrite=overwrite, show_progress=not quiet)
    print_metrics(metrics)
    print(f"\nThe run is in {out}. Next:\n  recmind recommend {quote(str(out))} --k 10 --out recommendations.parquet")


def evaluate(
    run: Path,
    /,
    *,
    split: Literal["valid", "test"] | None = None,
    known: Literal["train", "train+valid"] = "train",
    as_json: JsonFlag = False,
    quiet: Flag = False,
) -> None:
    """Rank the whole catalogue for every user of a run and print how well it did.

    What was trained on is left out of the ranking, and at test time the validation interactions too.

        recmind evaluate runs/beauty
        recmind evaluate runs/beauty --split valid
        recmind evaluate runs/beauty --known train+valid
        recmind evaluate runs/beauty --json | jq .test

    Parameters
    ----------
    run:
        Run folder, as `recmind train` makes it.
    split:
        Which held-out part to rank for. Without it `test`, or `valid` where the run's split tests nothing.
    known:
        What the model knows by then: the training interactions, or with `train+valid` those of validation too, as in
        use, where a list is made right after them; it then learns them first (`training.catch_up_epochs`).
    as_json:
        Print JSON, and nothing else, on stdout.
    quiet:
        No progress bars.
    """
    from recmind.cli.show import print_metrics
    from recmind.pipeline import evaluate_run

    metrics = evaluate_run(run, split, known=known, show_progress=not quiet)
    if as_json:
        print(json.dumps(metrics, indent=2))
    else:
        print_metrics(metrics)


def recommend(
    run: Path,
    /,
    *,
    k: Annotated[int, Parameter(name=["--k", "-k"])] = 40,
    out: Path | None = None,
    users: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    new_items: Path | None = None,
    leave_out: Literal["all", "train", "train+valid"] = "all",
    quiet: Flag = False,
) -> None:
    """Write the K best items of every user: user_id, item_id, rank, score.

    What a user already knows is left out, and learnt: the model has caught up with the interactions that were held out
    from training to measure with. Items that were not there in training can enter by their text: give them with
    `--new-items`.

        recmind recommend runs/shop --k 10 --out recommendations.parquet
        recmind recommend runs/shop --users alice bob
        recmind recommend runs/shop --users vips.csv --new-items arrivals.parquet --out vips.csv

    Parameters
    ----------
    run:
        Run folder, as `recmind train` makes it.
    k:
        Items per user.
    out:
        File to write: `.parquet`, `.csv` or `.jsonl`. Without it, CSV on stdout.
    users:
        User ids, or one file (.parquet, .csv, .tsv or .jsonl with a column `user_id`, or .txt with one id a line).
        Without it, every user.
    new_items:
        Table of items unseen in training, with the columns of `items.parquet`.
    leave_out:
        Which known interactions are left out: `all`, or, to be scored by another program, only those of the training
        part (`train`), or of training and validation (`train+valid`); the model then knows the training part alone, as
        when it was evaluated.
    quiet:
        No progress bars.
    """
    from recmind.pipeline import recommend_run

    chosen = _users(users)
    frame = recommend_run(
        run, out, k=k, users=chosen, new_items=new_items, leave_out=leave_out, show_progress=not quiet
    )
    if out is None:
        sys.stdout.write(frame.write_csv())
    else:
        print(f"{frame.height:,} recommendations written to {out}")


def _users(given: tuple[str, ...]) -> Path | list[str] | None:
    """One name of an existing file means the file; anything else is ids."""
    if len(given) == 1 and Path(given[0]).is_file():
        return Path(given[0])
    return list(given) or None
