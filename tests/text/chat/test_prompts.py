from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.config import SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split, split_dataset
from recmind.errors import DataError
from recmind.text.chat.prompts import build_prompts, check_sources

PROMPT = """
system = ""
user = "{about}{history} {\\"profile\\": 1}"
about = "({value}) "
[history]
entry = "[{fields}]"
separator = ";"
joined = ","
[history.fields]
title = "{value}"
rating = "r{value}"
review = "w {value}"
[answer]
keys = []
"""


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    path = tmp_path / "p.toml"
    path.write_text(PROMPT)
    return str(path)


def shop() -> Dataset:
    rows = [("u", f"i{k}", k, 1.0 + k / 2, f"{{history}} says {k}") for k in range(5)]
    rows += [("v", "i0", 0, None, None), ("v", "i9", 1, 5.0, None), ("w", "i9", 0, 4.0, "<b> </b>")]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "order", "rating", "review_text"], orient="row")
    items = pl.DataFrame(
        {"item_id": ["i9", *(f"i{k}" for k in range(5))], "title": [None, *(f"T {k}" for k in range(5))]}
    )
    return Dataset.from_frames(frame, items, pl.DataFrame({"user_id": ["u"], "profile": ["likes tea a lot"]}))


def test_newest_training_rows_first_with_what_each_one_has(prompt, text_config, by_words):
    dataset = shop()
    split = split_dataset(dataset, SplitConfig())
    prompts = build_prompts(dataset, split, text_config(prompt=prompt, text={"profile_tokens": 2}), by_words)
    # Braces in a review are text. w has a rating alone, which says nothing.
    assert prompts.texts == [
        "(likes tea) [T 2,r2,w {history} says 2];[T 1,r1.5,w {history} says 1];"
        '[T 0,r1,w {history} says 0] {"profile": 1}',
        '[T 0] {"profile": 1}',
    ]
    assert prompts.users.tolist() == [0, 1]
    assert [rows.tolist() for rows in prompts.rows] == [[2, 1, 0], [5]]
    assert prompts.messages(1) == [{"role": "user", "content": '[T 0] {"profile": 1}'}]


def test_budgets_and_views(prompt, text_config, by_words):
    dataset = shop()
    split = split_dataset(dataset, SplitConfig())

    def first(view: str = "reviews", text: dict[str, object] | None = None, **profiles: object) -> str:
        text = {"profile_tokens": 1, "max_snippets": 9, "snippet_tokens": 9, **(text or {})}
        config = text_config(view, text, prompt=prompt, max_snippets=1, **profiles)
        return build_prompts(dataset, split, config, by_words).texts[0]

    assert first() == '(likes) [T 2,r2,w {history} says 2] {"profile": 1}'
    assert first("titles") == '(likes) [T 2,r2] {"profile": 1}'
    assert first(text={"field_tokens": {"title": 1}}) == '(likes) [T,r2,w {history} says 2] {"profile": 1}'
    assert first(text={"field_tokens": {"brand": 1}}) == '(likes) [r2,w {history} says 2] {"profile": 1}'
    assert first(snippet_tokens=2) == '(likes) [T 2,r2,w {history} says] {"profile": 1}'


def test_nothing_to_say_about_anybody(text_config, by_words):
    dataset = Dataset.from_frames(pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]}))
    prompts = build_prompts(dataset, split_dataset(dataset, SplitConfig()), text_config(), by_words)
    assert (len(prompts), prompts.users.tolist(), prompts.rows) == (0, [], [])


@pytest.mark.parametrize("kind", ["leave-one-out", "ratio", "cold-items", "cold-and-warm", "valid-only"])
@pytest.mark.parametrize("view", ["reviews", "titles"])
def test_no_held_out_word_and_no_held_out_item_is_in_a_prompt(dataset, text_config, by_words, kind, view):
    split = split_dataset(dataset, SplitConfig(kind=kind, test_fraction=0.3))
    held_out = np.ones(dataset.n_interactions, dtype=bool)
    held_out[split.train.rows] = False
    assert held_out.sum() >= 10
    marks = pl.Series(held_out)
    spoilt = dataset.interactions.with_columns(
        pl.when(marks).then(pl.lit("HELDOUT")).otherwise(pl.lit("TRAINED")).alias("review_text"),
        pl.when(marks).then(pl.lit(-777.0)).otherwise("rating").alias("rating"),
    )
    planted = Dataset(spoilt, dataset.items, dataset.users)
    prompts = build_prompts(planted, split, text_config(view), by_words)
    text = "\n".join(prompts.texts)
    assert "HELDOUT" not in text
    assert "-777" not in text
    assert ("TRAINED" in text) == (view == "reviews")
    titles = dataset.items["title"].to_list()
    for user, prompt in zip(prompts.users.tolist(), prompts.texts, strict=True):
        own = {titles[item] for item in split.train.items[split.train.users == user]}
        lines = [line[2:].split(" | ")[0] for line in prompt.splitlines() if line.startswith("- ")]
        assert set(lines) == own


class TestGuard:
    def planted(self, dataset: Dataset, split: Split, text_config, by_words, rows: list[int]) -> None:
        prompts = build_prompts(dataset, split, text_config(), by_words)
        spoilt = [np.array(rows), *prompts.rows[1:]]
        check_sources(dataclasses.replace(prompts, rows=spoilt), dataset, split)

    def test_passes_what_is_trained_on(self, dataset, split, text_config, by_words):
        self.planted(dataset, split, text_config, by_words, [0, 1, 2])

    @pytest.mark.parametrize("row", [3, 4])
    def test_finds_a_validation_and_a_test_row(self, dataset, split, text_config, by_words, row):
        with pytest.raises(
            DataError, match=r"'u000': a prompt holds an interaction that is not(.|\n)*nothing was sent"
        ):
            self.planted(dataset, split, text_config, by_words, [0, row])

    def test_finds_a_row_of_somebody_else(self, dataset, split, text_config, by_words):
        with pytest.raises(DataError, match="not of the user's training part"):
            self.planted(dataset, split, text_config, by_words, [0, 5])

    def test_a_training_part_that_overlaps_what_is_held_out_is_found_before_anything_is_asked(
        self, dataset, split, text_config, by_words, server
    ):
        # As if a faulty split gave the test rows to training too.
        both = np.sort(np.concatenate([split.train.rows, split.test.rows]))
        codes = dataset.user_codes[both], dataset.item_codes[both]
        leaky = dataclasses.replace(split, train=type(split.train)(*codes, both))
        with pytest.raises(DataError, match="not of the user's training part"):
            build_prompts(dataset, leaky, text_config(), by_words)
        assert server.requests == []
