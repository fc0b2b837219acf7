from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from recmind.cli import main
from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.pipeline import train_run
from recmind.serving.recommender import Recommender


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [(f"u{u}", f"i{(u + k) % 5}", k) for u in range(4) for k in range(4)]
    titles = ["a sock", "a table", None, "green tea", "a bed"]
    dataset = Dataset.from_frames(
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"),
        pl.DataFrame({"item_id": [f"i{k}" for k in range(5)], "title": titles}),
    )
    fast = {
        "model.dim": 4,
        "model.sequence.optional": False,
        "training.max_epochs": 1,
        "evaluation.bootstrap": 0,
        "threads": 1,
    }
    train_run(dataset, load_config("default", overrides=fast), tmp_path / "run", show_progress=False)
    (tmp_path / "changed.csv").write_text("item_id,title\ni0,an elephant\nnew,a spoon\n")
    return tmp_path / "run"


def test_it_says_what_moved_and_why(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    changed, table = run.parent / "changed.csv", run.parent / "moved.csv"
    assert main(["refresh", str(run), "--items", str(changed), "--table", str(table), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "items: 2 given, 1 with another text, 1 new" in out
    assert "their own text reads otherwise" in out
    assert "the mean of items of which one changed" in out
    assert "keep every bit" in out
    moved = pl.read_csv(table)
    assert {"i0", "new"} <= set(moved["id"])
    assert moved.columns == ["side", "id", "why", "text_cosine", "cosine", "neighbours_changed"]
    assert Recommender.load(run).items["item_id"].to_list()[-1] == "new"
    assert main(["refresh", str(run), "--items", str(changed), "--quiet"]) == 0
    assert "Nothing moved" in capsys.readouterr().out


def test_json_alone_on_stdout(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "new"
    arguments = [
        "refresh",
        str(run),
        "--items",
        str(run.parent / "changed.csv"),
        "--out",
        str(out),
        "--json",
        "--quiet",
    ]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(out)
    assert found["items"] == {"given": 2, "new": 1, "texts_changed": 1}
    assert {row["id"] for row in found["rows"] if row["side"] == "item"} >= {"i0", "new"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to refresh"),
        (["--items", "none.csv"], "there is no such file"),
        (["--items", "changed.csv", "--table", "moved.pdf"], "--table"),
        (["--users", "changed.csv"], "each is the mean of the items bought"),
    ],
)
def test_wrong_input_ends_with_2(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, monkeypatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert main(["refresh", str(run), *arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert (out, message in err) == ("", True)
