"""The suites that compare models, through the command: tuned recipes, several seeds, a kill, the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.pipeline import evaluate_run
from recmind.studies.measures import measured_run
from recmind.studies.study import run_study

SHOWN = ["RecMind default", "EASE", "LightGCN"]


def small(encoder: Path, epochs: int = 8) -> list[str]:
    return [
        "threads=1",
        "model.dim=4",
        "model.sequence.optional=false",
        "model.precision=float32",
        f"language.encoder={encoder}",
        "language.device=cpu",
        "language.dtype=float32",
        "training.batch_size=32",
        "training.temperature=0.2",
        f"training.max_epochs={epochs}",
        "training.eval_every=2",
        "training.patience=1000",
        "training.checkpoint_seconds=0",
        "evaluation.bootstrap=10",
        "evaluation.cutoffs=[5, 10]",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop, and a recipe for LightGCN as a tuning writes it."""
    folder = tmp_path_factory.mktemp("baselines")
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user:02}", f"i{item:02}", position)
        for user in range(30)
        for position, item in enumerate(rng.permutation(20)[: rng.integers(4, 8)])
    ]
    (folder / "shop").mkdir()
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(
        folder / "shop" / "interactions.parquet"
    )
    titles = [f"w{k} w{k + 20}" for k in range(20)]
    pl.DataFrame({"item_id": [f"i{k:02}" for k in range(20)], "title": titles}).write_parquet(
        folder / "shop" / "items.parquet"
    )
    (folder / "tuned" / "lightgcn").mkdir(parents=True)
    (folder / "tuned" / "lightgcn" / "lightgcn.toml").write_text(
        'recipe = "lightgcn-tuned"\n[model]\nname = "lightgcn"\nlayers = 1\n[training]\nlearning_rate = 0.01\n'
    )
    return folder


def command(folder: Path, out: Path, encoder: Path, *variants: str) -> list[str | Path]:
    flags = [word for text in small(encoder) for word in ("--set", text)]
    chosen = ["--suite", "baselines", "--variants", *(variants or SHOWN), "--seeds", "0", "1"]
    return ["study", folder / "shop", *chosen, "--recipes", folder / "tuned", "--out", out, "--quiet", *flags]


@pytest.fixture(scope="module")
def studied(call, folder: Path, tiny_encoder: Path) -> tuple[Path, str]:
    out = folder / "study"
    printed, _ = call(*command(folder, out, tiny_encoder))
    return out, printed


@pytest.mark.slow
class TestBaselines:
    def test_a_row_per_run_and_the_tuned_recipe_where_there_is_one(self, studied: tuple[Path, str]):
        table = pl.read_parquet(studied[0] / "results.parquet")
        assert list(zip(table["variant"], table["seed"], strict=True)) == [
            ("RecMind default", 0),
            ("EASE", 0),
            ("LightGCN", 0),
            ("RecMind default", 1),
            ("LightGCN", 1),
        ]
        recipes = dict(zip(table["variant"], table["recipe"], strict=True))
        assert recipes["LightGCN"].endswith("tuned/lightgcn/lightgcn.toml")
        assert recipes["EASE"] == recipes["RecMind default"] == "default"
        epochs = {row["variant"]: row["epochs"] for row in table.iter_rows(named=True)}
        assert epochs == {"RecMind default": 8, "LightGCN": 8, "EASE": None}

    def test_the_report_holds_ours_against_each(self, studied: tuple[Path, str]):
        out, printed = studied
        report = (out / "report.md").read_text()
        assert "on which data they were tuned: LightGCN." in report
        assert "not tuned for this dataset: EASE." in report
        lines = report.partition("## RecMind default against each")[2].partition("## In use")[0].splitlines()
        cells = [line.strip("| ").split(" | ") for line in lines]
        compared = [cell[:2] for cell in cells if len(cell) == 7 and cell[1] in ("recall@10", "ndcg@10")]
        assert compared == [[rival, metric] for rival in ("EASE", "LightGCN") for metric in ("recall@10", "ndcg@10")]
        results = pl.read_parquet(out / "results.parquet")
        means = results.group_by("variant").agg(pl.mean("test.ndcg@10"))
        by_name = dict(means.iter_rows())
        best = max((name for name in by_name if name != "RecMind default"), key=lambda name: by_name[name])
        gain = by_name["RecMind default"] / by_name[best] - 1
        expected = f"the strongest rival is *{best}* ({by_name[best]:.4f}); RecMind default has"
        assert f"By ndcg@10 on the test part {expected} {by_name['RecMind default']:.4f}, {gain:+.1%}." in report
        assert f"The report is {out / 'report.html'}" in printed

    def test_in_use_the_validation_part_is_known_to_all(self, studied: tuple[Path, str]):
        out, _ = studied
        table = pl.read_parquet(out / "results.parquet")
        for row in table.iter_rows(named=True):
            known = evaluate_run(out / row["run"], known="train+valid", show_progress=False)
            assert {name: row[f"use.{name}"] for name in known["test"]} == pytest.approx(known["test"], nan_ok=True)
            users = measured_run(out, row["variant"], row["seed"], "use")
            assert users["ndcg@10"].mean() == pytest.approx(row["use.ndcg@10"])
        report = (out / "report.md").read_text()
        section = report.partition("## In use")[2].partition("\n## ")[0]
        means = dict(table.group_by("variant").agg(pl.mean("use.ndcg@10")).iter_rows())
        lines = {cells[0]: cells for cells in (line.strip("| ").split(" | ") for line in section.splitlines())}
        assert {name: re.findall(r"0\.\d{4}", lines[name][5])[0] for name in SHOWN} == {
            name: f"{means[name]:.4f}" for name in SHOWN
        }
        compared = report.partition("## RecMind default against each, in use")[2]
        gain = means["RecMind default"] / means["LightGCN"] - 1
        line = next(line for line in compared.splitlines() if line.startswith("| LightGCN | ndcg@10 |"))
        assert line.startswith(f"| LightGCN | ndcg@10 | {gain:+.1%} |")

    def test_the_page_stands_alone(self, studied: tuple[Path, str]):
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
        page = (studied[0] / "report.html").read_text()
        assert page.count("<svg") >= 6
        assert not re.search(r'(src|href)="(?!#)', page)
        for part in ("Results", "RecMind default against each", "Learning curves", "Time and memory", "Commands"):
            assert f"<h2>{part}</h2>" in page
        for row in pl.read_parquet(studied[0] / "results.parquet").iter_rows(named=True):
            assert row["command"].split(" --set ")[0] in page


@pytest.mark.slow
def test_what_earlier_calls_made_stays_in_the_report(folder: Path, tiny_encoder: Path):
    def made(
        variants: list[str], seeds: list[int], epochs: int = 2, turned: bool = False
    ) -> tuple[list[tuple[str, int]], str]:
        settings = small(tiny_encoder, epochs=epochs)
        found = run_study(
            folder / "shop",
            "baselines",
            folder / "grown",
            settings=settings[::-1] if turned else settings,
            variants=variants,
            seeds=seeds,
            show_progress=False,
        )
        saved = pl.read_parquet(folder / "grown" / "results.parquet")
        assert found.results.equals(saved)
        return list(found.results.select("variant", "seed").iter_rows()), found.report

    assert made(["LightGCN"], [1])[0] == [("LightGCN", 1)]
    assert made(["EASE", "popularity"], [0])[0] == [("popularity", 0), ("EASE", 0), ("LightGCN", 1)]
    found, report = made(["LightGCN"], [0], epochs=4)
    assert found == [("popularity", 0), ("EASE", 0), ("LightGCN", 0), ("LightGCN", 1)]
    assert "Not all seeds have the same settings, see the commands: LightGCN." in report
    (folder / "grown" / "runs" / "ease-s0" / "metrics.json").unlink()
    assert made(["LightGCN"], [1])[0] == [("popularity", 0), ("LightGCN", 0), ("LightGCN", 1)]
    found, report = made(["popularity"], [1], turned=True)
    assert found == [("popularity", 0), ("LightGCN", 0), ("popularity", 1), ("LightGCN", 1)]
    assert "see the commands: LightGCN." in report, "popularity has the same settings, named in another order"


@pytest.mark.slow
def test_an_ablation_shows_its_sweeps(folder: Path, tiny_encoder: Path):
    found = run_study(
        folder / "shop",
        "ablation",
        folder / "ablation",
        settings=small(tiny_encoder, epochs=4),
        variants=["default", "default, alpha 0.1", "default, tau 1"],
        show_progress=False,
    )
    assert not found.failed
    assert found.results["swept"].to_list() == [None, "model.alpha", "alignment.temperature"]
    sweeps = found.report.partition("## Sweeps")[2]
    values = {
        variant: json.loads((folder / "ablation" / run / "metrics.json").read_text())["test"]["ndcg@10"]
        for variant, run in zip(found.results["variant"], found.results["run"], strict=True)
    }
    own = values["default"]
    assert re.search(rf"\| model.alpha \| default \| 0.1 \| [\d.]+ \| {values['default, alpha 0.1']:.4f} \|", sweeps)
    assert re.search(rf"\| model.alpha \| default \| 0.5 \| [\d.]+ \| {own:.4f} \|", sweeps)
    assert re.search(rf"\| alignment.temperature \| default \| 0.2 \| [\d.]+ \| {own:.4f} \|", sweeps)


@pytest.mark.slow
def test_seeds_say_what_could_be_luck(folder: Path, tiny_encoder: Path):
    found = run_study(
        folder / "shop",
        "seeds",
        folder / "seeds",
        settings=small(tiny_encoder, epochs=2),
        variants=["LightGCN"],
        seeds=[0, 1, 2],
        show_progress=False,
    )
    values = found.results["test.ndcg@10"].to_numpy()
    apart = values.std(ddof=1)
    line = next(line for line in found.report.splitlines() if line.startswith("| LightGCN | ndcg@10 |"))
    assert f"| 3 | {values.mean():.4f} | {apart:.5f} |" in line
    # t of 4 degrees of freedom is 2.776.
    assert line.endswith(f"| {2.776445 * apart * (2 / 3) ** 0.5:.4f} |")


@pytest.mark.slow
def test_strata_are_shown_of_targets_and_of_users(folder: Path, tiny_encoder: Path):
    found = run_study(
        folder / "shop",
        "strata",
        folder / "strata",
        settings=small(tiny_encoder, epochs=2),
        variants=["popularity", "EASE"],
        show_progress=False,
    )
    assert "## Recall by the user's training degree" in found.report
    row = found.results.row(1, named=True)
    section = found.report.partition("## Recall by the user's training degree")[2]
    line = next(line for line in section.splitlines() if line.startswith("| EASE |"))
    assert f"{row['strata.users_degree_1_3.recall@10']:.4f}" in line
