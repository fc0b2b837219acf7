"""Fresh texts for a trained run: what changed is read again, and only those rows move.

What moves, and why (the column ``why`` of the report):

========  ==================================================================
text      an item or a user whose text reads otherwise now
items     a user whose language view is the mean of items of which one changed
new       an item that was not there in training
guess     a node without a text, whose guess is made from texts that changed,
          and a user whose mean holds such an item
========  ==================================================================

The parameters stay. Of the rows above h is computed again in one pass with all
texts as they are now; every other row keeps its bits. Theirs would move too,
through the graph, and the report says how little (``others``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.torch import save_file

from recmind.errors import ConfigError, DataError, RunError
from recmind.files import ARRIVED, new_folder, write_together
from recmind.model.registry import needs_text, places_new_items
from recmind.schema import ITEM_TEXT_FIELDS, Columns, Files
from recmind.serving.changes import Changed, lay_over, read_changes
from recmind.serving.fresh_texts import (
    Reader,
    Spoken,
    fresh_items,
    fresh_users,
)
from recmind.serving.movement import Move, no_rows
from recmind.serving.recommender import Recommender
from recmind.training.run_folder import RunFolder

Table = str | Path | pl.DataFrame


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes
    ----------
    run:
        The run folder that holds the result.
    moved:
        One row per moved node: ``side`` (item or user), ``id``, ``why``,
        ``text_cosine`` between old and new z̃, ``cosine`` between old and new h,
        and of the ten neighbours how many are others now
        (``neighbours_changed``): for an item the items most like it, for a user
        the recommendations. Empty where there is no before.
    summary:
        Counts, as ``refresh.json`` keeps them.
    """

    run: Path
    moved: pl.DataFrame
    summary: dict[str, Any]


def refresh(
    run: str | Path,
    items: Table | None = None,
    users: Table | None = None,
    *,
    out: str | Path | None = None,
    show_progress: bool = False,
) -> Refreshed:
    """Read changed texts again and move only the rows that they concern; nothing is trained.

    Parameters
    ----------
    run:
        A finished run of a model that reads texts.
    items:
        Changed and new items: ``item_id`` and the text columns that changed;
        columns that are left out stay as they are, and so do items that are not
        named. A Parquet, CSV or JSON lines file, or a frame.
    users:
        Changed users, where users have texts of their own: ``user_id``,
        ``profile``, and with ``text.user_view = "reviews"`` all of a user's
        ``reviews`` as a list, oldest first.
    out:
        Folder of a new run; by default ``run`` itself is changed. Either way
        all files change at once, and a kill at any moment leaves a whole run.

    Raises
    ------
    DataError
        If a table is damaged: with file, column and value.
    ConfigError
        If the run's model or users have no texts.
    EncoderError, RunError
        If the language model is not there or not the run's, or the run is damaged.
    """
    folder = RunFolder(run)
    config = folder.config()
    if not folder.finished:
        raise RunError("the run is not finished", where=folder.path, hint="finish it with `recmind train --resume`")
    _check_asked(config.model.name, config.text.user_view, config.text.profiles.writer, items, users)
    if out is not None:
        _check_free(Path(out), folder.path)
        result, files = _refreshed(folder, items, users, show_progress)
        with new_folder(out) as new:
            _copy(folder.path, new)
            write_together(new, files)
        return Refreshed(Path(out), result.moved, result.summary)
    with folder.claimed():
        result, files = _refreshed(folder, items, users, show_progress)
        if files:
            write_together(folder.path, files)
    return result


def _refreshed(
    folder: RunFolder, items: Table | None, users: Table | None, show_progress: bool
) -> tuple[Refreshed, dict[str, Callable[[Path], object]]]:
    """What moved, and the files to write: none where nothing did."""
    recommender = Recommender.load(folder.path)
    goods = _changed(recommender.items, items, Columns.ITEM, (*ITEM_TEXT_FIELDS, Columns.PRICE))
    asked = (Columns.PROFILE, Columns.REVIEWS) if recommender.config.text.user_view == "reviews" else (Columns.PROFILE,)
    people = _changed(recommender.users, users, Columns.USER, asked)
    recorded = folder.read_json(Files.ENVIRONMENT).get("encoder") or {}
    reader = Reader(recommender, recorded, show_progress=show_progress)
    table = goods.table if goods is not None else recommender.items
    spoken_items = fresh_items(recommender, goods, reader)
    unread = 0
    spoken_users = None
    if recommender.trained.texts.users is not None:
        of_users = Reader(recommender, recorded, "users", show_progress=show_progress)
        spoken_users, unread = fresh_users(recommender, spoken_items, table, people, of_users)
    summary: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "items": _counts(goods, spoken_items),
        "users": {**_counts(people, spoken_users), "texts_not_in_the_run": unread},
    }
    still = not (spoken_items.why != "").any() and (spoken_users is None or not (spoken_users.why != "").any())
    if still:
        return Refreshed(folder.path, no_rows(), {**summary, "moved": {}, "others": {"rows": 0}}), {}
    move = Move(recommender, spoken_items, spoken_users)
    moved = move.table(table[Columns.ITEM])
    by_why = moved.group_by("side", "why").len().sort("side", "why")
    summary["moved"] = {f"{side}s, {why}": n for side, why, n in by_why.iter_rows()}
    summary["others"] = move.others()
    tensors = {name: tensor.contiguous() for name, tensor in move.tensors().items()}
    record = [*folder.refreshes(), summary]
    files: dict[str, Callable[[Path], object]] = {
        Files.MODEL: lambda path: save_file(tensors, path),
        Files.ITEMS: table.write_parquet,
        Files.MOVED: moved.write_parquet,
        Files.REFRESH: partial(_write_json, record),
    }
    if people is not None:
        files[Files.USERS] = people.table.drop(Columns.REVIEWS, strict=False).write_parquet
    return Refreshed(folder.path, moved, summary), files


def _changed(table: pl.DataFrame, given: Table | None, key: str, read: tuple[str, ...]) -> Changed | None:
    if given is None:
        return None
    changes, where = read_changes(given, key, read)
    if key == Columns.USER:
        unknown = changes.join(table, on=key, how="anti")[key]
        if len(unknown):
            raise DataError(
                f"{len(unknown)} of {changes.height} users are not in the run",
                where=f"{where}, column {key!r}",
                got=unknown.head(5).to_list(),
                accepted=f"users of the run, such as {table[key].head(3).to_list()}",
                hint="users that came after training need a new training",
            )
        if Columns.REVIEWS in read and Columns.REVIEWS not in changes.columns:
            raise DataError(
                f"the column {Columns.REVIEWS!r} is missing",
                where=where,
                got=changes.columns,
                hint="the run does not hold the users' reviews: give all of a changed user's, as a list",
            )
    return lay_over(table, changes, key, where)


def _counts(changed: Changed | None, spoken: Spoken | None) -> dict[str, int]:
    named = 0 if changed is None else len(changed.rows) + changed.n_new
    why = np.empty(0, dtype=object) if spoken is None else spoken.why
    return {"given": named, "new": int((why == "new").sum()), "texts_changed": int((why == "text").sum())}


def _check_asked(model: str, user_view: str, writer: str, items: Table | None, users: Table | None) -> None:
    if not places_new_items(model):
        why = "makes no vectors of texts" if needs_text(model) else "reads no texts"
        raise ConfigError(f"the model {model!r} {why}: there is nothing to refresh", where="model.name")
    if items is None and users is None:
        raise ConfigError("nothing to refresh", where="--items, --users", hint="give a table of what changed")
    if users is not None and user_view == "items":
        raise ConfigError(
            "the users of this run have no text: each is the mean of the items bought, and moves with them",
            where="--users",
            got='text.user_view = "items"',
            hint="give the changed items, or train with text.user_view = titles or reviews",
        )
    if users is not None and writer == "chat":
        raise ConfigError(
            "the users' texts were written by a chat model", where="--users", hint="write them again, and train again"
        )


def _check_free(out: Path, run: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(
            "there is a file, or a folder that is not empty",
            where=out,
            hint="choose another --out" if out.resolve() != run.resolve() else "leave --out away to change the run",
        )


def _copy(run: Path, new: Path) -> None:
    """A run's files, the newest of each, without locks and what killed processes left."""
    hidden = shutil.ignore_patterns(".*")
    shutil.copytree(run, new, dirs_exist_ok=True, ignore=hidden)
    if (run / ARRIVED).is_dir():
        shutil.copytree(run / ARRIVED, new, dirs_exist_ok=True, ignore=hidden)


def _write_json(content: Any, path: Path) -> None:
    import json

    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
