import io
import json

import numpy as np
import pytest
from rich.console import Console

from recmind.config import EvaluationConfig
from recmind.evaluation.evaluate import evaluate
from recmind.evaluation.report import comparison_markdown, comparison_table, metrics_document

ROWS = [
    {"model": "popularity", "recall@20": 0.0204, "ndcg@20": 0.0076, "seconds": 0.1},
    {"model": "LightGCN", "recall@20": 0.0649, "ndcg@20": None, "seconds": 123.4},
    {"model": "RecMind", "recall@20": 0.0780, "ndcg@20": 0.0332, "seconds": 300.25},
]


def styles(table, column):
    [found] = [c for c in table.columns if c.header == column]
    return [cell.style for cell in found.cells]


class TestTable:
    def test_best_is_bold_and_second_underlined(self):
        table = comparison_table(ROWS)
        assert styles(table, "recall@20") == ["", "underline", "bold"]
        assert styles(table, "ndcg@20") == ["underline", "", "bold"]

    def test_only_accuracy_is_ranked_unless_asked(self):
        assert styles(comparison_table(ROWS), "seconds") == ["", "", ""]
        assert styles(comparison_table(ROWS, ranked=["seconds"]), "seconds") == ["", "underline", "bold"]
        assert styles(comparison_table(ROWS, ranked=["seconds"]), "recall@20") == ["", "", ""]

    def test_values_equal_as_shown_share_the_place(self):
        rows = [{"model": name, "ndcg@20": value} for name, value in (("a", 0.10001), ("b", 0.10002), ("c", 0.05))]
        assert styles(comparison_table(rows), "ndcg@20") == ["bold", "bold", "underline"]

    def test_one_model_alone_is_not_best(self):
        assert styles(comparison_table(ROWS[:1]), "recall@20") == [""]

    def test_what_is_printed(self):
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(comparison_table(ROWS, title="Beauty"))
        text = console.export_text()
        assert "Beauty" in text
        assert all(part in text for part in ("LightGCN", "0.0649", " - ", "123.4", "0.1000"))


class TestMarkdown:
    def test_whole_table(self):
        assert comparison_markdown(ROWS) == (
            "| model | recall@20 | ndcg@20 | seconds |\n"
            "|---|---:|---:|---:|\n"
            "| popularity | 0.0204 | <u>0.0076</u> | 0.1000 |\n"
            "| LightGCN | <u>0.0649</u> | - | 123.4 |\n"
            "| RecMind | **0.0780** | **0.0332** | 300.2 |\n"
        )

    def test_a_bar_in_a_name_does_not_break_the_table(self):
        assert "| a\\|b | 1 |" in comparison_markdown([{"model": "a|b", "n": 1}])


class TestMetricsDocument:
    @pytest.fixture
    def evaluation(self, dense, random_split):
        split = random_split(20, 30, (100, 20, 20))
        config = EvaluationConfig(cutoffs=(20, 40), bootstrap=20)
        scorer = dense(np.random.default_rng(0).random((20, 30)))
        return lambda part: evaluate(scorer, split, part, config, show_progress=False)

    def document(self, valid, test):
        return metrics_document(
            dataset="shop",
            model="recmind",
            recipe="default",
            seed=3,
            split="leave-one-out",
            best_epoch=12,
            valid=valid,
            test=test,
            seconds={"train": 1.5},
            peak_memory_mb=512.0,
        )

    def test_keys_of_the_contract(self, evaluation):
        document = json.loads(json.dumps(self.document(evaluation("valid"), evaluation("test")), allow_nan=False))
        contract = ["dataset", "model", "recipe", "seed", "split", "best_epoch", "valid", "test", "strata", "seconds"]
        assert {*contract, "peak_memory_mb"} <= document.keys()
        for part in ("valid", "test"):
            assert {"recall@20", "recall@40", "ndcg@20", "ndcg@40"} <= document[part].keys()
        for name in ("degree_0", "degree_1_3", "degree_4_10", "degree_11_50", "degree_over_50"):
            stratum = document["strata"][f"items_{name}"]
            assert stratum.keys() == {"n", "recall@20", "recall@40", "ndcg@20", "ndcg@40"}
        assert document["seconds"] == {"train": 1.5}
        assert document["n_users"]["test"] > 0

    def test_strata_are_those_of_the_test(self, evaluation):
        valid, test = evaluation("valid"), evaluation("test")
        both = self.document(valid, test)
        assert (both["strata"], both["strata_of"]) == (test.strata, "test")
        alone = self.document(valid, None)
        assert (alone["strata"], alone["strata_of"], alone["test"]) == (valid.strata, "valid", {})

    def test_nothing_evaluated(self):
        document = self.document(None, None)
        assert (document["valid"], document["test"], document["strata"]) == ({}, {}, {})
