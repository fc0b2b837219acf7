from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from recmind import __version__
from recmind.cli import app, main
from recmind.cli.data import ShopSize, SourceName
from recmind.cli.options import SplitKind
from recmind.config import SplitConfig, recipe_names
from recmind.errors import DataError, TrainingError

COMMANDS = sorted(name for name in app if not name.startswith("-"))
HEAVY = ("torch", "transformers", "polars", "pyarrow", "scipy", "peft", "sentence_transformers", "matplotlib", "pandas")


def recmind(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "recmind", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        env={**os.environ, "COLUMNS": "100", **environment},
        check=False,
    )


class TestHelp:
    def test_the_commands_of_the_design_are_there(self):
        assert {"demo", "prepare", "train", "evaluate", "recommend", "doctor"} <= set(COMMANDS)

    def test_overview_names_every_command(self):
        done = recmind("--help")
        assert done.returncode == 0
        assert done.stderr == ""
        for command in COMMANDS:
            assert command in done.stdout

    def test_no_arguments_show_the_overview(self):
        assert recmind().stdout == recmind("--help").stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself_with_an_example(self, command: str):
        done = recmind(command, "--help")
        assert done.returncode == 0
        assert f"Usage: recmind {command}" in done.stdout
        assert f"\n recmind {command}" in done.stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_is_explained(self, command: str):
        arguments = app[command].assemble_argument_collection(parse_docstring=True)
        assert [argument.name for argument in arguments if argument.show and not argument.parameter.help] == []

    def test_version(self):
        assert recmind("--version").stdout.strip() == __version__

    # A study and a tuning leave torch to the processes of their trainings.
    @pytest.mark.parametrize(
        ("module", "heavy"),
        [
            ("recmind.cli", HEAVY),
            ("recmind.studies.study", ["torch", "scipy", "matplotlib"]),
            ("recmind.studies.tuning.tune", ["torch", "scipy", "matplotlib", "optuna"]),
            ("recmind.pipeline", ["scipy.stats", "transformers", "peft"]),
        ],
    )
    def test_nothing_heavy_is_imported_before_a_command_needs_it(self, module: str, heavy: list[str]):
        code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == "[]"


class TestWrongUse:
    def test_unknown_command(self):
        done = recmind("trian", "data")
        assert done.returncode == 2
        assert 'Did you mean "train"?' in done.stderr
        assert "recmind --help" in done.stderr
        assert done.stdout == ""

    def test_unknown_option(self):
        done = recmind("evaluate", "runs/a", "--jsno")
        assert done.returncode == 2
        assert "Unknown option: --jsno. Did you mean --json?" in done.stderr
        assert "recmind evaluate --help" in done.stderr

    def test_missing_argument(self):
        done = recmind("train")
        assert done.returncode == 2
        assert "DATASET" in done.stderr

    def test_option_of_the_wrong_type(self):
        done = recmind("train", "data", "--out", "runs/a", "--seed", "seven")
        assert done.returncode == 2
        assert "seven" in done.stderr

    def test_settings_as_options_are_checked(self, tmp_path: Path):
        done = recmind("prepare", "table", "a.csv", "--out", tmp_path / "d", "--max-rows", "0")
        assert done.returncode == 2
        assert done.stderr.startswith("error: --max-rows: got '0', input should be greater than or equal to 1\n")

    def test_column_mapping(self, tmp_path: Path):
        done = recmind("prepare", "table", "a.csv", "--out", tmp_path / "d", "--columns", "customer")
        assert done.returncode == 2
        assert "--columns: a column must read ours=yours" in done.stderr

    def test_missing_dataset(self, call, tmp_path: Path):
        _, message = call("train", tmp_path / "none", "--out", tmp_path / "run", code=2)
        assert f"{tmp_path / 'none'}: there is no such dataset folder" in message
        assert "Traceback" not in message
        assert not (tmp_path / "run").exists()

    def test_bad_settings_are_all_named(self, call, tmp_path: Path):
        wrong = ("--set", "model.layer=3", "--set", "training.loss=hinge")
        _, message = call("train", tmp_path, "--out", tmp_path / "run", *wrong, code=2)
        assert "did you mean 'model.layers'" in message
        assert "training.loss: got 'hinge'" in message

    def test_unknown_recipe(self, call, tmp_path: Path):
        _, message = call("train", tmp_path, "--out", tmp_path / "run", "--recipe", "none", code=2)
        assert f"accepted: {', '.join(recipe_names())}" in message

    @pytest.mark.parametrize("command", ["evaluate", "recommend"])
    def test_missing_run(self, call, command: str, tmp_path: Path):
        _, message = call(command, tmp_path / "none", code=2)
        assert str(tmp_path / "none") in message
        assert "Traceback" not in message


class TestExitCodes:
    """What `main` makes of what a command raises; the command here is `doctor`."""

    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        def run(error: BaseException, debug: str = "") -> tuple[int, str]:
            def fail() -> None:
                raise error

            monkeypatch.setattr("recmind.doctor.diagnose", fail)
            monkeypatch.setenv("RECMIND_DEBUG", debug)
            return main(["doctor"]), capsys.readouterr().err

        return run

    def test_input(self, run):
        assert run(DataError("bad table", where="a.csv:3")) == (2, "error: a.csv:3: bad table\n")

    def test_training(self, run):
        assert run(TrainingError("the loss is not finite")) == (3, "error: the loss is not finite\n")

    def test_interrupted(self, run):
        assert run(KeyboardInterrupt()) == (130, "error: interrupted\n")

    def test_unexpected_is_short_and_says_how_to_see_more(self, run):
        code, message = run(ZeroDivisionError("division by zero"))
        assert code == 1
        assert message.splitlines()[0] == "error: ZeroDivisionError: division by zero"
        assert "RECMIND_DEBUG=1" in message
        assert "Traceback" not in message

    def test_debug_shows_the_traceback(self, run):
        code, message = run(DataError("bad table"), debug="1")
        assert code == 2
        assert "Traceback" in message
        assert "in fail" in message


def test_a_reader_that_goes_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "recmind", "settings"],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


class TestPrepare:
    def test_table_with_columns_of_its_own(self, tmp_path: Path):
        table = tmp_path / "orders.csv"
        table.write_text("client,sku,bought\nann,x,3\nann,y,4\nbob,x,9\nbob,x,9\n")
        out = tmp_path / "data"
        done = recmind("prepare", "table", table, "--columns", "user=client", "item=sku", "time=bought", "--out", out)
        assert done.returncode == 0, done.stderr
        assert "2  users" in done.stdout
        assert f"recmind train {out}" in done.stdout
        frame = pl.read_parquet(out / "interactions.parquet").sort("user_id", "timestamp")
        assert frame.select("user_id", "item_id", "timestamp").rows() == [
            ("ann", "x", 3),
            ("ann", "y", 4),
            ("bob", "x", 9),
        ]

    def test_a_table_as_a_spreadsheet_writes_it(self, tmp_path: Path):
        table, out = tmp_path / "orders.csv", tmp_path / "data"
        table.write_bytes("Kunde;sku;order;date\nИван;Чай;A-1;3/7/2021\n".encode("cp1251"))
        how = ["--columns", "user=Kunde", "--encoding", "cp1251", "--slash-dates", "day-first"]
        done = recmind("prepare", "table", table, *how, "--out", out)
        assert done.returncode == 0, done.stderr
        assert pl.read_parquet(out / "interactions.parquet").drop("rating", "review_text", strict=False).to_dicts() == [
            {"user_id": "Иван", "item_id": "Чай", "timestamp": 1625270400}
        ]
        done = recmind("prepare", "table", table, "--columns", "user=Kunde", "time=", "--out", out)
        assert done.returncode == 0, done.stderr
        assert "timestamp" not in pl.read_parquet(out / "interactions.parquet").columns

    def test_strict_stops_at_the_first_problem_with_file_and_line(self, tmp_path: Path):
        table = tmp_path / "orders.csv"
        table.write_text("user,item\nann,x\n,y\n")
        done = recmind("prepare", "table", table, "--out", tmp_path / "data", "--strict")
        assert done.returncode == 2
        assert f"{table}:3" in done.stderr
        assert not (tmp_path / "data").exists()

    def test_quiet_prints_nothing(self, tmp_path: Path):
        table = tmp_path / "orders.csv"
        table.write_text("user,item\nann,x\n")
        done = recmind("prepare", "table", table, "--out", tmp_path / "data", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_the_command_knows_every_source(self):
        from recmind.data.sources import SOURCES

        assert set(get_args(SourceName)) == set(SOURCES)


class TestRecipesAndSettings:
    def test_list(self):
        lines = recmind("recipes").stdout.splitlines()
        assert [line.split()[0] for line in lines] == recipe_names()
        assert all(len(line.split()) > 3 for line in lines)

    def test_printed_recipe_can_be_trained_from_a_file(self, tmp_path: Path):
        from recmind.config import load_config

        mine = tmp_path / "mine.toml"
        mine.write_text(recmind("recipes", "paper").stdout, encoding="utf-8")
        assert load_config(mine).model_copy(update={"recipe": "paper"}) == load_config("paper")

    def test_settings_are_found_by_a_word(self):
        done = recmind("settings", "gate.init")
        assert done.stdout.startswith("model.gate.init_bias = 0.0    (number)\n")
        assert "training" not in done.stdout

    def test_no_such_setting(self):
        done = recmind("settings", "zzz")
        assert done.returncode == 2
        assert "'zzz'" in done.stderr


class TestDoctor:
    def test_json(self):
        done = recmind("doctor", "--json")
        report = json.loads(done.stdout)
        assert report["ok"] is True
        assert done.returncode == 0
        assert set(report["facts"]) == {"system", "libraries", "torch", "encoder", "cache"}
        assert report["facts"]["system"]["recmind"] == __version__
        assert report["facts"]["libraries"]["torch"]

    def test_text(self):
        done = recmind("doctor")
        assert done.returncode == 0
        assert "encoder_precision" in done.stdout
        assert "Everything needed works." in done.stdout


def test_sizes_are_those_of_the_demo():
    from recmind.studies.demo import SIZES

    assert list(get_args(ShopSize)) == list(SIZES)


def test_kinds_of_split_are_those_of_the_settings():
    assert get_args(SplitKind) == get_args(SplitConfig.model_fields["kind"].annotation)
