"""Tiny models of the real kinds, made from configurations and saved as any Hugging Face model."""

from __future__ import annotations

import shutil

import pytest
import torch

WORDS = [f"w{k}" for k in range(60)]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny models gain nothing from threads, and on a busy machine threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def threads():
    """Torch's number of threads, to be set within one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def word_tokenizer(folder, special, template=None, **names):
    """A tokenizer with one token per known word, saved into ``folder``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        used = [(token, vocabulary[token]) for token in special if token in template]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=special[0], **names).save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    size = word_tokenizer(folder, special, "[CLS] $A [SEP]", **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        initializer_range=0.3,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """A decoder whose tokenizer has no padding token, as Llama's."""
    from transformers import LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("llama")
    size = word_tokenizer(folder, ["<unk>", "<s>", "</s>"], "<s> $A", bos_token="<s>", eos_token="</s>")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=None,
    )
    LlamaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory):
    """A decoder saved with its language-model head, which asks for padding on the left."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("qwen")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # Qwen's tokenizer class builds byte-level BPE whatever is saved, so it gets a real one.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    names = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "padding_side": "left"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    size = tokenizer.get_vocab_size()
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def misread_qwen(tiny_qwen, tmp_path):
    """Files of a word tokenizer, which Qwen's tokenizer class loads without complaint and cannot read."""
    shutil.copytree(tiny_qwen, tmp_path / "model")
    word_tokenizer(tmp_path / "model", ["<unk>", "<end>"], eos_token="<end>")
    return tmp_path / "model"


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory):
    from transformers import T5Config, T5Model

    folder = tmp_path_factory.mktemp("t5")
    special = ["<unk>", "<pad>", "</s>"]
    size = word_tokenizer(folder, special, "$A </s>", pad_token="<pad>", eos_token="</s>")
    torch.manual_seed(3)
    config = T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=1)
    T5Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts():
    """Forty different texts of 1 to 20 known words."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, 21, (40,), generator=generator).tolist()
    return [
        " ".join(WORDS[k] for k in torch.randint(0, len(WORDS), (length,), generator=generator).tolist())
        for length in lengths
    ]
