from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from recmind.config.data import SlashDates
from recmind.data.sources.base import parse_price, parse_time
from recmind.data.sources.lines import RawFile
from recmind.data.sources.problems import Problems
from recmind.errors import DataError

EVENTS = pl.DataFrame(
    {
        "customer": [1, 2, 2],
        "sku": ["a", "a", "b"],
        "when": [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 3)],
        "stars": [5, 4, 3],
        "comment": ["good", None, 'multi\nline, with "quotes"'],
    }
)
EXPECTED = [
    ("1", "a", 1577836800, 5.0, "good"),
    ("2", "a", 1577923200, 4.0, None),
    ("2", "b", 1578009600, 3.0, 'multi line, with "quotes"'),
]
COLUMNS = {"user": "customer", "item": "sku", "timestamp": "when"}


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl", "csv.gz", "jsonl.gz"])
def test_the_same_table_in_every_format(tmp_path: Path, read, ending: str) -> None:
    plain = tmp_path / f"interactions.{ending.removesuffix('.gz')}"
    writers = {
        "parquet": EVENTS.write_parquet,
        "csv": EVENTS.write_csv,
        "tsv": lambda p: EVENTS.write_csv(p, separator="\t"),
        "jsonl": EVENTS.write_ndjson,
    }
    writers[ending.removesuffix(".gz")](plain)
    if ending.endswith(".gz"):
        (tmp_path / plain.name).with_suffix(plain.suffix + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    tables, problems = read("table", tmp_path, **COLUMNS)
    assert (tables["interactions"].rows(), problems.total) == (EXPECTED, 0)


def test_usual_names_are_guessed_and_other_item_columns_kept(tmp_path: Path, read) -> None:
    (tmp_path / "interactions.csv").write_text("CustomerID,Product ID,score,date\nu,p,4,2020-01-01\n")
    items = [{"product_id": "p", "name": "Pan", "genres": ["A", "B"], "price": "9.99", "colour": "red", "kg": 2}]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    tables, problems = read("table", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("u", "p", 1577836800, 4.0)]
    assert tables["items"].to_dicts() == [
        {"item_id": "p", "title": "Pan", "categories": "A > B", "price": 9.99, "colour": "red", "kg": "2"}
    ]


def test_parquet_lists_become_text_and_numbers_stay(tmp_path: Path, read) -> None:
    pl.DataFrame({"user": ["u"], "item": [7]}).write_parquet(tmp_path / "interactions.parquet")
    items = pl.DataFrame({"item": [7], "categories": [["A", "B"]], "year": [1999], "details": [{"k": "v"}]})
    items.write_parquet(tmp_path / "items.parquet")
    tables, _ = read("table", tmp_path)
    assert tables["items"].to_dicts() == [{"item_id": "7", "categories": "A > B", "attributes": "k: v", "year": 1999}]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1577836800", 1577836800),
        ("1577836800123", 1577836800),
        ("1577836800123456", 1577836800),
        ("2020-01-01", 1577836800),
        ("2020-01-01T00:00:01Z", 1577836801),
        ("2020-01-01 00:00:01.5", 1577836801),
        ("2020-01-01T02:00:00+02:00", 1577836800),
    ],
)
def test_times_of_all_kinds(tmp_path: Path, read, time: str, seconds: int) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text(f"user,item,timestamp\nu,a,{time}\nu,b,{time}\n")
    assert read("table", path)[0]["interactions"]["timestamp"].to_list() == [seconds, seconds]


def test_lines_with_a_wrong_number_of_fields(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text('user,item,review\nu1,a,"two\nlines"\nu2,b\n\nu3,c,x,y\n,d,z\nu5,e,"ok"\nu6')
    tables, problems = read("table", path)
    assert tables["interactions"]["user_id"].to_list() == ["u1", "u5"]
    places = {kind: found["examples"][0].split(": ")[0] for kind, found in problems.as_dict().items()}
    assert places == {
        "the line has too few fields": f"{path}:4",
        "the line has too many fields": f"{path}:6",
        "the row has no user_id": f"{path}:7",
    }
    assert problems.as_dict()["the line has too few fields"]["examples"][1].startswith(f"{path}:9")


def test_a_mapped_column_that_is_not_there(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item\nu,i\n")
    with pytest.raises(DataError, match=r"(?s)'purchaser', named for 'user_id', is not in the table.*'user', 'item'"):
        read("table", path, user="purchaser")


def test_no_item_column(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,thing\nu,i\n")
    with pytest.raises(DataError, match=r"(?s)no column holds the item_id.*--columns item=YOUR_COLUMN"):
        read("table", path)


def test_an_unknown_key_in_the_mapping(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item\nu,i\n")
    with pytest.raises(DataError, match=r"(?s)does not know.*'colour'"):
        read("table", path, colour="x")


def test_a_damaged_parquet_file(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.parquet"
    path.write_bytes(b"PAR1nonsense")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read("table", path)


def test_a_header_without_rows_and_a_repeated_name(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item\n")
    assert read("table", path)[0]["interactions"].height == 0
    path.write_text("user,item,user\nu,i,v\n")
    with pytest.raises(DataError, match="column names occur more than once"):
        read("table", path)


@pytest.mark.parametrize(
    "written",
    ["20170909", "2017-09-09 00:00:00 UTC", "2017-09-09T00:00:00Z", "09.09.2017", "09.09.2017 00:00", "1504915200"],
)
def test_times_as_people_write_them(tmp_path: Path, read, written: str) -> None:
    (tmp_path / "interactions.csv").write_text(f"user,item,time\nu,a,{written}\nu,b,2017-09-10\n")
    tables, problems = read("table", tmp_path)
    assert (tables["interactions"]["timestamp"].to_list(), problems.total) == ([1504915200, 1505001600], 0)


def test_a_day_that_is_none_is_no_second_of_1970(tmp_path: Path, read) -> None:
    (tmp_path / "interactions.csv").write_text("user,item,time\nu,a,20210231\nu,b,20210228\n")
    tables, problems = read("table", tmp_path)
    assert tables["interactions"]["item_id"].to_list() == ["b"]
    assert list(problems.as_dict()) == ["timestamp has a wrong type"]


def test_ids_that_cannot_be_read_are_not_taken_for_one(tmp_path: Path, read) -> None:
    (tmp_path / "interactions.csv").write_bytes(b"user,item\nZo\x81,a\nZo\x8d,a\nZoe,a\n")  # no bytes of cp1252
    tables, problems = read("table", tmp_path)
    assert tables["interactions"].rows() == [("Zoe", "a")]
    assert problems.as_dict()["user_id has a wrong type"]["count"] == 2


def test_paragraphs_become_one_text(tmp_path: Path, read) -> None:
    (tmp_path / "interactions.csv").write_text("user,item\nu,a\n")
    lines = [{"item": "a", "description": ["A pan.", "It is red."]}, {"item": "b", "description": "[1984] is plain"}]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tables, _ = read("table", tmp_path)
    assert tables["items"]["description"].to_list() == ["A pan. It is red.", "[1984] is plain"]


ROWS = "Käufer;Größe\nJürgen;Schuh “blau”\nGaël;Hut\n"


@pytest.mark.parametrize(
    ("encoding", "how", "told"),
    [
        ("utf-8", {}, 0),
        ("utf-8-sig", {}, 0),
        ("utf-16", {}, 0),
        ("cp1252", {}, 3),
        ("cp1252", {"encoding": "cp1252"}, 0),
    ],
)
def test_tables_in_the_encodings_that_spreadsheets_write(
    tmp_path: Path, read, encoding: str, how: dict[str, str], told: int
) -> None:
    path = tmp_path / "interactions.csv"
    path.write_bytes(ROWS.encode(encoding))
    tables, problems = read("table", path, how=how, user="Käufer", item="Größe")
    assert tables["interactions"].rows() == [("Jürgen", "Schuh “blau”"), ("Gaël", "Hut")]
    assert problems.total == told


def test_an_encoding_that_only_its_user_knows(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_bytes("user,item\nИван,Чай\n".encode("cp1251"))
    tables, problems = read("table", path, how={"encoding": "cp1251"})
    assert (tables["interactions"].rows(), problems.total) == ([("Иван", "Чай")], 0)


def test_utf_16_over_many_blocks(tmp_path: Path) -> None:
    text = "".join(f"Käufer {i};Größe\n" for i in range(200))
    path = tmp_path / "wide.txt"
    path.write_bytes(text.encode("utf-16"))
    blocks = list(RawFile(path, Problems()).blocks(101))
    assert len(blocks) > 10
    assert b"".join(block.data for block in blocks).decode() == text


def test_an_order_that_is_no_number_is_no_position(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("order,customer,sku\nA-7,u,a\nA-7,u,b\n")
    tables, problems = read("table", path)
    assert tables["interactions"].to_dicts() == [{"user_id": "u", "item_id": item} for item in "ab"]
    assert problems.total == 0
    _, problems = read("table", path, order="order")  # who says so is told
    assert problems.as_dict()["order has a wrong type"]["count"] == 2


def test_a_position_that_is_damaged_in_one_row_stays_one(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item,order\nu,a,2.0\nu,b,1.0\nu,c,x\n")
    tables, problems = read("table", path)
    assert tables["interactions"]["order"].to_list() == [2, 1]
    assert problems.as_dict()["order has a wrong type"]["count"] == 1


def test_a_column_that_is_not_what_its_name_says(tmp_path: Path, read) -> None:
    path = tmp_path / "interactions.csv"
    path.write_text("user,item,date\nu,a,soon\n")
    tables, problems = read("table", path, time="")
    assert (tables["interactions"].rows(), problems.total) == ([("u", "a")], 0)


@pytest.mark.parametrize(
    ("how", "text", "day"),
    [
        ("day-first", "07/03/2021", dt.datetime(2021, 3, 7)),
        ("month-first", "07/03/2021", dt.datetime(2021, 7, 3)),
        ("month-first", "7/3/2021 8:38 PM", dt.datetime(2021, 7, 3, 20, 38)),
        ("day-first", "07/03/2021 20:38:25", dt.datetime(2021, 3, 7, 20, 38, 25)),
        ("day-first", "2021-07-03", dt.datetime(2021, 7, 3)),
    ],
)
def test_days_with_slashes_are_what_the_user_says(how: SlashDates, text: str, day: dt.datetime) -> None:
    seconds = parse_time(pl.Series("t", [text]), slash_dates=how)
    assert seconds.to_list() == [int(day.replace(tzinfo=dt.UTC).timestamp())]


def test_days_with_slashes_are_refused_where_nobody_says() -> None:
    assert parse_time(pl.Series("t", ["07/03/2021"])).to_list() == [None]


def test_prices_as_people_write_them() -> None:
    texts = {
        "9.99": 9.99, "$1,299.00 - $1,499": 1299, "1.299,00 €": 1299, "3,50": 3.5, "EUR 3,5": 3.5, "1,299": 1299,
        "1 299,00": 1299, "CHF 1'299.50": 1299.5, "12": 12, "5.": 5, "2,000,000": 2e6, "£7": 7,
        "free": None, None: None,
    }  # fmt: skip
    assert parse_price(pl.Series("price", list(texts))).to_list() == list(texts.values())
