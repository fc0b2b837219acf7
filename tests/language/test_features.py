from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recmind.config import LanguageConfig, SplitConfig, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part, split_dataset
from recmind.errors import ConfigError
from recmind.language.encoder import TextEncoder
from recmind.language.features import encode_items, language_features, mean_of_items
from recmind.schema import Columns


@pytest.fixture
def language(tiny_bert, tmp_path):
    return LanguageConfig(encoder=str(tiny_bert), device="cpu", dtype="float32", cache_dir=tmp_path / "cache")


@pytest.fixture
def dataset():
    """12 users with 5 interactions each over 20 items; items 0 to 3 have no text."""
    rng = np.random.default_rng(7)
    rows = [
        (f"u{user:02}", f"i{item:02}", position, f"w{user} w{item} w{position}")
        for user in range(12)
        for position, item in enumerate(rng.choice(20, 5, replace=False))
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "order", "review_text"], orient="row")
    titles = [None, "", "<br>", "  ", *[f"w{k} w{k + 20} w{k + 40}" for k in range(4, 20)]]
    items = pl.DataFrame({"item_id": [f"i{k:02}" for k in range(20)], "title": titles})
    return Dataset.from_frames(frame, items)


def features(dataset, language, split=None, **text):
    split = split or split_dataset(dataset, SplitConfig())
    return language_features(dataset, split, TextConfig(**text), language, show_progress=False)


def test_rows_are_unit_vectors_and_rows_without_text_are_zero(dataset, language):
    found = features(dataset, language)
    assert found.items.dtype == found.users.dtype == np.float32
    assert (found.items.shape, found.users.shape) == ((20, 16), (12, 16))
    assert found.items_known.tolist() == [False] * 4 + [True] * 16
    np.testing.assert_allclose(np.linalg.norm(found.items, axis=1), found.items_known, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.users, axis=1), found.users_known, atol=1e-6)
    assert {"model", "weights_sha256", "pooling", "dtype", "prompt_version", "d_lm"} <= set(found.encoder)


def test_a_users_items_view_is_the_mean_of_training_items_with_text():
    items = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)
    known = np.array([True, True, False])
    train = Part(np.array([0, 0, 1, 1, 2], np.int32), np.array([0, 1, 1, 2, 2], np.int32), np.arange(5))
    users, found = mean_of_items(items, known, train, 4)
    half = 1 / np.sqrt(2)  # (1, 0) + (0, 1), normalised
    np.testing.assert_allclose(users, [[half, half], [0, 1], [0, 0], [0, 0]], atol=1e-7)
    assert found.tolist() == [True, True, False, False]


def test_vectors_that_cancel_out_are_not_known():
    items = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    train = Part(np.array([0, 0], np.int32), np.array([0, 1], np.int32), np.arange(2))
    users, found = mean_of_items(items, np.array([True, True]), train, 1)
    assert (users.tolist(), found.tolist()) == ([[0, 0]], [False])


def test_reviews_and_titles_are_encoded_as_texts(dataset, language):
    split = split_dataset(dataset, SplitConfig())
    encoder = TextEncoder.load(language)
    newest = dataset.interactions[Columns.REVIEW][int(split.train.rows[split.train.users == 0][-1])]
    expected = encoder.encode([f"Someone who wrote: {newest}"], show_progress=False)[0]
    found = features(dataset, language, user_view="reviews", max_snippets=1)
    np.testing.assert_allclose(found.users[0], expected, atol=2e-6)


def test_a_user_without_a_text_is_the_mean_of_the_items(language):
    # Item b has a brand and no title, so a text of titles has nothing to say about user v.
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]})
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["w1", None], "brand": [None, "w2"]})
    found = features(Dataset.from_frames(frame, items), language, user_view="titles")
    assert found.users_known.tolist() == [True, True]
    np.testing.assert_allclose(found.users[1], found.items[1], atol=1e-6)
    assert not np.allclose(found.users[0], found.items[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["leave-one-out", "cold-items", "cold-and-warm", "ratio", "valid-only"])
@pytest.mark.parametrize("view", ["items", "titles", "reviews"])
def test_changing_every_held_out_row_changes_nothing(dataset, language, kind, view):
    split = split_dataset(dataset, SplitConfig(kind=kind, test_fraction=0.3))
    held_out = np.ones(dataset.n_interactions, dtype=bool)
    held_out[split.train.rows] = False
    assert held_out.sum() >= 5
    marks = pl.Series(held_out)
    spoilt = dataset.interactions.with_columns(
        pl.when(marks).then(pl.lit("w59 w59")).otherwise("review_text").alias("review_text"),
        pl.when(marks).then(pl.lit(19, pl.Int32)).otherwise("item").cast(pl.Int32).alias("item"),
    )
    expected = features(dataset, language, split, user_view=view)
    found = features(Dataset(spoilt, dataset.items, dataset.users), language, split, user_view=view)
    for name in ("items", "items_known", "users", "users_known"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    # The test can fail: a change inside the training part is seen.
    training = dataset.interactions.with_columns(pl.lit("w58").alias("review_text"), pl.lit(5, pl.Int32).alias("item"))
    edges = Part(split.train.users, np.full(len(split.train), 5, np.int32), split.train.rows)
    leaky = type(split)(split.kind, split.n_users, split.n_items, edges, split.valid, split.test)
    changed = features(Dataset(training, dataset.items, dataset.users), language, leaky, user_view=view)
    assert not np.array_equal(changed.users, expected.users)


def test_new_items_get_the_vectors_that_they_would_have_had_in_training(dataset, language):
    known_items = features(dataset, language)
    fresh = LanguageConfig(**{**language.model_dump(), "cache_dir": language.cache_dir.parent / "other"})
    vectors, known = encode_items(dataset.items, TextConfig(), fresh, show_progress=False)
    assert np.array_equal(known, known_items.items_known)
    np.testing.assert_allclose(vectors, known_items.items, atol=2e-6)


def test_new_items_without_any_text(language):
    vectors, known = encode_items(pl.DataFrame({"item_id": ["a"]}), TextConfig(), language, show_progress=False)
    assert (vectors.shape, vectors.any(), known.tolist()) == ((1, 16), False, [False])


def test_an_instruction_changes_the_vectors(dataset, language):
    plain = features(dataset, language)
    instructed = features(dataset, language, item_instruction="w7 ")
    assert not np.allclose(plain.items[4:], instructed.items[4:], atol=1e-3)
    assert plain.encoder["prompt_version"] != instructed.encoder["prompt_version"]


def test_a_wrong_template_is_reported_by_name(dataset, language):
    with pytest.raises(ConfigError, match=r"text\.template(.|\n)*'nothing'"):
        features(dataset, language, template="nothing")


def test_budgets_hold_by_the_builtin_tokenizers_own_count():
    from transformers import AutoTokenizer

    from recmind.text.profiles import item_texts

    encoder = TextEncoder.load(LanguageConfig(device="cpu"))
    tokenizer = AutoTokenizer.from_pretrained(encoder.source.folder)
    words = ["Revitalising", "shampoo!", "naïve", "12oz", "(pack)", "日本語", "antidisestablishmentarianism", "x"]
    rng = np.random.default_rng(1)
    prose = [" ".join(rng.choice(words, rng.integers(1, 80))) for _ in range(60)]
    items = pl.DataFrame({"title": prose, "brand": prose[::-1], "description": prose})
    config = TextConfig(field_tokens={"title": 9, "brand": 5, "description": 30}, max_tokens=32)
    counts = [
        len(tokenizer(t or "", add_special_tokens=False)["input_ids"]) for t in item_texts(items, config, encoder.clip)
    ]
    assert max(counts) == 32
    for name, budget in config.field_tokens.items():
        alone = TextConfig(field_tokens={name: budget}, max_tokens=128)
        label = {"title": "", "brand": "Brand: ", "description": "Description: "}[name]
        texts = [text or "" for text in item_texts(items, alone, encoder.clip)]
        values = [text.removeprefix(label) for text in texts]
        assert max(len(ids) for ids in tokenizer(values, add_special_tokens=False)["input_ids"]) == budget
