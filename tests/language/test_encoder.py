from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language import encoder as encoder_module
from recmind.language.encoder import TextEncoder
from recmind.language.resolve import native_bfloat16

PROSE = [
    "Revitalising shampoo with argan oil",
    "Soap",
    "A hand-made ceramic bowl, glazed in blue, for soup, cereal or fruit; dishwasher safe",
    "12 oz. (pack of 3)",
    "ein Buch über Vögel",
    "Wireless headphones with noise cancelling and thirty hours of playing time",
    "",
]


def encoder(folder, **settings):
    settings = {"device": "cpu", "dtype": "float32"} | settings
    return TextEncoder.load(LanguageConfig(encoder=str(folder), **settings))


def by_hand(folder, text, pooling):
    """One text alone, without a batch and so without padding."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    vector = {"mean": hidden.sum(0) / len(tokens), "cls": hidden[0], "last": hidden[len(tokens) - 1]}[pooling]
    return (vector / vector.pow(2).sum().sqrt()).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_llama", "tiny_qwen"])
def test_vectors_are_the_pooled_token_vectors_of_each_text_alone(request, texts, kind, pooling):
    folder = request.getfixturevalue(kind)
    vectors = encoder(folder, pooling=pooling).encode(texts, show_progress=False)
    assert vectors.shape == (len(texts), 16)
    assert vectors.dtype == np.float32
    expected = np.stack([by_hand(folder, text, pooling) for text in texts])
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_llama", "tiny_qwen"])
def test_neither_the_order_nor_the_size_of_batches_matters(request, texts, kind):
    folder = request.getfixturevalue(kind)
    whole = encoder(folder).encode(texts, show_progress=False)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = encoder(folder).encode([texts[row] for row in order], show_progress=False)
    np.testing.assert_array_equal(shuffled, whole[order])
    small = encoder(folder, batch_tokens=64).encode(texts, show_progress=False)
    np.testing.assert_allclose(small, whole, atol=2e-6)


def test_batches_keep_to_the_token_budget_and_start_with_the_longest(tiny_bert, texts):
    model = encoder(tiny_bert, batch_tokens=64)
    lengths = np.array([len(text.split()) + 2 for text in texts])
    seen = [rows for rows, _ in model.batches(texts)]
    assert all(lengths[rows].max() * len(rows) <= 64 for rows in seen)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(len(texts)))
    assert (np.diff(lengths[np.concatenate(seen)]) <= 0).all()


def test_what_remains_after_some_batches_makes_the_same_batches(tiny_bert, texts):
    model = encoder(tiny_bert, batch_tokens=64)
    batches = list(model.batches(texts))
    done = set(np.concatenate([rows for rows, _ in batches[:2]]))
    remaining = [row for row in range(len(texts)) if row not in done]
    resumed = list(model.batches([texts[row] for row in remaining]))
    assert len(resumed) == len(batches) - 2
    for (rows, vectors), (again, same) in zip(batches[2:], resumed, strict=True):
        assert rows.tolist() == [remaining[row] for row in again]
        assert np.array_equal(vectors, same)


def test_a_text_beyond_the_window_is_cut_at_its_end(tiny_bert):
    model = encoder(tiny_bert)
    long, cut = model.encode([" ".join(["w3"] * 100), " ".join(["w3"] * 38)], show_progress=False)
    np.testing.assert_allclose(long, cut, atol=2e-6)
    assert model.clip([" ".join(["w3"] * 100)], 1000) == [" ".join(["w3"] * 38)]  # 40 positions, 2 special tokens


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_llama", "tiny_t5"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bits_do_not_depend_on_the_number_of_threads(request, texts, kind, dtype, threads):
    model = encoder(request.getfixturevalue(kind), dtype=dtype, batch_tokens=64)
    found = []
    for n in (1, 2, 3):
        threads(n)
        found.append(model.encode(texts, show_progress=False))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_with_two_threads_the_rest_still_makes_the_same_batches(tiny_bert, texts, threads):
    threads(2)
    model = encoder(tiny_bert, batch_tokens=64)
    results = model.batches(texts)
    done = {row for _ in range(3) for row in next(results)[0].tolist()}  # and then interrupted
    del results
    remaining = [row for row in range(len(texts)) if row not in done]
    whole = model.encode(texts, show_progress=False)
    assert np.array_equal(model.encode([texts[row] for row in remaining], show_progress=False), whole[remaining])


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_llama", "tiny_qwen"])
def test_packed_and_padded_texts_get_the_same_vectors(request, texts, kind, monkeypatch):
    folder = request.getfixturevalue(kind)
    packed = encoder(folder)
    assert packed.packs
    monkeypatch.setattr(encoder_module, "can_pack", lambda settings: False)
    padded = encoder(folder)
    assert not padded.packs
    mixed = [*texts, "", "   ", "unknown", "w1 " * 500]
    vectors = packed.encode(mixed, show_progress=False)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors, padded.encode(mixed, show_progress=False), atol=2e-6)


def test_other_architectures_are_padded(tiny_t5):
    assert not encoder(tiny_t5).packs


@pytest.mark.parametrize("n", [1, 2])
def test_vectors_that_are_not_finite_are_refused_with_the_text(tiny_bert, threads, n):
    threads(n)
    model = encoder(tiny_bert)
    with torch.no_grad():
        model._model.get_input_embeddings().weight[4] = float("nan")
    assert model.encode(["w1 w2"], show_progress=False).shape == (1, 16)
    with pytest.raises(EncoderError, match=r"not finite.*\n?.*w0"):
        model.encode(["w0"], show_progress=False)


def test_the_bar_tells_texts_per_second(tiny_bert, texts, capsys):
    vectors = encoder(tiny_bert, batch_tokens=64).encode(texts)
    assert np.array_equal(vectors, encoder(tiny_bert, batch_tokens=64).encode(texts, show_progress=False))
    bar = capsys.readouterr().err
    assert re.search(r"Encoding texts .*40/40.* \d[\d,]* texts/s", bar)
    encoder(tiny_bert).encode([])
    assert capsys.readouterr().err == ""


def test_no_texts_and_texts_without_tokens(tiny_qwen):
    model = encoder(tiny_qwen)
    assert model.encode([], show_progress=False).shape == (0, 16)
    assert np.isfinite(model.encode(["", "w1"], show_progress=False)).all()


def test_a_tokenizer_that_reads_nothing_is_refused(misread_qwen):
    with pytest.raises(EncoderError, match="the tokenizer finds no token in any text"):
        encoder(misread_qwen).encode(["w1 w2"], show_progress=False)


def test_an_encoder_decoder_is_read_by_its_encoder(tiny_t5, texts):
    from transformers import AutoTokenizer, T5Model

    model = encoder(tiny_t5)
    assert model.pooling == "mean"
    tokens = AutoTokenizer.from_pretrained(tiny_t5)(texts[0])["input_ids"]
    with torch.no_grad():
        hidden = T5Model.from_pretrained(tiny_t5).eval().encoder(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    expected = torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()
    np.testing.assert_allclose(model.encode(texts[:3], show_progress=False)[0], expected, atol=2e-6)


def test_bfloat16_agrees_with_float32_on_the_builtin():
    exact = TextEncoder.load(LanguageConfig(dtype="float32", device="cpu")).encode(PROSE[:-1], show_progress=False)
    short = TextEncoder.load(LanguageConfig(dtype="bfloat16", device="cpu")).encode(PROSE[:-1], show_progress=False)
    cosines = (exact * short).sum(1)
    assert cosines.min() >= 0.9998
    assert cosines.max() < 1 - 1e-7  # it did compute in another format


def test_the_builtin_equals_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    model = TextEncoder.load(LanguageConfig(dtype="float32", device="cpu"))
    expected = SentenceTransformer(str(model.source.folder), device="cpu").encode(PROSE, normalize_embeddings=True)
    cosines = (model.encode(PROSE, show_progress=False) * expected).sum(1)
    assert cosines.min() > 0.9999


def test_the_manifest_tells_one_encoder_from_another(tiny_bert, tiny_llama):
    model = encoder(tiny_bert)
    manifest = model.manifest()
    assert manifest["model"] == str(tiny_bert)
    assert (manifest["d_lm"], manifest["pooling"], manifest["dtype"], manifest["window"]) == (16, "mean", "float32", 40)
    others = [encoder(tiny_bert, pooling="cls"), encoder(tiny_bert, dtype="bfloat16"), encoder(tiny_llama)]
    assert len({model.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert encoder(tiny_bert, batch_tokens=64).fingerprint == model.fingerprint


def test_loading_is_silent(tiny_bert):
    script = (
        "import sys; from recmind.config import LanguageConfig; from recmind.language.encoder import TextEncoder; "
        "TextEncoder.load(LanguageConfig(encoder=sys.argv[1])).encode(['w1 w2'], show_progress=False)"
    )
    output = subprocess.run([sys.executable, "-c", script, str(tiny_bert)], check=True, capture_output=True, text=True)
    assert (output.stdout, output.stderr) == ("", "")


@pytest.mark.skipif(not native_bfloat16(), reason="this processor has no native bfloat16")
def test_auto_takes_bfloat16_where_the_processor_has_it(tiny_bert):
    assert encoder(tiny_bert, dtype="auto").dtype == torch.bfloat16
