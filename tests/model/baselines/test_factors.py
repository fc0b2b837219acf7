"""Factor models: BPR-MF as LightGCN without a layer, iALS against the normal equations of its paper."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from recmind.config import BaselinesConfig, IalsConfig, ModelConfig
from recmind.errors import ConfigError
from recmind.model.baselines import ials
from recmind.model.baselines.lightgcn import LightGCN
from recmind.model.graph import build_graph
from recmind.model.registry import build_model
from recmind.schema import Tensors

needs_implicit = pytest.mark.skipif(importlib.util.find_spec("implicit") is None, reason="implicit is not installed")
ALPHA, LAMBDA = 3.0, 0.5


def test_bpr_mf_has_no_layer_whatever_the_settings_say(example):
    model = build_model(example.graph, None, ModelConfig(name="bpr-mf", dim=4, layers=3), seed=0)
    assert isinstance(model, LightGCN)
    assert torch.equal(model.final(model()), model.free)


def fitted(x: np.ndarray, seed: int = 0) -> ials.IALS:
    users, items = (codes.astype(np.int32) for codes in np.nonzero(x))
    settings = IalsConfig(alpha=ALPHA, regularisation=LAMBDA, iterations=600)
    config = ModelConfig(name="ials", dim=3, baselines=BaselinesConfig(ials=settings))
    model = build_model(build_graph(users, items, *x.shape), None, config, seed=seed)
    assert isinstance(model, ials.IALS)
    model.fit()
    return model


def solved(own: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Equation 4 of the paper, one row at a time."""
    found = []
    for row in own:
        c = np.diag(1 + ALPHA * row)
        found.append(np.linalg.solve(fixed.T @ c @ fixed + LAMBDA * np.eye(fixed.shape[1]), fixed.T @ c @ row))
    return np.array(found)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    found = (np.random.default_rng(0).random((20, 9)) < 0.35).astype(float)
    found[-1], found[:, -1] = 0, 0
    return found


@needs_implicit
class TestIALS:
    def test_solves_the_papers_equations(self, x):
        model = fitted(x)
        users, items = model.users.double().numpy(), model.items.double().numpy()
        np.testing.assert_allclose(items, solved(x.T, users), rtol=1e-4, atol=1e-5)
        # After many iterations the users are a fixed point too.
        np.testing.assert_allclose(users, solved(x, items), rtol=1e-2, atol=1e-3)
        assert np.abs(items).max() > 0.1

    def test_who_has_nothing_has_a_zero_vector(self, x):
        model = fitted(x)
        assert not model.users[-1].any()
        assert not model.items[-1].any()

    def test_depends_on_the_seed_alone(self, x):
        first, second, other = fitted(x), fitted(x), fitted(x, seed=1)
        assert torch.equal(first.users, second.users)
        assert not torch.equal(first.users, other.users)

    def test_vectors_give_the_scores(self, x):
        model = fitted(x)
        users, items = (model.tensors()[key] for key in (Tensors.USERS, Tensors.ITEMS))
        np.testing.assert_allclose(model.scores(torch.tensor([4, 1])), (users @ items.T)[[4, 1]], rtol=1e-5, atol=1e-6)

    def test_permuted_users_and_items_permute_the_converged_scores(self, x):
        rng = np.random.default_rng(1)
        users, items = rng.permutation(20), rng.permutation(9)
        everybody = torch.arange(20)
        expected = fitted(x).scores(everybody).numpy()[np.ix_(users, items)]
        found = fitted(x[np.ix_(users, items)]).scores(everybody).numpy()
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_without_the_library_the_error_says_what_to_install(x, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"recmind\[studies\]"):
        fitted(x)
