from __future__ import annotations

import io

from rich.console import Console

from recmind.cli.show import print_diagnosis, print_metrics
from recmind.doctor import Diagnosis
from recmind.training.candidates import Candidate, Tried

METRICS = {
    "dataset": "shop",
    "model": "recmind",
    "recipe": "default",
    "seed": 3,
    "split": "leave-one-out",
    "best_epoch": 35,
    "valid": {"recall@10": 0.125, "recall@20": 0.25},
    "test": {"recall@10": 0.0625, "recall@20": 0.5, "average_popularity@10": 1234.5},
    "strata": {
        "items_degree_0": {"n": 0, "recall@10": None, "recall@20": None},
        "items_degree_1_3": {"n": 1200, "recall@10": 0.1, "recall@20": 0.2},
        "items_degree_over_50": {"n": 7, "recall@10": 0.3, "recall@20": 0.4},
    },
    "intervals": {"test": {"recall@10": [0.05, 0.07], "recall@20": [0.4, 0.6], "mrr@20": [0.1, 0.2]}, "valid": {}},
    "seconds": {"train": 12.34},
    "peak_memory_mb": 1500.4,
}


def shown(function, value) -> list[str]:
    """Lines printed, without table borders and with single spaces."""
    console = Console(file=io.StringIO(), width=100)
    function(value, console)
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    return [" ".join(line.replace("┃", "│").replace("│", " ").split()) for line in text.splitlines()]


def test_names_with_brackets_are_printed_as_they_are():
    assert shown(print_metrics, {"dataset": "shop[/]", "model": "text"})[0].startswith("text on shop[/] (recipe")


def test_metrics_stand_in_rows_and_part_and_cutoff_in_columns():
    lines = shown(print_metrics, METRICS)
    assert "recmind on shop (recipe default, seed 3)" in lines
    assert lines[lines.index("valid valid test test") + 1] == "metric @10 @20 @10 @20"
    assert "recall 0.1250 0.2500 0.0625 0.5000" in lines
    assert "average_popularity 1,234" in lines


def test_what_was_known_is_said():
    assert "test: with train+valid known" in shown(print_metrics, METRICS | {"known": "train+valid"})
    assert not any("known" in line for line in shown(print_metrics, METRICS))


def test_strata_show_the_largest_cutoff_and_leave_empty_ones_out():
    lines = shown(print_metrics, METRICS)
    assert "by training degree n recall@20" in lines
    assert not any(line.startswith("items, 0") for line in lines)
    assert "items, 1 to 3 1,200 0.2000" in lines
    assert "items, over 50 7 0.4000" in lines


def test_intervals_of_the_largest_cutoff():
    assert "95% intervals: test recall@20 0.4000 to 0.6000" in shown(print_metrics, METRICS)


def test_what_was_chosen_on_the_validation_part():
    tried = [Tried(Candidate(0.2), 4, 0.3, 1.0), Tried(Candidate(0.15), 8, 0.4, 1.0)]
    calibrated = {"sequence_weight": 0.5, "recent_weight": 4.0, "popularity_factor": 0.55, "before": 0.3, "after": 0.4}
    found = " ".join(
        shown(print_metrics, {**METRICS, "tried": [one.to_json() for one in tried], "calibrated": calibrated})
    )
    assert "temperature 0.15 (temperature 0.2: 0.3000; temperature 0.15: 0.4000)" in found
    assert "weight of the latest items 4, of histories in order 0.5, 55% of the popularity term" in found
    assert not any("chosen" in line for line in shown(print_metrics, METRICS))
    without = Tried(Candidate(0.15, sequence=False), 8, 0.398, 1.0, 0.0021)
    found = " ".join(shown(print_metrics, {**METRICS, "tried": [one.to_json() for one in (*tried, without)]}))
    assert "chosen on the validation part: temperature 0.15, without order (" in found
    assert "temperature 0.15, without order: 0.3980, one standard error 0.0021)" in found


def test_cost():
    assert "best epoch 35, train 12.3 s, peak memory 1,500 MB" in shown(print_metrics, METRICS)


def test_a_run_without_test_part():
    lines = shown(print_metrics, {**METRICS, "test": {}, "strata": {}})
    assert lines[lines.index("valid valid") + 1] == "metric @10 @20"


def test_diagnosis_with_problems():
    diagnosis = Diagnosis({"libraries": {"numpy": "2.0", "peft": None}}, ["numpy [broken] is old"], ["slow"])
    lines = shown(print_diagnosis, diagnosis)
    assert "peft not installed" in lines
    assert "problem: numpy [broken] is old" in lines
    assert "warning: slow" in lines
    assert not any("works." in line for line in lines)
