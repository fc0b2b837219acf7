from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.config import SplitConfig, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.errors import ConfigError
from recmind.text.profiles import item_texts, user_texts


def by_words(texts, n):
    """A tokenizer whose tokens are words."""
    return [" ".join(text.split(" ")[:n]) for text in texts]


ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Soap", None, "<br>", "Brush with a long name"],
        "brand": ["Acme", "Bolt", " ", None],
        "description": ["It cleans.", None, None, "A brush"],
    }
)


def test_an_item_is_its_fields_in_the_order_of_the_template():
    texts = item_texts(ITEMS, TextConfig(), by_words)
    assert texts == [
        "Soap. Brand: Acme. Description: It cleans.",
        "Brand: Bolt",
        None,
        "Brush with a long name. Description: A brush",
    ]


def test_each_field_and_the_whole_text_keep_to_their_budgets():
    config = TextConfig(field_tokens={"title": 2, "description": 1}, max_tokens=8)
    assert item_texts(ITEMS, config, by_words) == ["Soap. Description: It", None, None, "Brush with. Description: A"]
    long = pl.DataFrame({"item_id": ["a"], "title": [" ".join("abcdefghijkl")]})
    assert item_texts(long, TextConfig(max_tokens=8), by_words) == ["a b c d e f g h"]


def test_a_field_without_a_budget_is_left_out_and_an_unknown_one_refused():
    assert item_texts(ITEMS, TextConfig(field_tokens={"brand": 4}), by_words)[0] == "Brand: Acme"
    with pytest.raises(ConfigError, match=r"text\.field_tokens: unknown item fields(.|\n)*colour"):
        item_texts(ITEMS, TextConfig(field_tokens={"colour": 4}), by_words)


def test_the_instruction_stands_in_front_of_texts_but_not_of_nothing():
    texts = item_texts(ITEMS, TextConfig(item_instruction="passage: "), by_words)
    assert texts[1:3] == ["passage: Brand: Bolt", None]


def test_an_instruction_that_fills_the_budget_is_refused():
    config = TextConfig(item_instruction="one two three four five six seven eight nine ", max_tokens=8)
    with pytest.raises(ConfigError, match=r"text\.item_instruction: the instruction leaves no room"):
        item_texts(ITEMS, config, by_words)


def test_items_without_any_text_column():
    assert item_texts(pl.DataFrame({"item_id": ["a", "b"]}), TextConfig(), by_words) == [None, None]
    assert item_texts(ITEMS.clear(), TextConfig(), by_words) == []


def shop(reviews=True, profiles=False, n_items=8):
    """User u buys items 0..4 in order, user v items 5..7 without writing; w writes only markup."""
    rows = [("u", f"i{k}", k, f"review {k}") for k in range(5)]
    rows += [("v", f"i{k}", k, None) for k in (5, 6, 7)]
    rows += [("w", f"i{k}", k, "<p> </p>") for k in (1, 2, 3)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "order", "review_text"], orient="row")
    items = pl.DataFrame(
        {"item_id": [f"i{k}" for k in range(n_items)], "title": [f"Thing {k}" for k in range(n_items)]}
    )
    users = pl.DataFrame({"user_id": ["u", "v"], "profile": ["likes tea", None]}) if profiles else None
    return Dataset.from_frames(frame if reviews else frame.drop("review_text"), items, users)


def texts_of(dataset, **settings):
    train = split_dataset(dataset, SplitConfig()).train
    return user_texts(dataset, train, TextConfig(**settings), by_words)


def test_reviews_of_training_come_newest_first_and_titles_stand_in():
    assert texts_of(shop(), user_view="reviews") == [
        "Someone who wrote: review 2; review 1; review 0",
        "Someone who chose: Thing 5",
        "Someone who chose: Thing 1",
    ]


def test_titles_are_those_of_training_items_newest_first():
    assert texts_of(shop(), user_view="titles")[0] == "Someone who chose: Thing 2; Thing 1; Thing 0"
    assert texts_of(shop(reviews=False), user_view="reviews")[0] == "Someone who chose: Thing 2; Thing 1; Thing 0"


def test_at_most_m_u_snippets_within_their_budget():
    assert texts_of(shop(), user_view="reviews", max_snippets=2)[0] == "Someone who wrote: review 2; review 1"
    assert texts_of(shop(), user_view="reviews", snippet_tokens=1)[0] == "Someone who wrote: review; review; review"


def test_a_profile_stands_in_front():
    texts = texts_of(shop(profiles=True), user_view="titles", max_snippets=1, profile_tokens=1)
    assert texts == [
        "About: likes. Someone who chose: Thing 2",
        "Someone who chose: Thing 5",
        "Someone who chose: Thing 1",
    ]


def test_a_user_without_anything_to_say_has_no_text():
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "review_text": ["", "good"]})
    dataset = Dataset.from_frames(
        frame, pl.DataFrame({"item_id": ["a", "b"], "title": [None, None]}, {"item_id": pl.String, "title": pl.String})
    )
    assert texts_of(dataset, user_view="reviews") == [None, "Someone who wrote: good"]
    assert texts_of(dataset, user_view="titles") == [None, None]


@pytest.mark.parametrize(
    "kind", ["leave-one-out", "ratio", "cold-items", "cold-and-warm", "short-histories", "valid-only"]
)
@pytest.mark.parametrize("view", ["reviews", "titles"])
def test_held_out_rows_do_not_reach_the_texts_of_users(kind, view):
    rng = np.random.default_rng(3)
    pairs = np.unique(rng.integers(0, [[12, 20]], size=(150, 2)), axis=0)
    order = rng.permutation(len(pairs))
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u:02}" for u in pairs[:, 0]],
            "item_id": [f"i{i:02}" for i in pairs[:, 1]],
            "order": order,
            "review_text": [f"words {k}" for k in range(len(pairs))],
        }
    )
    items = pl.DataFrame({"item_id": [f"i{i:02}" for i in range(20)], "title": [f"Thing {i}" for i in range(20)]})
    dataset = Dataset.from_frames(frame, items)
    split = split_dataset(dataset, SplitConfig(kind=kind))
    held_out = np.ones(dataset.n_interactions, dtype=bool)
    held_out[split.train.rows] = False
    assert held_out.sum() >= 12

    spoilt = dataset.interactions.with_columns(
        pl.when(pl.Series(held_out)).then(pl.lit("spoiler")).otherwise("review_text").alias("review_text"),
        pl.when(pl.Series(held_out)).then(pl.lit(0, pl.Int32)).otherwise("item").cast(pl.Int32).alias("item"),
    )
    other = Dataset(spoilt, dataset.items, dataset.users)
    config = TextConfig(user_view=view)
    expected = user_texts(dataset, split.train, config, by_words)
    assert user_texts(other, split.train, config, by_words) == expected
    assert sum(text is not None for text in expected) >= 10
    # The same change inside the training part does show.
    spoilt_training = dataset.interactions.with_columns(pl.lit("spoiler").alias("review_text"))
    changed = user_texts(Dataset(spoilt_training, dataset.items, dataset.users), split.train, config, by_words)
    assert (changed != expected) == (view == "reviews")


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=8), st.integers(1, 5))
def test_there_is_one_text_per_item_whatever_the_titles(titles, budget):
    frame = pl.DataFrame({"title": titles}, {"title": pl.String})
    texts = item_texts(frame, TextConfig(field_tokens={"title": budget}), by_words)
    assert len(texts) == len(titles)
    for title, text in zip(titles, texts, strict=True):
        assert text is None or text.strip()
        assert title is not None or text is None
        assert text is None or len(text.split(" ")) <= budget
