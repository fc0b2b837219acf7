from __future__ import annotations

import copy
import hashlib
import json

import numpy as np
import pytest
import torch

from recmind.config import AdapterConfig, LanguageConfig
from recmind.errors import ConfigError, EncoderError
from recmind.language.adapters import Adapters, linear_layers, stored_sha256, target_modules
from recmind.language.encoder import TextEncoder
from recmind.language.features import load_encoder

KINDS = ["tiny_bert", "tiny_qwen", "tiny_llama", "tiny_t5"]


@pytest.fixture(params=KINDS)
def folder(request):
    return request.getfixturevalue(request.param)


def encoder(folder, **settings) -> TextEncoder:
    settings = {"device": "cpu", "dtype": "float32"} | settings
    return TextEncoder.load(LanguageConfig(encoder=str(folder), **settings))


def train(model: TextEncoder, adapters: Adapters, texts, steps: int = 3) -> None:
    """Pull the vectors of all texts to the first axis."""
    optimizer = torch.optim.AdamW(adapters.parameters.values(), lr=0.05)
    read = sorted(model.read(texts), key=lambda pieces: -len(pieces[0].ids))
    for _ in range(steps):
        optimizer.zero_grad()
        (-model.vectors(read)[:, 0].mean()).backward()
        optimizer.step()


def base_digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        if "lora_" not in name:
            digest.update(name.replace(".base_layer", "").encode() + value.float().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture
def trained(folder, texts):
    model = encoder(folder)
    adapters = model.adapt(AdapterConfig(rank=2, alpha=4), seed=3)
    train(model, adapters, texts)
    return model, adapters


class TestTraining:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_moves_the_vectors_and_not_one_bit_of_the_base(self, folder, texts, dtype: str):
        model = encoder(folder, dtype=dtype)
        before, vectors = base_digest(model.model), model.encode(texts, show_progress=False)
        adapters = model.adapt(AdapterConfig(rank=2, alpha=4), seed=3)
        train(model, adapters, texts)
        assert base_digest(model.model) == before
        moved = model.encode(texts, show_progress=False)
        assert moved[:, 0].mean() > vectors[:, 0].mean() + 0.01
        assert all(value.dtype == torch.float32 for value in adapters.parameters.values())
        learning = {name for name, value in model.model.named_parameters() if value.requires_grad}
        assert learning
        assert all("lora_" in name for name in learning)

    def test_fresh_adapters_change_no_vector(self, folder, texts):
        plain = encoder(folder).encode(texts, show_progress=False)
        model = encoder(folder)
        model.adapt(AdapterConfig(rank=2), seed=0)
        np.testing.assert_array_equal(model.encode(texts, show_progress=False), plain)

    def test_the_seed_draws_them(self, tiny_bert):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        digests = [encoder(tiny_bert).adapt(AdapterConfig(rank=2), seed=seed).sha256 for seed in (1, 1, 2)]
        assert digests[0] == digests[1] != digests[2]
        assert torch.equal(torch.get_rng_state(), before)

    def test_only_the_adapters_dropout_is_switched_on(self, tiny_bert):
        model = encoder(tiny_bert)
        adapters = model.adapt(AdapterConfig(rank=2, dropout=0.3), seed=0)
        adapters.train()
        on = {name for name, m in model.model.named_modules() if isinstance(m, torch.nn.Dropout) and m.training}
        assert on
        assert all("lora_dropout" in name for name in on)
        adapters.train(False)
        assert not any(module.training for module in model.model.modules())

    def test_states_are_copies_and_come_back(self, trained):
        _, adapters = trained
        state, digest = adapters.state(), adapters.sha256
        adapters.set({name: torch.zeros_like(value) for name, value in state.items()})
        assert adapters.sha256 != digest
        adapters.set(state)
        assert adapters.sha256 == digest


class TestFiles:
    @pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
    def test_plain_peft_reads_them_and_gives_the_same_vectors(self, trained, folder, texts, tmp_path):
        from peft import PeftModel

        model, adapters = trained
        adapters.save(tmp_path / "adapters")
        assert sorted(entry.name for entry in (tmp_path / "adapters").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        plain = encoder(folder, attn_implementation="eager")
        worn = PeftModel.from_pretrained(plain.model, str(tmp_path / "adapters")).eval()
        assert not any(value.requires_grad for value in worn.parameters())
        np.testing.assert_allclose(
            plain.encode(texts, show_progress=False), model.encode(texts, show_progress=False), atol=2e-6
        )

    def test_an_encoder_wears_stored_adapters(self, trained, folder, texts, tmp_path):
        from recmind.config import TextConfig

        model, adapters = trained
        adapters.save(tmp_path / "adapters")
        assert stored_sha256(tmp_path / "adapters") == adapters.sha256
        config = LanguageConfig(encoder=str(folder), device="cpu", dtype="float32")
        again, _ = load_encoder(TextConfig(), config, tmp_path / "adapters")
        assert again.manifest()["adapters_sha256"] == adapters.sha256
        assert again.fingerprint == model.fingerprint != encoder(folder).fingerprint
        np.testing.assert_array_equal(
            again.encode(texts, show_progress=False), model.encode(texts, show_progress=False)
        )
        assert again.fingerprint == model.fingerprint

    def test_the_same_adapters_make_the_same_files_and_name_no_path(self, trained, folder, tmp_path):
        _, adapters = trained
        for name in ("first", "second"):
            adapters.save(tmp_path / name)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
        config = json.loads((tmp_path / "first" / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (2, 4, True)

    def test_another_scale_is_another_digest(self, tiny_bert):
        digests = {encoder(tiny_bert).adapt(AdapterConfig(rank=2, alpha=a), seed=0).sha256 for a in (1.0, 2.0)}
        assert len(digests) == 2

    def test_adapters_of_another_model_are_refused(self, tiny_bert, tiny_llama, tmp_path):
        encoder(tiny_llama).adapt(AdapterConfig(rank=2), seed=0).save(tmp_path)
        with pytest.raises(EncoderError, match=r"adapters do not load(.|\n)*environment\.json"):
            Adapters.load(encoder(tiny_bert).model, tmp_path)

    def test_missing_and_damaged_files_are_named(self, tmp_path):
        with pytest.raises(EncoderError, match="the adapters cannot be read"):
            stored_sha256(tmp_path)


class TestMerging:
    def test_equals_unmerged(self, trained, texts):
        model, adapters = trained
        beside = model.encode(texts, show_progress=False)
        merged = adapters.merged()
        assert not any("lora_" in name for name, _ in merged.named_modules())
        plain = copy.copy(model)
        plain.__dict__["_model"] = merged
        np.testing.assert_allclose(plain.encode(texts, show_progress=False), beside, atol=1e-5)

    def test_leaves_the_model_as_it_was(self, trained, texts):
        model, adapters = trained
        before = base_digest(model.model), adapters.sha256
        adapters.merged()
        assert (base_digest(model.model), adapters.sha256) == before


SIZES = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED = SIZES | {"num_key_value_heads": 1}
LLAMA = (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"], ["gate", "up", "down"])
BERT = (
    ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
    ["intermediate.dense", "output.dense"],
)


@pytest.mark.parametrize(
    ("kind", "options", "blocks", "attention", "mlp"),
    [
        ("Bert", SIZES, "encoder.layer", *BERT),
        ("Roberta", SIZES, "encoder.layer", *BERT),
        ("ModernBert", SIZES | {"pad_token_id": 0}, "layers", ["attn.Wqkv", "attn.Wo"], ["mlp.Wi", "mlp.Wo"]),
        ("Qwen2", GROUPED, "layers", LLAMA[0], [f"mlp.{name}_proj" for name in LLAMA[1]]),
        ("Qwen3", GROUPED, "layers", LLAMA[0], [f"mlp.{name}_proj" for name in LLAMA[1]]),
        ("Llama", GROUPED, "layers", LLAMA[0], [f"mlp.{name}_proj" for name in LLAMA[1]]),
        ("Gemma2", GROUPED, "layers", LLAMA[0], [f"mlp.{name}_proj" for name in LLAMA[1]]),
    ],
)
def test_linear_layers_of_every_architecture(kind: str, options, blocks: str, attention, mlp):
    import transformers

    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    found = linear_layers(model)
    for names, expected in zip(found, (attention, mlp), strict=True):
        assert set(names) == {f"{blocks}.{block}.{name}" for block in (0, 1) for name in expected}
    assert set(target_modules(model, "auto")) == {*found[0], *found[1]}
    assert set(target_modules(model, "attention")) == set(found[0])


class TestTargets:
    def test_by_name(self, tiny_llama):
        model = encoder(tiny_llama).model
        assert target_modules(model, ("q_proj", "layers.1.mlp.up_proj")) == [
            "layers.0.self_attn.q_proj",
            "layers.1.self_attn.q_proj",
            "layers.1.mlp.up_proj",
        ]

    def test_an_unknown_name_is_refused_with_those_that_there_are(self, tiny_llama):
        with pytest.raises(
            ConfigError, match=r"language\.adapters\.targets(.|\n)*query(.|\n)*auto, attention, down_proj"
        ):
            encoder(tiny_llama).adapt(AdapterConfig(rank=1, targets=("query", "q_proj")), seed=0)

    def test_a_model_without_blocks_is_refused(self):
        with pytest.raises(ConfigError, match="no linear layer is found in the blocks of Linear"):
            target_modules(torch.nn.Linear(2, 2), "auto")
