from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.baselines.llm_init import principal_components
from recmind.model.language_view import TextInputs
from recmind.model.propagation import propagate

OF_USERS, OF_ITEMS = [0, 1, 2, 4, 5], [6, 7, 9, 10, 11, 12]
"""Nodes of which a text is known: all but user 3 and item 2."""


def start(model) -> np.ndarray:
    return model.free.detach().numpy()


def scaled(rows: np.ndarray, std: float) -> np.ndarray:
    return rows * std / np.sqrt((rows**2).mean())


def test_starts_from_the_principal_components(dense, built, texts):
    model, plain = built("llm-init", dim=3, init_std=0.3), built("lightgcn", dim=3, init_std=0.3)
    x, items = dense.vectors(texts.items).numpy(), texts.items.numpy()[[0, 1, 3, 4, 5, 6]]
    _, _, components = np.linalg.svd(items - items.mean(0))
    reduced = (x - items.mean(0)) @ components[:3].T
    for rows in (OF_USERS, OF_ITEMS):
        found, expected = start(model)[rows], scaled(reduced[rows], 0.3)
        signs = np.sign((found * expected).sum(0))
        np.testing.assert_allclose(found, expected * signs, rtol=1e-5, atol=1e-7)
    # Without a text: what LightGCN starts from.
    assert np.array_equal(start(model)[[3, 8]], start(plain)[[3, 8]])


def test_a_fallback_starts_where_the_neighbours_are(built, texts):
    free, guessed = (built("llm-init", missing_text=missing) for missing in ("free", "fallback"))
    context = (texts.items[[0, 1]].mean(0) + texts.items[4]) / 2
    known = texts.items[texts.items_known]
    direction = principal_components((context / context.norm())[None], known, 4)[0]
    assert float(torch.cosine_similarity(guessed.free[8].detach(), direction, dim=0)) == pytest.approx(1, abs=1e-6)
    assert torch.equal(guessed.free[3], free.free[3])


def test_whitened_components_are_equally_loud(texts):
    known = texts.items[texts.items_known]
    reduced = principal_components(known, known, 3, whiten=True)
    torch.testing.assert_close(reduced.T @ reduced / len(known), torch.eye(3, dtype=torch.float64))
    assert bool(principal_components(known[:2], known[:2], 4, whiten=True).isfinite().all())


def test_a_random_projection_has_orthogonal_columns(dense, built, texts):
    model = built("llm-init", dim=3, own={"reduction": "projection"})
    x = dense.vectors(texts.items).numpy()
    matrix, *_ = np.linalg.lstsq(x[OF_ITEMS], start(model)[OF_ITEMS], rcond=None)
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(3) * gram[0, 0], atol=1e-6)
    ratio = start(model)[OF_USERS] / (x[OF_USERS] @ matrix)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert np.sqrt((start(model)[OF_USERS] ** 2).mean()) == pytest.approx(1)
    assert not np.allclose(start(built("llm-init", dim=3, seed=1, own={"reduction": "projection"})), start(model))


def test_is_trained_as_lightgcn(example, built, same_gradients):
    model = built("llm-init")
    expected = propagate(model.free, example.double(), 2)[0]
    weights = torch.arange(52, dtype=torch.float64).view(13, 4)
    same_gradients(model, (model.final(model()) * weights).sum(), (expected * weights).sum())
    torch.testing.assert_close(model().regularised, model.free)


def test_without_any_text_it_is_lightgcn(built):
    blank = TextInputs(torch.zeros(7, 5, dtype=torch.float64), torch.zeros(7, dtype=torch.bool))
    for own in ({}, {"reduction": "projection"}):
        assert np.array_equal(start(built("llm-init", inputs=blank, own=own)), start(built("lightgcn")))


def test_more_numbers_than_the_texts_have_are_refused(built):
    with pytest.raises(ConfigError, match=r"model\.dim(.|\n)*6(.|\n)*at most 5"):
        built("llm-init", dim=6)
    with pytest.raises(ConfigError, match=r"llm_init\.reduction"):
        load_config("default", overrides=["model.baselines.llm_init.reduction=lda"])
