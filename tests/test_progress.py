from __future__ import annotations

import pytest

from recmind import progress


def test_bar_goes_to_stderr_and_shows_description_count_and_note(capsys: pytest.CaptureFixture[str]):
    with progress.task("Counting sheep", 3) as advance:
        advance()
        advance(2, note="asleep")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Counting sheep" in err
    assert "3/3" in err
    assert "asleep" in err


def test_without_a_terminal_there_is_one_line(capsys: pytest.CaptureFixture[str]):
    with progress.task("Counting sheep", 50) as advance:
        for _ in range(50):
            advance()
    assert capsys.readouterr().err.count("Counting sheep") == 1


def test_silent_on_request(capsys: pytest.CaptureFixture[str]):
    with progress.task("Counting sheep", 3, show=False) as advance:
        advance(3, note="asleep")
    assert capsys.readouterr() == ("", "")


def test_note_stays_until_the_next_one(capsys: pytest.CaptureFixture[str]):
    with progress.task("Counting sheep", 2) as advance:
        advance(note="first")
        advance()
    assert "first" in capsys.readouterr().err


def test_errors_inside_pass_through():
    with pytest.raises(ZeroDivisionError), progress.task("Dividing", 1):
        _ = 1 / 0
