"""The encoder in numpy against the one that was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import build_model
from recmind.model.sequence import SequenceEncoder
from recmind.serving.equations import leaves_of
from recmind.serving.sequence import PREFIX, SequenceReader

LENGTH = 6


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 7, 20])
@pytest.mark.parametrize("from_end", [False, True])
def test_the_state_after_a_history(n: int, heads: int, from_end: bool):
    items = np.random.default_rng(n).permutation(20)[:n].astype(np.int32)
    graph = build_graph(np.zeros(n, np.int32), items, 1, 20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = SequenceEncoder(
            graph,
            dim=8,
            blocks=2,
            heads=heads,
            length=LENGTH,
            dropout=0.5,
            init_std=0.5,
            precision="float32",
            from_end=from_end,
        )
        for parameter in encoder.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
        vectors = torch.randn(20, 8)
    expected = encoder.after(torch.tensor([0]), lambda codes: vectors[codes])[0]
    tables = {f"{PREFIX}{name}": value.numpy() for name, value in encoder.state_dict().items()}
    reader = SequenceReader({**tables, "gate.bias": np.zeros(1, np.float32)}, heads, from_end=from_end)
    assert reader.length == LENGTH
    found = reader.state(vectors[items.tolist()].numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5, 8.0])
def test_what_is_served_is_what_was_chosen(weight: float):
    rng = np.random.default_rng(0)
    users, items = (
        np.repeat(np.arange(6, dtype=np.int32), 4),
        rng.permuted(np.tile(np.arange(8), (6, 1)), axis=1)[:, :4],
    )
    graph = build_graph(users, items.flatten().astype(np.int32), 6, 8)
    texts = TextInputs(torch.from_numpy(rng.normal(size=(8, 5)).astype(np.float32)), torch.ones(8, dtype=torch.bool))
    config = load_config("default", overrides={"model.dim": 8, "model.init_std": 0.5, "model.precision": "float32"})
    model = build_model(graph, texts, config.model, seed=0)
    assert isinstance(model, RecMind) and weight != config.model.sequence.weight
    model.keep_weight("sequence").fill_(weight)
    model.popularity_floor.fill_(3.0)
    leaves = leaves_of(model, own_text=False, cosine=True)
    assert leaves.equations.sequence_weight == weight
    assert leaves.popularities is not None
    degrees = graph.degrees[6:].numpy()
    expected = np.log1p(np.maximum(degrees, 3)) / np.log1p(degrees.max())
    np.testing.assert_allclose(leaves.popularities, expected, rtol=1e-6)
    assert leaves.deviation is not None and leaves.deviation < 1e-5
    assert leaves.parameters is not None
    assert any(name.startswith(PREFIX) for name in leaves.parameters) == (weight > 0)
