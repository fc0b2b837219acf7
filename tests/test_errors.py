from __future__ import annotations

from pathlib import Path

import pytest

from recmind.errors import ConfigError, DataError, EncoderError, RecMindError, RunError, TrainingError


def test_message_says_what_where_got_accepted_and_what_to_do():
    error = DataError(
        "the column 'item_id' is missing",
        where=Path("data") / "a.csv",
        got=["user", "item"],
        accepted=("user_id", "item_id"),
        hint="rename it",
    )
    assert str(error).splitlines() == [
        "data/a.csv: the column 'item_id' is missing",
        "  got:      ['user', 'item']",
        "  accepted: user_id, item_id",
        "  hint:     rename it",
    ]


def test_parts_that_are_not_given_leave_no_line():
    assert str(RunError("the run is incomplete")) == "the run is incomplete"


def test_falsy_values_are_still_shown():
    assert "got:      0" in str(ConfigError("too small", got=0))
    assert "got:      ''" in str(ConfigError("empty", got=""))


def test_accepted_as_one_string_is_not_taken_apart():
    assert "accepted: a path" in str(ConfigError("wrong", accepted="a path"))


def test_long_values_are_clipped():
    error = DataError("too long", got="x" * 5000)
    assert len(str(error)) < 300
    assert str(error).endswith("…")


def test_parts_stay_available_to_programs():
    error = ConfigError("wrong", where="model.dim", got=-1, hint="use 64")
    assert (error.what, error.where, error.got, error.hint) == ("wrong", "model.dim", -1, "use 64")


@pytest.mark.parametrize(
    ("kind", "code"), [(DataError, 2), (ConfigError, 2), (EncoderError, 2), (RunError, 2), (TrainingError, 3)]
)
def test_exit_codes_tell_wrong_input_from_failed_training(kind: type[RecMindError], code: int):
    assert kind("x").exit_code == code
    assert isinstance(kind("x"), RecMindError)
