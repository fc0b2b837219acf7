from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recmind.data.dataset import Dataset
from recmind.errors import DataError

EVENTS = {
    "user_id": ["u2", "u1", "u1", "u2"],
    "item_id": ["a", "b", "a", "c"],
    "timestamp": [40, 30, 10, 20],
    "rating": [4.0, 3.0, 1.0, 2.0],
}
ROWS = [(0, 0, 10, 1.0), (0, 1, 30, 3.0), (1, 2, 20, 2.0), (1, 0, 40, 4.0)]


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, pa.table, lambda d: pl.DataFrame(d).lazy()])
def test_any_dataframe_gives_the_same(make) -> None:
    dataset = Dataset.from_frames(make(EVENTS), make({"item_id": ["a", "new"], "title": ["A", "N"]}))
    assert dataset.interactions.rows() == ROWS
    assert dataset.items.rows() == [("a", "A"), ("b", None), ("c", None), ("new", "N")]
    assert dataset.user_codes.dtype == "int32"


def test_a_pandas_index_does_not_become_a_column() -> None:
    items = pd.DataFrame({"item_id": ["a"], "title": ["A"]}, index=[7])
    assert Dataset.from_frames(pl.DataFrame(EVENTS), items).items.columns == ["item_id", "title"]


def test_integer_ids_become_text() -> None:
    dataset = Dataset.from_frames(pl.DataFrame({"user_id": [10, 9], "item_id": [1, 2]}))
    assert dataset.user_ids.to_list() == ["10", "9"]


def test_permuting_the_rows_changes_nothing() -> None:
    frame = pl.DataFrame(EVENTS)
    assert Dataset.from_frames(frame).hash == Dataset.from_frames(frame[[3, 1, 0, 2]]).hash
    assert Dataset.from_frames(frame).hash != Dataset.from_frames(frame[:3]).hash


def test_a_repeated_pair_keeps_its_first_in_time() -> None:
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": ["a", "b", "a"], "timestamp": [3, 2, 1]})
    dataset = Dataset.from_frames(frame)
    assert dataset.interactions.rows() == [(0, 0, 1), (0, 1, 2)]
    assert dataset.info["repeats_removed_at_load"] == 1


def test_datetimes_sort_by_the_fraction_of_a_second() -> None:
    start = dt.datetime(2020, 1, 1)
    times = [start + dt.timedelta(milliseconds=ms) for ms in (900, 100)]
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["late", "early"], "timestamp": times})
    dataset = Dataset.from_frames(frame)
    assert dataset.item_ids.gather(dataset.item_codes).to_list() == ["early", "late"]
    assert dataset.interactions["timestamp"].to_list() == [1577836800, 1577836800]


def test_dates_and_order() -> None:
    dates = pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [dt.date(1970, 1, 2)]})
    assert Dataset.from_frames(dates).interactions["timestamp"].to_list() == [86400]
    order = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["b", "a"], "order": [2, 1]})
    dataset = Dataset.from_frames(order)
    assert (dataset.item_codes.tolist(), dataset.info["ordered_by"]) == ([0, 1], "order")


def test_columns_called_like_the_codes_do_no_harm() -> None:
    frame = pl.DataFrame({**EVENTS, "user": ["x"] * 4, "item": ["y"] * 4})
    assert Dataset.from_frames(frame).interactions.rows() == ROWS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_id": None}, "the column 'item_id' is missing"),
        ({"user_id": ["u", None, "u", "u"]}, r"interactions, row 1: 1 rows have no user_id"),
        ({"user_id": [1.0, 2.0, 3.0, 4.0]}, "user_id must be text or whole numbers"),
        ({"timestamp": ["a", "b", "c", "d"]}, "times must be numbers or dates"),
        ({"timestamp": [1, None, 2, 3]}, r"row 1: 1 interactions have no timestamp"),
        ({"timestamp": [1.0, 2.0, float("nan"), 3.0]}, r"row 2: 1 interactions have no timestamp"),
    ],
)
def test_wrong_interactions(changes: dict, message: str) -> None:
    columns = {name: values for name, values in {**EVENTS, **changes}.items() if values is not None}
    with pytest.raises(DataError, match=message):
        Dataset.from_frames(pl.DataFrame(columns))


def test_wrong_tables() -> None:
    with pytest.raises(DataError, match="there are no interactions"):
        Dataset.from_frames(pl.DataFrame({"user_id": [], "item_id": []}, schema={"user_id": str, "item_id": str}))
    with pytest.raises(DataError, match=r"(?s)1 ids occur more than once.*'a'"):
        Dataset.from_frames(pl.DataFrame(EVENTS), pl.DataFrame({"item_id": ["a", "a"]}))
    with pytest.raises(DataError, match=r"(?s)cannot be read as a dataframe.*'int'"):
        Dataset.from_frames(7)


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a", "z"], "price": [1.5, None], "colour": ["red", None], "tags": [["x"], []]})
    users = pl.DataFrame({"user_id": ["u1"], "profile": ["p"]})
    dataset = Dataset.from_frames(pl.DataFrame(EVENTS), items, users, info={"source": "test"})
    dataset.save(tmp_path / "d")
    again = Dataset.load(tmp_path / "d")
    assert again.hash == dataset.hash
    assert again.items.columns == ["item_id", "price", "colour", "tags"]
    assert (again.info["source"], again.info["name"]) == ("test", "d")
    info = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert (info["n_interactions"], info["n_items"], info["hash"]) == (4, 4, dataset.hash)


def test_saving_without_profiles_removes_old_ones(tmp_path: Path) -> None:
    Dataset.from_frames(pl.DataFrame(EVENTS), users=pl.DataFrame({"user_id": ["u9"], "age": [1]})).save(tmp_path)
    Dataset.from_frames(pl.DataFrame(EVENTS)).save(tmp_path)
    assert Dataset.load(tmp_path).user_ids.to_list() == ["u1", "u2"]


def test_counts_of_text_look_into_lists_and_blanks() -> None:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": [" ", None, "T"], "categories": [["x"], [], None]})
    counts = Dataset.from_frames(pl.DataFrame(EVENTS), items).counts()
    assert counts["n_items_with_text"] == 2
    assert counts["n_items_without_interaction"] == 0


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such dataset folder"):
        Dataset.load(tmp_path / "none")
    with pytest.raises(DataError, match=r"holds no interactions\.parquet"):
        Dataset.load(tmp_path)
    pl.DataFrame(EVENTS).write_parquet(tmp_path / "interactions.parquet")
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"schema_version": 99}', "newer version"),
        ('{"schema_version": "x"}', "newer version"),
    ):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(DataError, match=message):
            Dataset.load(tmp_path)
    (tmp_path / "dataset.json").unlink()
    (tmp_path / "items.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"items\.parquet: the file cannot be read as Parquet"):
        Dataset.load(tmp_path)


def test_a_file_in_many_pieces_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": [f"user {u}" for u in rng.integers(0, 300, 5000)],
            "item_id": [f"an item with a long id {i}" for i in rng.integers(0, 200, 5000)],
            "timestamp": rng.integers(0, 1000, 5000),
            "review_text": [f"review {n}" for n in range(5000)],
        }
    )
    frame.write_parquet(tmp_path / "interactions.parquet", row_group_size=64)
    whole = Dataset.from_frames(frame)
    hashed_at_once = whole.hash
    monkeypatch.setattr("recmind.data.dataset._HASHED_ROWS", 17)
    loaded = Dataset.load(tmp_path)
    assert loaded.interactions.equals(whole.interactions)
    assert loaded.hash == hashed_at_once
    # The same by sorting and a set of pairs.
    rows = frame.rows()
    order = sorted(range(5000), key=lambda row: (rows[row][0], rows[row][2]))
    seen: set[tuple[str, str]] = set()
    kept = [rows[row] for row in order if rows[row][:2] not in seen and not seen.add(rows[row][:2])]
    ids = loaded.interactions.select(
        loaded.user_ids.gather(loaded.user_codes), loaded.item_ids.gather(loaded.item_codes), "timestamp", "review_text"
    )
    assert ids.rows() == kept
    assert loaded.info["repeats_removed_at_load"] == 5000 - len(kept)
    assert loaded.user_ids.to_list() == sorted(set(frame["user_id"]))


def test_a_log_in_order_of_time_and_rows_in_order_give_the_same() -> None:
    frame = pl.DataFrame(EVENTS)
    by_time, by_user = frame.sort("timestamp"), frame.sort("user_id", "timestamp")
    assert Dataset.from_frames(by_time).interactions.rows() == Dataset.from_frames(by_user).interactions.rows() == ROWS


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["u1", "u2"])])
def test_ids_may_be_categories(kind) -> None:
    frame = pl.DataFrame(EVENTS).with_columns(pl.col("user_id").cast(kind))
    assert Dataset.from_frames(frame).interactions.rows() == ROWS


def test_a_file_damaged_within(tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    pl.DataFrame({"user_id": [f"u{n}" for n in range(5000)], "item_id": ["a"] * 5000}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"interactions\.parquet: the file cannot be read as Parquet"):
        Dataset.load(tmp_path)


def test_real_folders_load(real_data: Path) -> None:
    dataset = Dataset.load(real_data / "amazon-beauty-2014")
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == (22363, 12101, 198502)
    yelp = Dataset.load(real_data / "yelp-2019")
    assert yelp.n_interactions + yelp.info["repeats_removed_at_load"] == 316354
    assert yelp.info["repeats_removed_at_load"] == 11830
