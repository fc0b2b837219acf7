"""Broken input: counted with file and line, or stopped at in strict mode."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmind.data.sources.json_lines import LINE, json_lines, parse_line
from recmind.data.sources.lines import RawFile
from recmind.data.sources.problems import Finding, Problems
from recmind.errors import DataError


def review(**changes: object) -> str:
    row = {"overall": 5.0, "reviewerID": "A1", "asin": "B1", "unixReviewTime": 1472688000, "reviewText": "ok"}
    return json.dumps({**row, **changes})


def counts(problems: Problems) -> dict[str, int]:
    return {kind: found["count"] for kind, found in problems.as_dict().items()}


LINES = [
    review(),
    review(asin=None),
    review(reviewerID="  "),
    review(overall="five"),
    review(unixReviewTime="soon"),
    review(asin=["B1"]),
    "",
    "[1, 2]",
    "{not json}",
    review(asin="B9", overall="4"),
    review()[:40],
]
KINDS = {
    "the row has no item_id": (1, 2),
    "the row has no user_id": (1, 3),
    "rating has a wrong type": (1, 4),
    "timestamp has a wrong type": (1, 5),
    "item_id has a wrong type": (1, 6),
    "the line is not a JSON object": (1, 8),
    "the line is not valid JSON": (1, 9),
    "the last line is cut off": (1, 11),
}


def test_every_kind_of_damage_is_counted_with_its_line(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json"
    path.write_text("\n".join(LINES))
    tables, problems = read("amazon-2018", path)
    assert tables["interactions"].select("item_id", "rating").rows() == [("B1", 5.0), ("B9", 4.0)]
    assert counts(problems) == {kind: count for kind, (count, _) in KINDS.items()}
    for kind, (_, line) in KINDS.items():
        assert problems.as_dict()[kind]["examples"][0].startswith(f"{path}:{line}")


@pytest.mark.parametrize("bad", [line for line in LINES[1:] if line and "B9" not in line])
def test_strict_stops_at_the_first(tmp_path: Path, read, bad: str) -> None:
    path = tmp_path / "reviews.json"
    path.write_text("\n".join([review(asin="B0"), review(asin="B1"), bad, review(asin=None)]) + "\n")
    with pytest.raises(DataError, match=rf"{path.name}:3: "):
        read("amazon-2018", path, strict=True)


def test_a_gzip_stream_cut_in_the_middle_keeps_what_came_before(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json.gz"
    rows = [review(asin=f"B{n}", reviewText=f"{n * 7919 % 1000003}" * 5) for n in range(2000)]
    whole = gzip.compress("\n".join(rows).encode())
    path.write_bytes(whole[: len(whole) // 2])
    tables, problems = read("amazon-2018", path)
    n = tables["interactions"].height
    assert 200 < n < 2000
    assert tables["interactions"]["item_id"].to_list() == [f"B{k}" for k in range(n)]
    assert "the gzip stream is cut off or damaged; the rest is not read" in counts(problems)


def test_several_gzip_members_are_one_file(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json.gz"
    path.write_bytes(b"".join(gzip.compress((review(asin=f"B{n}") + "\n").encode()) for n in range(3)))
    tables, problems = read("amazon-2018", path)
    assert (tables["interactions"]["item_id"].to_list(), problems.total) == (["B0", "B1", "B2"], 0)


def test_a_plain_file_named_gz_is_read_and_reported(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json.gz"
    path.write_text(review())
    tables, problems = read("amazon-2018", path)
    assert tables["interactions"].height == 1
    assert counts(problems) == {"named .gz but not gzip; read as plain text": 1}


def test_a_gzip_file_without_the_ending_is_read(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json"
    path.write_bytes(gzip.compress(review().encode()))
    tables, problems = read("amazon-2018", path)
    assert (tables["interactions"].height, problems.total) == (1, 0)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_reported(tmp_path: Path, read, content: bytes) -> None:
    (tmp_path / "meta_x.json").write_bytes(content)
    (tmp_path / "x.json").write_text(review())
    _, problems = read("amazon-2018", tmp_path / "x.json", tmp_path / "meta_x.json")
    assert counts(problems) == {"the file is empty": 1}


def test_a_line_that_is_not_utf8_is_read_as_windows_1252_and_reported(tmp_path: Path, read) -> None:
    path = tmp_path / "reviews.json"
    path.write_bytes(
        b"\xef\xbb\xbf" + review().encode() + b"\n" + review(reviewText="caf@").encode().replace(b"@", b"\xe9")
    )
    tables, problems = read("amazon-2018", path)
    assert tables["interactions"]["review_text"].to_list() == ["ok", "café"]
    (found,) = problems.as_dict().items()
    assert "read as Windows-1252 (--encoding names another)" in found[0]
    assert found[1]["examples"][0].startswith(f"{path}:2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no such file"),
        (lambda p: p.mkdir(), "no file with interactions was found"),
        (lambda p: p.write_bytes(b"PK\x03\x04rest"), "this is a zip archive"),
        (lambda p: p.write_text("hello\nworld\n"), "none that the source 'amazon-2018' reads"),
    ],
)
def test_unusable_paths(tmp_path: Path, read, make, message: str) -> None:
    path = tmp_path / "thing.bin"
    make(path)
    with pytest.raises(DataError, match=message):
        read("amazon-2018", path)


def test_the_error_names_the_source_that_would_fit(tmp_path: Path, read) -> None:
    path = tmp_path / "thing.txt"
    path.write_text('{"user_id": "u", "parent_asin": "B1", "rating": 5}\n')
    with pytest.raises(DataError, match="looks like reviews of the source 'amazon-2023'"):
        read("yelp", path)


def test_blocks_do_not_depend_on_where_reads_end(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"a": "x\u2028y"}\n\n{"a": 2}\n{"a": 3}', encoding="utf-8")
    whole = [row for frame in json_lines(("a",))(RawFile(path, Problems())) for row in frame.rows()]
    assert whole == [("x\u2028y", 1), ("2", 3), ("3", 4)]
    for size in range(1, 40):
        blocks = list(RawFile(path, Problems()).blocks(size))
        assert b"".join(block.data for block in blocks) == path.read_bytes()
        assert [block.first_line for block in blocks] == [
            1 + path.read_bytes()[: sum(len(b.data) for b in blocks[:i])].count(b"\n") for i in range(len(blocks))
        ]


values = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8)
values |= st.lists(st.text(max_size=3), max_size=2) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), values), min_size=1, max_size=8))
def test_the_fast_and_the_careful_reader_agree(tmp_path_factory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("agree") / "f.json"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def read_all(problems: Problems) -> list[dict]:
        found = [row for frame in json_lines(("a", "b"))(RawFile(path, problems)) for row in frame.to_dicts()]
        return [{key: _value(text) for key, text in row.items()} for row in found]

    fast = read_all(Problems())
    path.write_text("\n".join([*lines, "{broken"]), encoding="utf-8", newline="\n")
    problems = Problems()
    assert read_all(problems) == fast
    assert problems.total == 1
    assert [row[LINE] for row in fast] == list(range(1, len(rows) + 1))


def _value(text: object) -> object:
    """Numbers and JSON by value: both readers may print them differently."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_python_literals_only_where_allowed() -> None:
    assert parse_line("{'a': None}") is None
    assert parse_line("{'a': None}", literals=True) == {"a": None}
    assert parse_line("__import__('os').getcwd()", literals=True) is None
    text = "{'a': \"it's 'related': {x}, here\", 'related': {'also_bought': ['b']}, 'c': 1}"
    assert parse_line(text, literals=True)["c"] == 1


def test_examples_are_few_and_counts_are_whole() -> None:
    problems = Problems()
    problems.add(Path("f"), [Finding(line, "bad") for line in range(100, 0, -1)])
    assert problems.as_dict() == {"bad": {"count": 100, "examples": ["f:1", "f:2", "f:3", "f:4", "f:5"]}}
