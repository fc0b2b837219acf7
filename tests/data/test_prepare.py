from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest

from recmind.config import PrepareConfig
from recmind.data.dataset import Dataset
from recmind.data.prepare import prepare
from recmind.errors import DataError


def shop(folder: Path) -> tuple[Path, Path]:
    """Five interactions, one of them repeated exactly and one pair repeated, and three items."""
    events, items = folder / "interactions.csv", folder / "items.csv"
    events.write_text(
        "user,item,rating,timestamp,review\n"
        "u1,a,5,100,fine\nu1,a,5,100,fine\nu1,b,2,200,\nu2,a,4,150,good\nu2,a,1,300,worse\n"
    )
    items.write_text("item,title,colour\na,Pan,red\nb,Pot,blue\nnew,Lid,green\na,Pan again,red\n")
    return events, items


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_the_whole_way(tmp_path: Path) -> None:
    report = prepare("table", shop(tmp_path), tmp_path / "out", show_progress=False)
    dataset = Dataset.load(tmp_path / "out")
    rows = dataset.interactions.rows()
    assert dataset.user_ids.to_list() == ["u1", "u2"]
    assert dataset.item_ids.to_list() == ["a", "b", "new"]
    assert rows == [(0, 0, 100, 5.0, "fine"), (0, 1, 200, 2.0, None), (1, 0, 150, 4.0, "good")]
    assert dataset.items["title"].to_list() == ["Pan", "Pot", "Lid"]
    assert dataset.items["colour"].to_list() == ["red", "blue", "green"]
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [(step["step"], step["removed"]) for step in info["filtered"]] == [
        ("exact repeats", 1),
        ("repeated pairs, first kept", 1),
        ("items with a repeated id", 1),
    ]
    places = info["problems"]["the row is an exact repeat of an earlier one"]
    assert places == {"count": 1, "examples": [f"{tmp_path / 'interactions.csv'}:3"]}
    assert (info["source"], [file["file"] for file in info["files"]]) == ("table", ["interactions.csv", "items.csv"])
    assert (info["n_users"], info["n_items_without_interaction"]) == (2, 1)
    assert report.counts["n_interactions"] == 3
    text = str(report)
    assert "exact repeats" in text and "interactions.csv:3" in text and "no users" in text
    assert leftovers(tmp_path) == []


def test_encoding_and_dates_are_as_the_settings_say(tmp_path: Path) -> None:
    text = "user,item,date\nИван,Чай,07/03/2021\nИван,Сок,05/04/2021\n"
    (tmp_path / "interactions.csv").write_bytes(text.encode("cp1251"))
    config = PrepareConfig(encoding="cp1251", slash_dates="month-first")
    report = prepare("table", [tmp_path], tmp_path / "out", config, show_progress=False)
    dataset = Dataset.load(tmp_path / "out")
    assert (dataset.user_ids.to_list(), dataset.item_ids.to_list()) == (["Иван"], ["Сок", "Чай"])
    assert dataset.interactions["timestamp"].sort().to_list() == [1620086400, 1625270400]  # 4 May, 3 July
    assert report.problems == {}


@pytest.mark.parametrize("name", ["klingon", "utf-16", "hex", ""])
def test_an_encoding_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="such as cp1252"):
        PrepareConfig(encoding=name)


def test_items_of_other_ids_are_told(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\nu,12.0\nu,13.0\n")
    (tmp_path / "items.csv").write_text("item,title\n12,Pan\n13,Pot\n")
    report = prepare("table", [tmp_path], tmp_path / "out", show_progress=False)
    place = f"{tmp_path / 'items.csv'}: '12' here, '12.0' there"
    assert report.problems["no item_id of the table is one of the interactions'"] == {"count": 1, "examples": [place]}


def test_thresholds_and_items_without_interaction(tmp_path: Path) -> None:
    config = PrepareConfig(min_rating=3, min_item_interactions=2, keep_items_without_interaction=False, keep="last")
    prepare("table", shop(tmp_path), tmp_path / "out", config, show_progress=False)
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.item_ids.to_list() == ["a"]
    assert dataset.interactions["rating"].to_list() == [5.0, 4.0]


def test_the_same_files_and_settings_are_not_read_again(tmp_path: Path) -> None:
    paths, out = shop(tmp_path), tmp_path / "out"
    first = prepare("table", paths, out, show_progress=False)
    stamp = (out / "interactions.parquet").stat().st_mtime_ns
    again = prepare("table", paths, out, show_progress=False)
    assert again.unchanged and not first.unchanged
    assert (again.counts, again.steps, again.problems) == (first.counts, first.steps, first.problems)
    assert (out / "interactions.parquet").stat().st_mtime_ns == stamp
    assert "Unchanged" in str(again)


@pytest.mark.parametrize("change", ["settings", "content", "time", "lost output"])
def test_any_change_is_prepared_again(tmp_path: Path, change: str) -> None:
    (events, items), out = shop(tmp_path), tmp_path / "out"
    prepare("table", (events, items), out, show_progress=False)
    config = PrepareConfig(min_rating=3) if change == "settings" else PrepareConfig()
    if change == "content":
        events.write_text(events.read_text() + "u3,b,5,400,x\n")
    if change == "time":
        os.utime(events, ns=(1, 1))
    if change == "lost output":
        (out / "items.parquet").unlink()
    assert not prepare("table", (events, items), out, config, show_progress=False).unchanged
    assert Dataset.load(out).n_interactions == {"settings": 2, "content": 4}.get(change, 3)


def test_failure_leaves_the_old_dataset_and_nothing_else(tmp_path: Path) -> None:
    paths, out = shop(tmp_path), tmp_path / "out"
    prepare("table", paths, out, show_progress=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(DataError, match="leaves no interaction"):
        prepare("table", paths, out, PrepareConfig(min_user_interactions=99), show_progress=False)
    with pytest.raises(DataError, match=r"interactions\.csv:3: the row is an exact repeat"):
        prepare("table", paths, out, PrepareConfig(strict=True), show_progress=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert leftovers(tmp_path) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    dead = tmp_path / ".out.preparing-999999999"
    dead.mkdir()
    (dead / "part").write_text("x")
    prepare("table", shop(tmp_path), tmp_path / "out", show_progress=False)
    assert leftovers(tmp_path) == []


def test_other_files_are_never_overwritten(tmp_path: Path) -> None:
    paths, out = shop(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match=r"(?s)holds other files.*thesis\.txt"):
        prepare("table", paths, out, show_progress=False)
    with pytest.raises(DataError, match="holds an input file"):
        prepare("table", paths, tmp_path, show_progress=False)
    with pytest.raises(DataError, match="the output is a file"):
        prepare("table", paths, out / "thesis.txt", show_progress=False)
    assert (out / "thesis.txt").read_text() == "dear"


def test_named_files_and_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("buyer,thing\nu,p\n")
    (tmp_path / "y.csv").write_text("thing,label\np,Pan\n")
    columns = {"user": "buyer", "item": "thing", "title": "label"}
    out = tmp_path / "out"
    named = {"interactions": tmp_path / "x.csv", "items": tmp_path / "y.csv"}
    prepare("table", [], out, columns=columns, show_progress=False, **named)
    assert Dataset.load(out).items.rows() == [("p", "Pan")]


def test_max_rows_reads_no_more(tmp_path: Path) -> None:
    report = prepare("table", shop(tmp_path), tmp_path / "out", PrepareConfig(max_rows=3), show_progress=False)
    assert [file.rows for file in report.files] == [3, 4]
    assert report.counts["n_interactions"] == 2


def test_no_usable_row_is_an_error_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item\n,a\n,b\n")
    with pytest.raises(DataError, match=r"(?s)no usable interaction.*the row has no user_id.*2.*interactions\.csv:2"):
        prepare("table", [path], tmp_path / "out", show_progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["interactions.csv"]


def test_an_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no such source.*'netflix'.*movielens"):
        prepare("netflix", [tmp_path], tmp_path / "out", show_progress=False)


def test_many_blocks_and_files_give_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"u{n % 7},i{n * 31 % 11},{n % 5 + 1},{n}" for n in range(500)]
    for name, part in (("one/interactions.csv", [rows]), ("two/interactions.csv", [rows[:200], rows[200:]])):
        for number, lines in enumerate(part):
            path = tmp_path / name if number == 0 else tmp_path / "two" / "more.csv"
            path.parent.mkdir(exist_ok=True)
            path.write_text("user,item,rating,timestamp\n" + "\n".join(lines) + "\n")
    one = prepare("table", [tmp_path / "one"], tmp_path / "a", show_progress=False)
    monkeypatch.setattr("recmind.data.sources.delimited.BLOCK_BYTES", 512)
    monkeypatch.setattr("recmind.data.sources.lines.BLOCK_BYTES", 512)
    two_files = [tmp_path / "two" / "interactions.csv", tmp_path / "two" / "more.csv"]
    two = prepare("table", two_files, tmp_path / "b", show_progress=False)
    assert [step.removed for step in one.steps] == [step.removed for step in two.steps]
    same = [pl.read_parquet(tmp_path / name / "interactions.parquet") for name in "ab"]
    assert same[0].equals(same[1])


def test_real_pairs(tmp_path: Path, real_data: Path) -> None:
    config = PrepareConfig(min_user_interactions=5, min_item_interactions=5, keep_items_without_interaction=False)
    folder = real_data / "raw" / "amazon2018_magazine_subscriptions"
    prepare("amazon-2018", [folder], tmp_path / "out", config, show_progress=False)
    dataset = Dataset.load(tmp_path / "out")
    by = dataset.interactions.group_by
    assert by("user").len()["len"].min() >= 5
    assert by("item").len()["len"].min() >= 5
    assert not dataset.interactions.select("user", "item").is_duplicated().any()
    beauty = real_data / "raw" / "amazon2018_all_beauty_5"
    report = prepare("amazon-2018", [beauty], tmp_path / "beauty", show_progress=False)
    assert (report.steps[0].removed, report.missing) == (1051, ("items", "users"))
