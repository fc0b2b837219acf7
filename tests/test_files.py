from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from recmind.files import ARRIVED, new_folder, read_newest, settle, write_atomic, write_together


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    for text in ("one", "two"):
        write_atomic(path, lambda p, text=text: p.write_text(text))
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(error):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_the_old_file_is_whole_while_the_new_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent

    write_atomic(path, write)
    assert path.read_text() == "new"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", lambda p: p.write_text("x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


class TestTogether:
    @staticmethod
    def write(**texts: str):
        return {name: lambda path, text=text: path.write_text(text) for name, text in texts.items()}

    def test_all_are_replaced_and_nothing_else_is_touched(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        (tmp_path / "c").write_text("stays")
        write_together(tmp_path, self.write(a="new", b="first"))
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "first", "c": "stays"}

    def test_one_that_fails_leaves_all_as_they_were(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")

        def fail(path: Path) -> None:
            raise ValueError

        with pytest.raises(ValueError):
            write_together(tmp_path, {**self.write(a="new"), "b": fail})
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}

    def test_what_has_arrived_is_read_and_then_moved(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        (tmp_path / ARRIVED).mkdir()
        (tmp_path / ARRIVED / "a").write_text("new")
        (tmp_path / ".staged-half").mkdir()
        assert read_newest(tmp_path / "a", Path.read_text) == "new"
        assert (tmp_path / "a").read_text() == "old"
        settle(tmp_path)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new"}

    def test_a_file_that_is_moved_while_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / ARRIVED).mkdir()
        (tmp_path / ARRIVED / "a").write_text("new")

        def read(path: Path) -> str:
            settle(tmp_path)
            return path.read_text()

        assert read_newest(tmp_path / "a", read) == "new"


class TestNewFolder:
    def test_it_is_there_at_the_end_and_not_before(self, tmp_path: Path) -> None:
        with new_folder(tmp_path / "deep" / "new") as folder:
            (folder / "a").write_text("one")
            assert not (tmp_path / "deep" / "new").exists()
        assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["new", "a"]

    def test_a_failure_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "new") as folder:
            (folder / "a").write_text("one")
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []

    def test_what_the_dead_left_goes_and_what_the_living_have_stays(self, tmp_path: Path) -> None:
        for pid in (999_999_999, os.getppid()):
            (tmp_path / f".new.making-{pid}").mkdir()
        with new_folder(tmp_path / "new"):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == [f".new.making-{os.getppid()}", "new"]
