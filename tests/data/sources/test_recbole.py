from __future__ import annotations

from pathlib import Path


def test_atomic_files(tmp_path: Path, read) -> None:
    (tmp_path / "shop.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t4.0\t978300019.0\nu2\ti1\tx\t978300019.0\n"
    )
    (tmp_path / "shop.item").write_text(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\trelease_year:token\n"
        'i1\tToy "Story"\tComedy Kids\t1995\n'
    )
    (tmp_path / "shop.user").write_text("user_id:token\tage:token\nu1\t24\n")
    tables, problems = read("recbole", tmp_path)
    assert tables["interactions"].rows() == [("u1", "i1", 978300019, 4.0)]
    assert problems.as_dict() == {
        "rating has a wrong type": {"count": 1, "examples": [f"{tmp_path / 'shop.inter'}:3: x"]}
    }
    assert tables["items"].to_dicts() == [
        {"item_id": "i1", "title": 'Toy "Story"', "categories": "Comedy Kids", "release_year": "1995"}
    ]
    assert tables["users"].to_dicts() == [{"user_id": "u1", "age": "24"}]


def test_files_of_any_name_are_known_by_their_header(tmp_path: Path, read) -> None:
    (tmp_path / "a.txt").write_text("item_id:token\ttitle:token_seq\ni1\tA\n")
    (tmp_path / "b.txt").write_text("user_id:token\titem_id:token\nu1\ti1\n")
    tables, _ = read("recbole", tmp_path / "a.txt", tmp_path / "b.txt")
    assert (tables["interactions"].rows(), tables["items"].rows()) == ([("u1", "i1")], [("i1", "A")])


def test_files_of_a_split_are_read_in_the_order_of_its_parts(tmp_path: Path, read) -> None:
    """Without clocks the order of rows is a history's: by the alphabet, what is tested would come first."""
    for part, items in (("test", "d"), ("train", "ab"), ("valid", "c")):
        rows = "".join(f"u\t{item}\n" for item in items)
        (tmp_path / f"shop.{part}.inter").write_text(f"user_id:token\titem_id:token\n{rows}")
    tables, _ = read("recbole", tmp_path)
    assert tables["interactions"]["item_id"].to_list() == ["a", "b", "c", "d"]
