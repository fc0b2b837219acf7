"""Tiny models of every architecture that is named in the documentation, against sentence-transformers itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language.encoder import TextEncoder
from recmind.language.source import find_model

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 72,
    "initializer_range": 0.3,
}
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
KINDS = {
    "bert": ("BertConfig", {}),
    "roberta": ("RobertaConfig", {}),
    "modernbert": ("ModernBertConfig", {"global_attn_every_n_layers": 2, "local_attention": 8}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 1}),
    "qwen3": ("Qwen3Config", GROUPED),
    "llama": ("LlamaConfig", GROUPED),
    "gemma3": ("Gemma3TextConfig", GROUPED | {"sliding_window": 8, "layer_types": ["sliding_attention"] * 2}),
}
DECODERS = ("qwen2", "qwen3", "llama", "gemma3")
TEXTS = [
    "Revitalising shampoo with argan oil",
    "Soap",
    "A hand-made ceramic bowl, glazed in blue, for soup, cereal or fruit",
    "12 oz.",
    "ein Buch über Vögel",
    "Wireless headphones",
]


def byte_tokenizer(folder, template):
    """Byte-level BPE, with ``<end>`` where ``template`` puts it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<start>", "<pad>", "<end>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=special)
    tokenizer.train_from_iterator([*TEXTS, "Instruct: Represent the product Query: item text"] * 3, trainer)
    used = [(token, tokenizer.token_to_id(token)) for token in special if token in template]
    if used:
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    names = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def build(kind, folder, template="$A <end>", **options):
    import transformers

    name, extra = KINDS[kind]
    tokens = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    size = byte_tokenizer(folder, template)
    torch.manual_seed(4)
    config = getattr(transformers, name)(vocab_size=size, **(SIZES | extra | tokens | options))
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of each kind, made once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = build(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return of


def encoder(folder, prompts=(), **settings):
    settings = {"device": "cpu", "dtype": "float32"} | settings
    config = LanguageConfig(encoder=str(folder), **settings)
    return TextEncoder(find_model(config), config, prompts)


def vectors(folder, texts=TEXTS, prompts=(), **settings):
    return encoder(folder, prompts, **settings).encode(texts, show_progress=False)


def sentence_transformer(folder, out, *behind, prompts=None, default=None, include_prompt=True, pooling="mean"):
    """The folder of a sentence-transformers model around a plain one, and the model itself."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    core = Transformer(str(folder))
    pool = Pooling(core.get_embedding_dimension(), pooling_mode=pooling, include_prompt=include_prompt)
    model = SentenceTransformer(
        modules=[core, pool, *behind], device="cpu", prompts=prompts, default_prompt_name=default
    )
    model.save(str(out))
    return out, SentenceTransformer(str(out), device="cpu")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_sentence_transformers(models, tmp_path, kind, pooling):
    folder, expected = sentence_transformer(models(kind), tmp_path / "model", pooling=pooling)
    found = encoder(folder)
    assert found.pooling == pooling.removesuffix("token")
    np.testing.assert_allclose(found.encode(TEXTS, show_progress=False), unit(expected.encode(TEXTS)), atol=3e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_side_of_the_padding_nor_the_company_matters(models, kind):
    """Each text alone has no padding; in a batch it has, on either side, and other neighbours."""
    folder = models(kind)
    options = {"attn_implementation": "sdpa"}  # not packed: padded
    alone = np.concatenate([vectors(folder, [text], **options) for text in TEXTS])
    assert not encoder(folder, **options).packs
    for side in ("right", "left"):
        np.testing.assert_allclose(vectors(folder, padding=side, **options), alone, atol=3e-6)
        np.testing.assert_allclose(vectors(folder, TEXTS[:3], padding=side, **options), alone[:3], atol=3e-6)
    np.testing.assert_allclose(vectors(folder), alone, atol=3e-6)  # packed, where the model allows it


@pytest.mark.parametrize("kind", KINDS)
def test_eager_attention_and_bfloat16_give_nearly_the_same(models, kind):
    folder = models(kind)
    exact = vectors(folder)
    np.testing.assert_allclose(vectors(folder, attn_implementation="eager"), exact, atol=3e-6)
    short = (vectors(folder, dtype="bfloat16") * exact).sum(1)
    assert 0.99 < short.min() < 1 - 1e-7


@pytest.mark.parametrize("kind", DECODERS)
def test_the_end_token_that_a_tokenizer_appends_is_what_is_pooled(models, tmp_path, kind):
    model = encoder(models(kind))
    assert model.pooling == "last"
    ends = [ids[-1] for ids in model.token_ids([*TEXTS, "long " * 200])]
    assert set(ends) == {2}  # also of a text that is cut
    assert model.clip(["long " * 200], 1000)[0].count("long") < 200
    plain = build(kind, tmp_path, template="$A")
    assert all(ids[-1] != 2 for ids in encoder(plain).token_ids(TEXTS))
    assert not np.allclose(vectors(plain), vectors(models(kind)), atol=1e-3)


def test_a_decoder_made_into_an_encoder_sees_both_ways(models, tmp_path):
    folder = build("llama", tmp_path / "model", is_causal=False)
    model = encoder(folder)
    assert (model.pooling, model.packs) == ("mean", True)
    padded = vectors(folder, attn_implementation="sdpa")
    np.testing.assert_allclose(model.encode(TEXTS, show_progress=False), padded, atol=3e-6)
    assert not np.allclose(padded, vectors(models("llama"), pooling="mean"), atol=1e-3)


class TestPrompts:
    @pytest.mark.parametrize("kind", ["bert", "qwen3"])
    @pytest.mark.parametrize("include", [True, False])
    def test_an_instruction_is_read_and_pooled_as_the_model_says(self, models, tmp_path, kind, include):
        prompt = "item:"  # byte-level BPE; with a blank at its end sentence-transformers would count one token more
        options = {"prompts": {"title": prompt}, "include_prompt": include}
        folder, model = sentence_transformer(models(kind), tmp_path / "model", **options)
        expected = unit(model.encode(TEXTS, prompt_name="title"))
        written = [prompt + text for text in TEXTS]
        np.testing.assert_allclose(vectors(folder, written, [prompt]), expected, atol=3e-6)
        np.testing.assert_allclose(
            vectors(folder, written, [prompt], attn_implementation="sdpa", padding="left"), expected, atol=3e-6
        )

    def test_a_blank_at_the_end_belongs_to_the_word_after_it(self, models, tmp_path):
        folder, _ = sentence_transformer(models("qwen3"), tmp_path / "model", include_prompt=False)
        model = encoder(folder, ["item: "])
        ids = model.token_ids(["item: Soap"])[0]
        words = [model._tokenizer.decode([token]) for token in ids]
        assert "".join(words[: model._reader.skips(["item: Soap"])[0]]) == "item:"

    def test_a_prompt_that_is_not_pooled_is_part_of_what_the_vectors_are(self, models, tmp_path):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "without", include_prompt=False)
        assert encoder(folder, ["item: "]).fingerprint != encoder(folder).fingerprint
        assert encoder(folder, ["item: "]).manifest()["unpooled_prompts"] == ["item: "]
        pooled, _ = sentence_transformer(models("bert"), tmp_path / "with")
        assert encoder(pooled, ["item: "]).fingerprint == encoder(pooled).fingerprint


class TestModules:
    def dense(self, **options):
        from sentence_transformers.sentence_transformer.modules import Dense

        torch.manual_seed(8)
        return Dense(in_features=16, out_features=6, **options)

    @pytest.mark.parametrize("options", [{}, {"bias": False, "activation_function": torch.nn.Identity()}])
    @pytest.mark.parametrize("residual", [False, True])
    def test_dense_layers_are_applied_in_their_order(self, models, tmp_path, options, residual):
        from sentence_transformers.sentence_transformer.modules import Normalize

        behind = [Normalize(), self.dense(use_residual=residual, **options), Normalize()]
        folder, expected = sentence_transformer(models("bert"), tmp_path / "model", *behind)
        found = encoder(folder)
        assert found.dim == 6
        np.testing.assert_allclose(found.encode(TEXTS, show_progress=False), expected.encode(TEXTS), atol=3e-6)
        assert found.fingerprint != encoder(models("bert"), pooling="mean").fingerprint

    def test_weights_in_torchs_format(self, models, tmp_path):
        folder, expected = sentence_transformer(models("bert"), tmp_path / "model", self.dense())
        from safetensors.torch import load_file

        weights = folder / "2_Dense" / "model.safetensors"
        torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
        weights.unlink()
        np.testing.assert_allclose(vectors(folder), unit(expected.encode(TEXTS)), atol=3e-6)

    def test_other_weights_are_another_model(self, models, tmp_path):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "model", self.dense())
        before = encoder(folder).fingerprint
        path = folder / "2_Dense" / "config.json"
        path.write_text(path.read_text().replace("Tanh", "ReLU"))
        assert encoder(folder).fingerprint != before

    def test_a_module_that_cannot_be_applied_is_refused_by_name(self, models, tmp_path):
        from sentence_transformers.sentence_transformer.modules import LayerNorm

        folder, _ = sentence_transformer(models("bert"), tmp_path / "model", LayerNorm(16))
        with pytest.raises(EncoderError, match=r"modules\.json: (.|\n)*LayerNorm(.|\n)*Dense, Normalize"):
            encoder(folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"activation_function": "torch.nn.modules.activation.Softmax"}, "Softmax"),
            ({"out_features": 7}, r"do not fit(.|\n)*\(6, 16\)(.|\n)*\(7, 16\)"),
            ({"module_input_name": "token_embeddings"}, "token_embeddings"),
        ],
    )
    def test_a_dense_layer_that_is_something_else_is_refused(self, models, tmp_path, change, message):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "model", self.dense())
        path = folder / "2_Dense" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(EncoderError, match=message):
            encoder(folder)

    def test_modules_out_of_order_are_refused(self, models, tmp_path):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "model", self.dense())
        path = folder / "modules.json"
        path.write_text(json.dumps(list(reversed(json.loads(path.read_text())))))
        with pytest.raises(EncoderError, match=r"modules\.json: the modules are in an order(.|\n)*Dense, Pooling"):
            encoder(folder)

    def test_texts_are_read_in_lower_case_where_the_model_says_so(self, models, tmp_path):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "model")
        path = folder / "sentence_bert_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))
        np.testing.assert_array_equal(vectors(folder, ["Soap BAR"]), vectors(folder, ["soap bar"]))
        assert encoder(folder).fingerprint != encoder(models("bert"), pooling="mean").fingerprint


class TestLongTexts:
    @pytest.mark.parametrize("kind", ["bert", "qwen2", "modernbert"])
    def test_windows_are_averaged_by_their_tokens(self, models, kind):
        model = encoder(models(kind), long_text="chunks", pooling="mean")
        text = " ".join(TEXTS * 4)
        with torch.inference_mode():
            ids = model._tokenizer(text, verbose=False)["input_ids"]
            assert len(ids) > 2 * model.window
            body, size = ids[:-1], model.window - 1
            parts = [body[start : start + size] for start in range(0, len(body) - size // 8, size - size // 8)]
            pooled = [model.model(**self.arguments(model, [*part, 2]))[0][0].float().mean(0) for part in parts]
            weights = torch.tensor([float(len(part)) for part in parts])
            expected = (torch.stack(pooled) * weights[:, None]).sum(0) / weights.sum()
        found = model.encode([*TEXTS, text], show_progress=False)
        np.testing.assert_allclose(found[-1], expected / expected.norm(), atol=3e-6)
        np.testing.assert_allclose(found[:-1], vectors(models(kind), pooling="mean"), atol=3e-6)
        assert set(body) == {token for part in parts for token in part}
        assert model.fingerprint != encoder(models(kind), pooling="mean").fingerprint

    @staticmethod
    def arguments(model, ids):
        if not model.packs:
            return {"input_ids": torch.tensor([ids])}
        from recmind.language.packing import pack
        from recmind.language.resolve import first_position, is_decoder

        settings = model._settings
        return pack([np.array(ids)], first_position(settings), is_decoder(settings), model.dtype)

    def test_the_end_of_a_long_text_is_read(self, models):
        long = " ".join(TEXTS * 3)
        for mode, same in (("cut", True), ("chunks", False)):
            first, second = vectors(models("bert"), [f"{long} tea", f"{long} pan"], long_text=mode)
            assert np.array_equal(first, second) == same

    def test_batches_are_small_and_many_windows_fit_no_batch(self, models):
        texts = [" ".join(TEXTS * n) for n in (1, 9, 2, 30, 1)] + TEXTS
        whole = vectors(models("qwen3"), texts, long_text="chunks")
        small = vectors(models("qwen3"), texts, long_text="chunks", batch_tokens=64)
        np.testing.assert_allclose(small, whole, atol=3e-6)

    def test_every_window_has_the_prompt(self, models, tmp_path):
        folder, _ = sentence_transformer(models("bert"), tmp_path / "model", include_prompt=False)
        model = encoder(folder, ["item: "], long_text="chunks")
        (pieces,) = model._reader.pieces(["item: " + " ".join(TEXTS * 3)], chunks=True)
        prompt = model.token_ids(["item:"])[0][:-1].tolist()
        assert len(pieces) > 2
        for piece in pieces:
            assert piece.ids[: piece.skip].tolist() == prompt
            assert piece.ids[-1] == 2
            assert len(piece.ids) == len(prompt) + piece.weight + 1 <= model.window

    def test_a_budget_of_tokens_may_be_larger_than_the_window(self, models):
        text = " ".join(TEXTS * 3)
        assert encoder(models("bert"), long_text="chunks").clip([text], 10_000) == [text]
        assert len(encoder(models("bert")).clip([text], 10_000)[0]) < len(text)


class TestPlacement:
    def test_an_attention_that_the_model_does_not_have(self, tiny_t5, models):
        with pytest.raises(EncoderError, match=r"attn_implementation(.|\n)*needs a GPU(.|\n)*auto, eager, sdpa"):
            encoder(models("llama"), attn_implementation="flash_attention_2")
        assert encoder(models("llama"), attn_implementation="sdpa").manifest()["attn_implementation"] == "sdpa"
        assert "attn_implementation" not in encoder(models("llama")).manifest()

    def test_an_architecture_without_scaled_dot_product_attention(self, tmp_path):
        from transformers import FNetConfig, FNetModel

        byte_tokenizer(tmp_path, "$A")
        FNetModel(
            FNetConfig(vocab_size=320, hidden_size=16, num_hidden_layers=1, intermediate_size=16)
        ).save_pretrained(tmp_path)
        with pytest.raises(EncoderError, match=r"FNetModel does not have(.|\n)*'sdpa'(.|\n)*accepted: auto, eager$"):
            encoder(tmp_path, attn_implementation="sdpa")

    def test_left_padding_where_positions_cannot_be_given(self, tiny_t5):
        with pytest.raises(EncoderError, match=r"language\.padding: (.|\n)*accepted: right"):
            vectors(tiny_t5, ["w1 w2", "w3"], padding="left")

    @pytest.mark.parametrize("kind", ["bert", "qwen3"])
    def test_a_device_map_spreads_the_same_model(self, models, kind):
        pytest.importorskip("accelerate")
        found = encoder(models(kind), device_map="auto")
        np.testing.assert_allclose(found.encode(TEXTS, show_progress=False), vectors(models(kind)), atol=3e-6)
        assert found.fingerprint == encoder(models(kind)).fingerprint

    def test_a_device_map_without_accelerate(self, models, monkeypatch):
        import importlib.util

        there = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "accelerate" else there(name))
        with pytest.raises(EncoderError, match=r"language\.device_map: (.|\n)*'auto'(.|\n)*pip install accelerate"):
            encoder(models("bert"), device_map="auto")
        assert encoder(models("bert")).dim == 16

    def test_a_checkpoint_in_shards(self, models, tmp_path):
        from transformers import AutoModel, AutoTokenizer

        AutoTokenizer.from_pretrained(models("qwen2")).save_pretrained(tmp_path)
        AutoModel.from_pretrained(models("qwen2")).save_pretrained(tmp_path, max_shard_size="8KB")
        shards = sorted(tmp_path.glob("*.safetensors"))
        assert len(shards) > 2
        np.testing.assert_array_equal(vectors(tmp_path), vectors(models("qwen2")))
        shards[1].unlink()
        with pytest.raises(EncoderError, match=rf"index\.json: 1 of {len(shards)} weight files(.|\n)*{shards[1].name}"):
            encoder(tmp_path)

    def test_a_quantised_checkpoint_names_what_reads_it(self, models, tmp_path):
        import shutil

        shutil.copytree(models("qwen2"), tmp_path / "model")
        path = tmp_path / "model" / "config.json"
        settings = json.loads(path.read_text()) | {"quantization_config": {"quant_method": "awq", "bits": 4}}
        path.write_text(json.dumps(settings))
        model = encoder(tmp_path / "model")
        assert model.manifest()["quantisation"] == "awq"
        assert not model.packs
        with pytest.raises(EncoderError, match="quantised with awq, which needs the package gptqmodel"):
            model.encode(TEXTS, show_progress=False)
