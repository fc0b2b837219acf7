from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)

from recmind.language.packing import ATTENTION, PACKABLE, Run, can_pack, pack, packed_attention, pool_packed, register
from recmind.language.pooling import POOLINGS
from recmind.language.resolve import first_position, is_decoder

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 1}
LONG = {"intermediate_size": 32, "max_position_embeddings": 128, "initializer_range": 0.3}
GROUPED = {"num_key_value_heads": 1, "use_cache": False}
CONFIGS = {
    "bert": lambda: BertConfig(**SIZES, **LONG),
    "electra": lambda: ElectraConfig(**SIZES, **LONG, embedding_size=8),
    "roberta": lambda: RobertaConfig(**SIZES, **LONG),
    "xlm-roberta": lambda: XLMRobertaConfig(**SIZES, **LONG),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32, pad_token_id=1, initializer_range=0.3
    ),
    "llama": lambda: LlamaConfig(**SIZES, **LONG, **GROUPED),
    "qwen2": lambda: Qwen2Config(**SIZES, **LONG, **GROUPED),
    "qwen3": lambda: Qwen3Config(**SIZES, **LONG, **GROUPED, head_dim=8),
}

# Each length alone, in pairs and in numbers that fill blocks with and without a rest.
LENGTHS = [70, 70, 40, 33, 32, 32, 20, 17, 16, 16, 16, 11, 11, 11, 11, 11, 5, 3, 3, 2, *[1] * 35]


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 60, size=length, dtype=np.int32) for length in LENGTHS]


def saved(config, folder):
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)


def loaded(folder, **options):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, **options).eval()


def test_every_packable_type_is_tested_here():
    assert set(CONFIGS) == PACKABLE


@pytest.mark.parametrize("kind", CONFIGS)
@torch.inference_mode()
def test_packed_texts_get_the_vectors_of_each_text_alone(kind, tmp_path):
    config, ids = CONFIGS[kind](), batch()
    assert config.model_type == kind
    assert can_pack(config)
    saved(config, tmp_path)
    plain, model = loaded(tmp_path), loaded(tmp_path, attn_implementation=ATTENTION)
    assert plain.config._attn_implementation == "sdpa"
    arguments = pack(ids, first_position(config), is_decoder(config), torch.float32)
    hidden = model(**arguments)[0]
    assert hidden.shape == (1, sum(LENGTHS), 16)
    alone = [plain(input_ids=torch.from_numpy(text.astype(np.int64))[None])[0][0] for text in ids]
    torch.testing.assert_close(hidden[0], torch.cat(alone), atol=5e-6, rtol=1e-5)
    for pooling in ("mean", "cls", "last"):
        expected = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "last": lambda x: x[-1]}[pooling]
        pooled = pool_packed(hidden[0], ids, POOLINGS[pooling])
        torch.testing.assert_close(pooled, torch.stack([expected(x) for x in alone]), atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        T5Config(d_model=16, d_kv=8, num_layers=1, num_heads=2),  # relative positions within attention
        MistralConfig(**SIZES, sliding_window=8),
        Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1),
        BertConfig(**SIZES, is_decoder=True),
    ],
    ids=lambda config: config.model_type,
)
def test_models_whose_tokens_meet_otherwise_are_not_packed(config):
    assert not can_pack(config)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_the_formula_and_stays_within_each_text(causal):
    torch.manual_seed(1)
    ids = batch()
    query, key, value = torch.randn(3, 1, 2, sum(LENGTHS), 4).unbind()
    runs = pack(ids, 0, causal, torch.float32)["runs"]
    attended, weights = packed_attention(torch.nn.Module(), query, key, value, None, runs=runs, scaling=0.3)
    assert weights is None
    assert attended.shape == (1, sum(LENGTHS), 2, 4)
    text = torch.tensor([number for number, length in enumerate(LENGTHS) for _ in range(length)])
    sees = text[:, None] == text
    if causal:
        sees = sees.tril()
    scores = (0.3 * query[0].double() @ key[0].double().mT).masked_fill(~sees, float("-inf"))
    expected = (scores.softmax(-1) @ value[0].double()).transpose(0, 1)
    torch.testing.assert_close(attended[0].double(), expected, atol=2e-6, rtol=1e-5)


def test_runs_cover_each_token_once():
    runs = pack(batch(), 0, False, torch.float32)["runs"]
    covered = [token for run in runs for token in range(run.start, run.start + run.n * run.length)]
    assert covered == list(range(sum(LENGTHS)))
    assert max(run.length for run in runs if run.mask is not None) <= 32
    assert Run(0, 2, 70, None, False) in runs  # long texts are blocks of their own


def test_positions_start_anew_with_each_text():
    ids = [np.array([7, 8, 9], dtype=np.int32), np.array([5, 6], dtype=np.int32)]
    arguments = pack(ids, 2, False, torch.float32)
    assert arguments["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert arguments["position_ids"].tolist() == [[2, 3, 4, 2, 3]]
