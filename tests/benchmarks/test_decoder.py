"""The decoder benchmark on a tiny decoder."""

# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_operations_are_those_of_the_layers(monkeypatch) -> None:
    import decoder

    monkeypatch.setitem(decoder.SIZES, "two", {"hidden_size": 4, "num_hidden_layers": 2, "vocab_size": 10})
    # 100 weights, 40 of them embeddings; texts of 3 and 5 tokens: scores and values of (9 + 25) pairs, half masked.
    expected = 2 * 60 * 8 + (9 + 25) / 2 * 2 * 4 * 4
    assert decoder.operations(np.array([3, 5]), "two", 100) == expected


def test_texts_have_about_as_many_words_as_asked_for() -> None:
    import decoder

    texts = decoder.texts_of(decoder.word_list(100), 400, 20)
    counts = np.array([len(text.split()) for text in texts])
    assert (counts.min(), counts.max()) == (10, 30)
    assert counts.mean() == pytest.approx(20, abs=1.5)


def test_a_tiny_decoder_is_measured(tmp_path: Path) -> None:
    import decoder

    decoder.build(tmp_path, "tiny", torch.float32)
    options = {"device": "cpu", "dtype": "float32", "batch_tokens": 512, "texts": 5, "words": 6, "rounds": 2}
    found = decoder.measure(argparse.Namespace(**options, matrix=64, size="tiny"), tmp_path)
    embeddings = 2048 * 64
    layer = 64 * (64 + 32 + 32) + 64 + 32 + 32 + 64 * 64 + 3 * 64 * 160 + 2 * 64  # q, k, v with biases, o, MLP, norms
    assert found["weights"] == embeddings + 2 * layer + 64
    assert len(found["seconds"]) == 2
    assert found["packed"]
    assert found["texts_per_second"] > 0
    assert found["operations_per_second"] > 0
    assert found["peak_operations_per_second"] > 0
