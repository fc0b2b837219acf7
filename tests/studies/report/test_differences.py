"""Differences between variants, from tables per user that are written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.evaluation.significance import holm, wilcoxon
from recmind.studies.report.blocks import Cell, Part, Table, Text
from recmind.studies.report.differences import differences
from recmind.studies.report.tables import cost_table, main_table, strata_table
from recmind.studies.suites import Suite, Variant

METRICS = ("recall@20", "ndcg@20", "recall@40", "ndcg@40")
GAINS = {"ours": 0.3, "good": 0.2, "bad": 0.1}


def study(out: Path, *seeds: int) -> pl.DataFrame:
    """Three variants; users of one are better by the same amount everywhere, and the seed shifts nobody."""
    rows = []
    for label, gain in GAINS.items():
        for seed in seeds:
            run = out / "runs" / f"{label}-s{seed}"
            run.mkdir(parents=True)
            users = {"user": list(range(8)), **{m: [gain + 0.01 * user for user in range(8)] for m in METRICS}}
            pl.DataFrame(users).write_parquet(run / "per_user_test.parquet")
            means = {f"test.{metric}": gain + 0.035 for metric in METRICS}
            rows.append({"variant": label, "seed": seed, "run": f"runs/{run.name}", "metric": "ndcg@40", **means})
    return pl.DataFrame(rows)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else cell for cell in line] for line in table.lines]


def table_of(part: Part, at: int = 0) -> Table:
    return [block for block in part.blocks if isinstance(block, Table)][at]


VARIANTS = (Variant("ours"), Variant("good"), Variant("bad", against="good"))


class TestDifferences:
    def test_each_variant_against_its_reference_with_p_values_for_all_lines(self, tmp_path: Path):
        [part] = differences(study(tmp_path, 0), Suite("?", VARIANTS), tmp_path)
        lines = texts(table_of(part))
        assert [line[:3] for line in lines] == [
            ["good", "ours", "recall@40"],
            ["good", "ours", "ndcg@40"],
            ["bad", "good", "recall@40"],
            ["bad", "good", "ndcg@40"],
        ]
        assert lines[0][3] == "-29.9%"  # (0.235 - 0.335) / 0.335
        assert lines[0][4] == "-0.1000 (-0.1000 to -0.1000)"
        users = 0.01 * np.arange(8)
        alone = [wilcoxon((low + users) - (high + users)) for low, high in ((0.2, 0.3), (0.1, 0.2))]
        assert lines[0][6] == f"{holm([alone[0], alone[0], alone[1], alone[1]])[0]:.2g}"
        assert lines[0][5] == f"{4 * 2 / 10_001:.2g}"
        assert lines[0][7] == "0 / 8"

    def test_ours_against_all_others_and_the_strongest_rival_in_words(self, tmp_path: Path):
        [part] = differences(study(tmp_path, 0, 1), Suite("?", VARIANTS, ours="ours"), tmp_path)
        assert part.title == "ours against each"
        [headline] = [block.text for block in part.blocks if isinstance(block, Text)][:1]
        assert (
            "By ndcg@40 on the test part the strongest rival is *good* (0.2350); ours has 0.3350, +42.6%." in headline
        )
        assert texts(table_of(part)) == [["good", *["+42.6%"] * 4], ["bad", *["+148.1%"] * 4]]
        assert [line[:2] for line in texts(table_of(part, 1))] == [
            [rival, metric] for rival in ("good", "bad") for metric in ("recall@40", "ndcg@40")
        ]

    def test_without_the_reference_there_is_nothing_to_compare(self, tmp_path: Path):
        results = study(tmp_path, 0).filter(variant="bad")
        [part] = differences(results, Suite("?", VARIANTS), tmp_path)
        assert part.blocks == [Text("There is nothing to compare yet.")]

    def test_without_a_test_part(self, tmp_path: Path):
        results = study(tmp_path, 0).drop([f"test.{metric}" for metric in METRICS])
        [part] = differences(results, Suite("?", VARIANTS), tmp_path)
        assert part.blocks == [Text("There is no test part.")]


class TestTables:
    @pytest.fixture
    def results(self) -> pl.DataFrame:
        rows = [
            ("a", 0, 0.1, 0.30, 10.0, 20, 100.0),
            ("a", 1, 0.1, 0.10, 30.0, 20, 300.0),
            ("b", 0, 0.2, 0.25, 5.0, None, 50.0),
            ("c", 0, None, 0.05, None, None, None),
        ]
        columns = ["variant", "seed", "valid.ndcg@40", "value", "seconds.train", "epochs", "peak_memory_mb"]
        table = pl.DataFrame(rows, columns, orient="row")
        tests = [pl.col("value").alias(f"test.{name}") for name in ("recall@40", "ndcg@40")]
        strata = [
            pl.col("value").alias("strata.items_degree_1_3.recall@40"),
            pl.lit(7).alias("strata.items_degree_1_3.n"),
        ]
        best = [pl.lit("ndcg@40").alias("metric"), pl.col("epochs").alias("best_epoch")]
        return table.with_columns(*tests, *strata, *best)

    def test_the_best_mean_is_marked_and_the_second(self, results: pl.DataFrame):
        [table, _] = main_table(results)
        assert isinstance(table, Table)
        assert table.head == ["variant", "seeds", "valid", "recall@40", "ndcg@40", "best epoch"]
        column = [line[4] for line in table.lines]
        # Means 0.2, 0.25, 0.05.
        assert column == [Cell("0.2000 ± 0.1414", "second"), Cell("0.2500", "best"), Cell("0.0500", "")]
        assert [line[2] for line in table.lines] == [
            Cell("0.1000 ± 0.0000", "second"),
            Cell("0.2000", "best"),
            Cell("-"),
        ]

    def test_strata_are_named_in_words_and_counted(self, results: pl.DataFrame):
        table = strata_table(results)
        assert table.head == ["variant", "1 to 3 (n 7)"]

    def test_costs_are_medians(self, results: pl.DataFrame):
        [table, _] = cost_table(results)
        assert isinstance(table, Table)
        assert table.head == ["variant", "train s", "s an epoch", "epochs", "peak MB"]
        assert texts(table) == [
            ["a", "20.0", "1.00", "20", "200"],
            ["b", "5.0", "-", "-", "50"],
            ["c", "-", "-", "-", "-"],
        ]
