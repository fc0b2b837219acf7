from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.language.clipping import Clipper

SENTENCES = [
    "Unbelievably moisturising shampoo, 12 oz. (pack of 3)",
    "naïve café — ＦＵＬＬ width ㎏ ½ ﬁne",
    "日本語のシャンプー",
    "x" * 300,
    "😀 😀😀 soap",
    "",
    " leading and trailing ",
    "it's 50% off!!! really",
    "supercalifragilisticexpialidocious " * 40,
]


@pytest.fixture(scope="module")
def wordpiece():
    from transformers import AutoTokenizer

    from recmind.config import LanguageConfig
    from recmind.language.source import find_model

    return AutoTokenizer.from_pretrained(find_model(LanguageConfig()).folder)


@pytest.fixture(scope="module")
def bytes_bpe():
    """Byte-level BPE as in GPT-2, Llama 3 and Qwen, trained on the sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<end>"])
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


class Slow:
    """The same tokenizer without its fast side."""

    is_fast = False

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **settings):
        return self.tokenizer(text, **settings)


def own_count(tokenizer, text):
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", ["wordpiece", "bytes_bpe"])
@pytest.mark.parametrize("budget", [1, 2, 3, 7, 16, 64])
def test_a_cut_text_is_a_prefix_within_the_budget_by_the_tokenizers_own_count(request, kind, budget):
    tokenizer = request.getfixturevalue(kind)
    for text, cut in zip(SENTENCES, Clipper(tokenizer)(SENTENCES, budget), strict=True):
        assert text.startswith(cut)
        assert own_count(tokenizer, cut) <= budget
        # A word beyond 100 letters is one unknown token to WordPiece, until it is cut.
        if own_count(tokenizer, text) <= budget and "xxx" not in text:
            assert cut == text


def test_the_whole_budget_is_used(wordpiece):
    text = "one two three four five six seven eight"
    assert Clipper(wordpiece)([text], 5) == ["one two three four five"]
    assert Clipper(wordpiece)(["moisturising shampoo"], 3) == ["moist" + "uri" + "sing"]


def test_a_long_text_is_cut_where_its_head_alone_would_not_fill_the_budget(wordpiece):
    blanks = "soap" + " " * 500 + "brush " * 10
    assert own_count(wordpiece, Clipper(wordpiece)([blanks], 5)[0]) == 5


@pytest.mark.parametrize("kind", ["wordpiece", "bytes_bpe"])
@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.text(max_size=60), max_size=6), budget=st.integers(1, 12))
def test_no_text_whatsoever_passes_its_budget(request, kind, texts, budget):
    tokenizer = request.getfixturevalue(kind)
    cut = Clipper(tokenizer)(texts, budget)
    assert len(cut) == len(texts)
    assert all(own_count(tokenizer, text) <= budget for text in cut)
    assert all(text.startswith(short) for text, short in zip(texts, cut, strict=True))


def test_a_character_of_several_tokens_is_cut_as_a_whole(bytes_bpe):
    assert own_count(bytes_bpe, "\u0915") == 3
    assert Clipper(bytes_bpe)(["a\u0915"], 2) == ["a"]
    assert Clipper(bytes_bpe)(["a\u0915"], 4) == ["a\u0915"]


@pytest.mark.parametrize("budget", [1, 4, 16])
def test_a_tokenizer_without_a_fast_side_is_cut_one_by_one(wordpiece, budget):
    slow = Clipper(Slow(wordpiece))(SENTENCES, budget)
    for text, cut in zip(SENTENCES, slow, strict=True):
        assert text.startswith(cut)
        assert own_count(wordpiece, cut) <= budget
    assert slow[7] == Clipper(wordpiece)([SENTENCES[7]], budget)[0]


def test_cutting_leaves_the_tokenizers_own_settings_alone(bytes_bpe):
    before = bytes_bpe("it's 50% off")["input_ids"]
    Clipper(bytes_bpe)(["it's 50% off"], 2)
    assert bytes_bpe("it's 50% off")["input_ids"] == before
