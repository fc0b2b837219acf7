from __future__ import annotations

import json
import shutil

import pytest
import torch

from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language.encoder import TextEncoder
from recmind.language.resolve import is_decoder, native_bfloat16, resolve_device, resolve_dtype


def loaded(folder, **settings):
    return TextEncoder.load(LanguageConfig(encoder=str(folder), device="cpu", **settings))


def declared(folder, tmp_path, content):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "1_Pooling").mkdir()
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(content))
    return tmp_path / "model"


def test_pooling_follows_the_kind_of_model(tiny_bert, tiny_llama, tiny_qwen):
    assert [loaded(folder).pooling for folder in (tiny_bert, tiny_llama, tiny_qwen)] == ["mean", "last", "last"]
    assert loaded(tiny_bert, pooling="cls").pooling == "cls"


@pytest.mark.parametrize(
    ("content", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 16}, "last"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
def test_pooling_follows_what_the_model_declares(tiny_bert, tmp_path, content, pooling):
    assert loaded(declared(tiny_bert, tmp_path, content)).pooling == pooling


@pytest.mark.parametrize("content", [{"pooling_mode_max_tokens": True}, {"pooling_mode": ["mean", "cls"]}])
def test_a_pooling_that_is_not_supported_is_refused_unless_one_is_chosen(tiny_bert, tmp_path, content):
    folder = declared(tiny_bert, tmp_path, content)
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json: the model declares a pooling"):
        loaded(folder)
    assert loaded(folder, pooling="mean").pooling == "mean"


def test_causal_models_are_decoders_and_masked_ones_are_not():
    from transformers import BertConfig, GPT2Config, LlamaConfig, ModernBertConfig, Qwen3Config, RobertaConfig

    assert all(is_decoder(kind()) for kind in (GPT2Config, LlamaConfig, Qwen3Config))
    assert not any(is_decoder(kind()) for kind in (BertConfig, ModernBertConfig, RobertaConfig))


def test_the_window_is_the_smallest_of_the_limits(tiny_bert, tiny_llama, tmp_path):
    assert loaded(tiny_bert).window == 40
    assert loaded(tiny_llama).window == 64
    assert TextEncoder.load(LanguageConfig()).window == 256  # MiniLM has 512 positions and was made for 256
    shutil.copytree(tiny_bert, tmp_path / "short")
    (tmp_path / "short" / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    assert loaded(tmp_path / "short").window == 12


def test_the_number_format_follows_the_processor():
    cpu = torch.device("cpu")
    assert resolve_dtype("auto", cpu) == (torch.bfloat16 if native_bfloat16() else torch.float32)
    assert resolve_dtype("float32", cpu) == torch.float32
    assert resolve_dtype("bfloat16", cpu) == torch.bfloat16


def test_without_native_bfloat16_auto_is_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16


def test_an_unknown_device_is_refused():
    with pytest.raises(EncoderError, match=r"language\.device: there is no such device(.|\n)*'gpu'"):
        resolve_device("gpu")


def test_a_damaged_model_names_its_folder(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(EncoderError, match="the weights cannot be loaded") as caught:
        loaded(tmp_path / "model").encode(["w1"], show_progress=False)
    assert str(tmp_path / "model") in str(caught.value)
    (tmp_path / "model" / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match="the configuration or the tokenizer cannot be loaded"):
        loaded(tmp_path / "model")
