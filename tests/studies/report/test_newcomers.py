"""Sections `gate`, `cold` and `few`: what they say of tables written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmind.studies.report.blocks import Cell, Figure, Part, Table, Text
from recmind.studies.report.gate import answers, gate_section
from recmind.studies.report.newcomers import cold_section, few_section


def results(*variants: str, seeds: tuple[int, ...] = (0,)) -> pl.DataFrame:
    return pl.DataFrame([(variant, seed) for seed in seeds for variant in variants], ["variant", "seed"], orient="row")


def keep(out: Path, name: str, tables: dict[str, pl.DataFrame]) -> None:
    (out / "rows").mkdir(exist_ok=True)
    for run, table in tables.items():
        table.write_parquet(out / "rows" / f"{run}.{name}.parquet")


def group(decile: int, degrees: tuple[int, int], mean: float, **about: Any) -> dict[str, Any]:
    low, high = degrees
    usual = {"what": "gate", "side": "users", "layer": 1}
    bounds = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
    return usual | about | {"decile": decile, "degree_low": low, "degree_high": high, "n": 10} | bounds


def correlation(rho: float | None, low: float | None, high: float | None, **about: Any) -> dict[str, Any]:
    usual = {"variant": "default", "what": "gate", "side": "users", "layer": 1, "n": 20, "mean": 0.5}
    return usual | about | {"spearman": rho, "low": low, "high": high}


GROUPS = [group(1, (1, 1), 0.3), group(2, (2, 9), 0.8)]


class TestAnswers:
    @pytest.mark.parametrize(
        ("rho", "low", "high", "verdict"),
        [
            (0.5, 0.4, 0.6, "yes."),
            (-0.5, -0.6, -0.4, "no, the opposite."),
            (0.05, 0.01, 0.09, "hardly."),
            (-0.05, -0.09, -0.01, "no, if anything the opposite."),
            (0.3, -0.1, 0.6, "no, γ does not go with the degree."),
            (0.3, None, None, "cannot be said without an interval."),
            (None, None, None, "cannot be said, for the gate or the degree is the same for all."),
        ],
    )
    def test_verdicts(self, rho, low, high, verdict):
        first, last = (0.8, 0.3) if rho == -0.5 else (0.3, 0.8)
        groups = pl.DataFrame([group(1, (1, 1), first), group(2, (2, 9), last)]).with_columns(variant=pl.lit("default"))
        (sentence,) = answers(groups, pl.DataFrame([correlation(rho, low, high)]))
        assert sentence.startswith(f"default, users, layer 1: {verdict} On average 1-γ is ")
        # 1-γ, not γ, is what the language gets.
        ends = f"{1 - first:.2f} for those with 1 interactions; {1 - last:.2f} for those with 2 to 9 interactions"
        assert ends in sentence
        assert ("ρ" in sentence.partition("On average")[2]) == (rho is not None)

    @pytest.mark.parametrize(
        ("last", "verdict"),
        [(0.35, "yes, but by little."), (0.3, "yes by rank, but not from one"), (0.2, "yes by rank, but not from one")],
    )
    def test_how_much_is_said_too(self, last: float, verdict: str):
        groups = pl.DataFrame([group(1, (1, 1), 0.3), group(2, (2, 9), last)]).with_columns(variant=pl.lit("default"))
        (sentence,) = answers(groups, pl.DataFrame([correlation(0.5, 0.4, 0.6)]))
        assert f"layer 1: {verdict}" in sentence

    def test_seeds_that_disagree_are_no_answer(self):
        groups = pl.DataFrame(GROUPS).with_columns(variant=pl.lit("default"))
        rows = [correlation(0.4, 0.3, 0.5), correlation(-0.2, -0.3, -0.1)]
        (sentence,) = answers(groups, pl.DataFrame(rows))
        assert "no, γ does not go with the degree." in sentence
        assert "ρ +0.10 (-0.30 to +0.50)" in sentence


def texts(parts: list[Part]) -> list[str]:
    return [block.text for part in parts for block in part.blocks if isinstance(block, Text)]


def tables(parts: list[Part]) -> list[Table]:
    return [block for part in parts for block in part.blocks if isinstance(block, Table)]


def plain(line: Any) -> list[str]:
    return [cell.text if isinstance(cell, Cell) else cell for cell in line]


class TestGateSection:
    @pytest.fixture
    def parts(self, tmp_path: Path) -> list[Part]:
        language = [group(1, (1, 1), 0.9, what="language", layer=0), group(2, (2, 9), 0.6, what="language", layer=0)]
        items = [{**row, "side": "items"} for row in (*GROUPS, *language)]
        table = pl.DataFrame([*GROUPS, *language, *items])
        rows = [correlation(0.5, 0.4, 0.6, side=side) for side in ("users", "items")]
        rows += [correlation(-0.4, -0.5, -0.3, what="language", layer=0, side=side) for side in ("users", "items")]
        found = pl.DataFrame(rows).drop("variant")
        second = table.with_columns(pl.col("mean") + 0.1, pl.col("low") + 0.1, pl.col("high") + 0.1)
        keep(tmp_path, "gate", {"default-s0": table, "default-s1": second})
        keep(tmp_path, "gate-correlation", {"default-s0": found, "default-s1": found})
        return gate_section(results("default", seeds=(0, 1)), tmp_path)

    def test_a_group_is_the_mean_over_the_seeds_with_the_widest_bounds(self, parts):
        of_users = tables(parts)[0]
        assert list(of_users.head) == ["users", "1 (n 10)", "2 to 9 (n 10)"]
        # .3 and .4, from .29 to .41.
        assert plain(of_users.lines[0]) == [
            "default, layer 1",
            "0.350 (0.290 to 0.410)",
            "0.850 (0.790 to 0.910)",
        ]

    def test_correlations_are_told_by_seed(self, parts):
        of_gates = tables(parts)[2]
        rho = ["+0.500 (+0.400 to +0.600)", "+0.500 +0.500"]
        assert plain(of_gates.lines[0]) == ["default, users", "γ, layer 1", "0.500", *rho]
        assert [plain(line)[1] for line in tables(parts)[-1].lines] == ["language in h"] * 2

    def test_answers_stand_first_and_figures_can_be_drawn(self, parts):
        figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
        assert texts(parts)[0].startswith("- default, users, layer 1: yes.")
        figures = [block for part in parts for block in part.blocks if isinstance(block, Figure)]
        titles = [f"default, {side}: γ and language by degree" for side in ("users", "items")]
        assert [one.title for one in figures] == titles
        axis = figure.Figure().subplots()
        figures[0].draw(axis)
        drawn = {line.get_label(): line.get_xydata() for line in axis.get_lines()}
        np.testing.assert_allclose(drawn["γ, layer 1"], [(1, 0.35), (np.sqrt(18), 0.85)])

    def test_without_tables_there_is_no_section(self, tmp_path):
        assert gate_section(results("default"), tmp_path) == []


def metrics(key: str, values: dict[str, float]) -> pl.DataFrame:
    """recall@40 as given and NDCG half of it, on both parts."""
    rows = [
        {"part": part, key: name, "n_users": 4, "metric": metric, "value": value * share, "low": 0.0, "high": 1.0}
        for part in ("valid", "test")
        for name, value in values.items()
        for metric, share in (("recall@20", 0.1), ("ndcg@20", 0.1), ("recall@40", 1.0), ("ndcg@40", 0.5))
    ]
    return pl.DataFrame(rows)


def users(key: str, values: dict[str, list[float]]) -> pl.DataFrame:
    """recall@40 of each user as given and NDCG half of it; the other way round on the validation part."""
    rows = [
        {"part": part, key: name, "user": user, "recall@40": value, "ndcg@40": value / 2}
        for name, several in values.items()
        for user, given in enumerate(several)
        for part, value in (("valid", 1 - given), ("test", given))
    ]
    return pl.DataFrame(rows)


class TestCold:
    @pytest.fixture
    def parts(self, tmp_path: Path) -> list[Part]:
        of_metrics = {"ours": {"cold": 0.5, "warm": 0.4, "all": 0.3}, "other": {"cold": 0.25, "warm": 0.6, "all": 0.3}}
        keep(tmp_path, "cold", {f"{name}-s0": metrics("among", values) for name, values in of_metrics.items()})
        ours = {"cold": [1.0, 1.0, 0.0, 0.0], "all": [1.0, 0.0, 0.0, 0.0]}
        other = {"cold": [1.0, 0.0, 0.0, 0.0], "all": [1.0, 1.0, 0.0, 0.0]}
        keep(tmp_path, "cold-users", {"ours-s0": users("among", ours), "other-s0": users("among", other)})
        return cold_section(results("ours", "other"), tmp_path)

    def test_validation_stands_before_the_test(self, parts):
        assert [text for text in texts(parts) if text.endswith("part:")] == [
            "On the validation part:",
            "On the test part:",
        ]

    def test_groups_are_columns_and_the_best_of_each_is_marked(self, parts):
        recall = tables(parts)[2]
        assert list(recall.head) == ["recall@40", "cold among cold", "warm among warm", "all among all"]
        assert plain(recall.lines[0]) == ["ours", *(f"{v:.4f} (0.0000 to 1.0000)" for v in (0.5, 0.4, 0.3))]
        marks = [[cell.mark for cell in line[1:]] for line in recall.lines]
        assert marks == [["best", "second", ""], ["second", "best", ""]]

    def test_differences_are_paired_by_user_on_the_test_part(self, parts):
        lines = [plain(line) for line in tables(parts)[-1].lines]
        groups = ("cold among cold", "all among all")
        assert [line[:3] for line in lines] == [
            ["other", what, metric] for what in groups for metric in ("recall@40", "ndcg@40")
        ]
        # .5 against .25, one user better and none worse; .25 against .5, the other way round.
        assert lines[0][3] == "+100.0%"
        assert lines[0][4].startswith("+0.2500 (")
        assert [line[-1] for line in lines] == ["1 / 0", "1 / 0", "0 / 1", "0 / 1"]
        assert "corrected for the 4 lines" in texts(parts)[-1]


def test_few_has_the_lengths_in_their_order(tmp_path: Path):
    values = {"whole": 0.5, "5": 0.4, "1": 0.1}
    keep(tmp_path, "few", {"ours-s0": metrics("history", values), "other-s0": metrics("history", values)})
    of_users = users("history", {name: [value, 0.0] for name, value in values.items()})
    keep(tmp_path, "few-users", {"ours-s0": of_users, "other-s0": of_users})
    parts = few_section(results("ours", "other"), tmp_path)
    assert list(tables(parts)[0].head) == ["recall@40", "history 1", "history 5", "history whole"]
    assert {plain(line)[3] for line in tables(parts)[-1].lines} == {"+0.0%"}
