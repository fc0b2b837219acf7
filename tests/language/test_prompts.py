from __future__ import annotations

import json
import shutil

import polars as pl
import pytest

from recmind.config import LanguageConfig, SplitConfig, TextConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.errors import ConfigError, EncoderError
from recmind.language.encoder import TextEncoder
from recmind.language.features import encode_items, language_features
from recmind.language.prompts import with_prompts
from recmind.language.source import find_model

PROMPTS = {"product": "w1 w2: ", "shopper": "w3: ", "": "never"}


@pytest.fixture
def declaring(tiny_bert, tmp_path):
    """A model that declares prompts; ``default`` names its own choice."""

    def folder(default=None):
        shutil.copytree(tiny_bert, tmp_path / "model", dirs_exist_ok=True)
        content = {"prompts": PROMPTS, "default_prompt_name": default}
        (tmp_path / "model" / "config_sentence_transformers.json").write_text(json.dumps(content))
        return tmp_path / "model"

    return folder


def instructions(folder, text=None, **names):
    language = LanguageConfig(encoder=str(folder), **names)
    found = with_prompts(find_model(language), TextConfig(**text or {}), language)
    return found.item_instruction, found.user_instruction


def test_a_prompt_is_chosen_by_its_name(declaring):
    assert instructions(declaring(), item_prompt="product", user_prompt="shopper") == ("w1 w2: ", "w3: ")
    assert instructions(declaring()) == ("", "")


def test_the_models_own_choice_gives_way_to_an_instruction_and_to_none(declaring):
    folder = declaring("product")
    assert instructions(folder) == ("w1 w2: ", "w1 w2: ")
    assert instructions(folder, {"item_instruction": "w9: "}) == ("w9: ", "w1 w2: ")
    assert instructions(folder, item_prompt="none", user_prompt="shopper") == ("", "w3: ")


def test_an_unknown_prompt_lists_those_there_are(declaring, tiny_bert):
    with pytest.raises(EncoderError, match=r"language\.item_prompt(.|\n)*'query'(.|\n)*auto, none, product, shopper"):
        instructions(declaring(), item_prompt="query")
    with pytest.raises(EncoderError, match=r"language\.user_prompt(.|\n)*accepted: auto, none\n"):
        instructions(tiny_bert, user_prompt="query")


def test_a_prompt_and_an_instruction_are_one_too_many(declaring):
    with pytest.raises(ConfigError, match=r"two instructions(.|\n)*'product'(.|\n)*'w9: '"):
        instructions(declaring(), {"item_instruction": "w9: "}, item_prompt="product")


def test_the_texts_of_a_dataset_begin_with_it(declaring, tmp_path):
    folder = declaring()
    language = LanguageConfig(
        encoder=str(folder), device="cpu", dtype="float32", cache_dir=tmp_path / "cache", item_prompt="product"
    )
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["w7 w8", None]})
    vectors, known = encode_items(items, TextConfig(), language, show_progress=False)
    plain = TextEncoder.load(LanguageConfig(encoder=str(folder), device="cpu", dtype="float32"))
    assert known.tolist() == [True, False]
    assert vectors[0].tolist() == plain.encode(["w1 w2: w7 w8"], show_progress=False)[0].tolist()
    frame = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], "order": [1, 2, 1]})
    dataset = Dataset.from_frames(frame, items)
    split = split_dataset(dataset, SplitConfig(kind="valid-only"))
    found = [
        language_features(dataset, split, TextConfig(), settings, show_progress=False).encoder
        for settings in (language, language.model_copy(update={"item_prompt": "auto"}))
    ]
    assert found[0]["item_instruction"] == "w1 w2: "
    assert "item_instruction" not in found[1]
    assert found[0]["prompt_version"] != found[1]["prompt_version"]
