"""The store: durable, damaged, locked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recmind.errors import BundleError
from recmind.serving.store import Store, StoredItem

VECTOR = np.arange(4, dtype=np.float32)


def item(name: str) -> StoredItem:
    return StoredItem(name, {"title": f"about {name}", "price": 2.5}, "encoder", VECTOR, True)


def test_what_was_written_is_read_again(tmp_path: Path):
    store = Store(tmp_path / "changes.sqlite")
    store.add_items([item("a"), item("b")])
    store.add_interactions([("u", "a"), ("v", "a"), ("u", "b"), ("u", "a")])
    assert store.delete_item("b", keep_shut=False) == ["u"]
    store.delete_item("of the bundle", keep_shut=True)
    store.delete_user("v", keep_shut=True)
    digest = store.digest("v")
    store.close()
    again = Store(tmp_path / "changes.sqlite")
    (found,) = again.items()
    assert (found.item_id, found.fields, found.encoder, found.known) == ("a", item("a").fields, "encoder", True)
    np.testing.assert_array_equal(found.vector, VECTOR)
    assert list(again.interactions()) == [("u", "a")]
    assert again.deleted_items() == ["of the bundle"]
    assert again.deleted_users() == {digest} == {again.digest("v")}
    again.close()


def test_a_commit_waits_for_the_disk(tmp_path: Path):
    store = Store(tmp_path / "changes.sqlite")
    pragma = store._connection.execute
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
    assert pragma("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert pragma("PRAGMA secure_delete").fetchone() == (1,)
    store.close()


def test_half_a_change_is_none(tmp_path: Path):
    store = Store(tmp_path / "changes.sqlite")
    with pytest.raises(sqlite3.IntegrityError):
        store.add_items([item("a"), item("a")])
    assert list(store.items()) == []
    store.add_items([item("a")])
    store.close()


def test_nothing_of_a_deleted_person_is_in_any_file(tmp_path: Path):
    store = Store(tmp_path / "changes.sqlite")
    person = "a-person-to-be-forgotten"
    for number in range(50):
        store.add_interactions([(person, f"item-{number}"), ("somebody-else", f"item-{number}")])
    assert any(person.encode() in path.read_bytes() for path in tmp_path.iterdir())
    store.delete_user(person, keep_shut=True)
    for path in tmp_path.iterdir():
        assert person.encode() not in path.read_bytes(), path.name
    store.close()
    for path in tmp_path.iterdir():
        assert person.encode() not in path.read_bytes(), path.name


def test_one_writer_in_this_process_and_in_others(tmp_path: Path):
    path = tmp_path / "changes.sqlite"
    store = Store(path)
    with pytest.raises(BundleError, match=r"changes\.sqlite: another process writes to the store"):
        Store(path)
    code = f"from recmind.serving.store import Store; Store({str(path)!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "another process writes to the store" in other.stderr
    store.close()
    Store(path).close()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to look at" * 40, b"SQLite format 3\x00" + b"x" * 4080]
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes):
    path = tmp_path / "changes.sqlite"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"changes\.sqlite"):
        Store(path)
    assert path.read_bytes() == content
    # The lock is free again.
    path.unlink()
    Store(path).close()


def test_a_database_of_something_else(tmp_path: Path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(BundleError, match="no store of RecMind"):
        Store(path)


def test_another_version(tmp_path: Path):
    path = tmp_path / "changes.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(BundleError, match=r"another version(.|\n)*7(.|\n)*1"):
        Store(path)


def test_a_damaged_page_is_found(tmp_path: Path):
    path = tmp_path / "changes.sqlite"
    store = Store(path)
    store.add_interactions([(f"user-{n}", f"item-{n}") for n in range(2000)])
    store.close()
    content = bytearray(path.read_bytes())
    page = 4096 * (len(content) // 4096 // 2)
    content[page : page + 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"changes\.sqlite(.|\n)*put a copy of the file back"):
        Store(path)


def test_in_memory_nothing_is_left():
    store = Store()
    store.add_interactions([("u", "a")])
    assert list(store.interactions()) == [("u", "a")]
    store.close()
    assert list(Store().interactions()) == []


@pytest.mark.parametrize("name", ["ünï-ço∂é", "quote'\"; DROP TABLE items", "a" * 256])
def test_any_id(tmp_path: Path, name: str):
    store = Store(tmp_path / "s")
    store.add_items([item(name)])
    store.add_interactions([(name, name)])
    assert [one.item_id for one in store.items()] == [name]
    assert list(store.interactions()) == [(name, name)]
    store.close()


def test_what_cannot_be_opened_is_not_called_damaged(tmp_path: Path):
    """Whoever followed the advice for a damaged file would throw acknowledged changes away."""
    (tmp_path / "changes.sqlite").mkdir()
    with pytest.raises(BundleError, match=r"the store cannot be written(.|\n)*choose another --changes") as found:
        Store(tmp_path / "changes.sqlite")
    assert "remove" not in str(found.value)
