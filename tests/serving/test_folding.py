"""Folding in against the trained models themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recmind.model.views import GraphModel
from recmind.schema import BundleTensors
from recmind.serving.base import Base
from recmind.serving.bundle import Bundle
from recmind.serving.folding import Folding, unit
from recmind.serving.recommender import Recommender
from recmind.serving.sequence import SequenceReader
from recmind.serving.state import State
from recmind.serving.tastes import Equations

FOLDING = [
    "recmind",
    "by-text",
    "fallback",
    "paper",
    "titles",
    "no-gate",
    "no-layer",
    "latest",
    "in-order",
    "in-order-dot",
    "in-order-own",
    "in-order-own-dot",
    "text",
    "lightgcn",
    "xsimgcl",
]
READING = ["recmind", "by-text", "fallback", "paper", "titles", "no-gate", "no-layer", "text"]
NEW = pl.DataFrame({"item_id": ["n1", "n2"], "title": ["w3 w9 w30", None]})


def state_of(path: Path) -> State:
    return State(Base(Bundle.load(path)))


def served(run: Path) -> Recommender:
    """What a bundle is made of: the trained model that has heard of everything."""
    return Recommender.load(run).up_to_date


@pytest.mark.parametrize("kind", FOLDING)
def test_the_history_of_a_user_gives_the_models_own_vector(
    kind: str, trained: Callable[[str], Path], bundled: Callable[[str], Path]
):
    state, run = state_of(bundled(kind)), served(trained(kind))
    dim = state.base.equations.dim
    for user in run.users["user_id"]:
        code = state.base.user_codes[user]
        taste = state.taste_of(user)
        # taste_of returns the stored vector where nothing is new; the fold is what it is taken apart into.
        folded = state._fold(
            state.base.trained_on(code).astype(np.int64),
            state.base.tables[BundleTensors.USERS_FREE][code]
            if BundleTensors.USERS_FREE in state.base.tables
            else None,
            (state.base.tables[BundleTensors.USERS_LANGUAGE][code], True)
            if BundleTensors.USERS_LANGUAGE in state.base.tables
            else None,
        )
        expected = run.vectors.users[code, :dim].numpy()
        np.testing.assert_allclose(folded.vector, expected, rtol=1e-6, atol=2e-6)  # inner products may be long
        np.testing.assert_array_equal(taste.vector, expected)


@pytest.mark.parametrize("kind", ["no-order", "by-text", "no-gate", "lightgcn"])
def test_somebody_new_differs_from_the_same_trained_user_by_the_free_part_alone(
    kind: str, trained: Callable[[str], Path], bundled: Callable[[str], Path]
):
    """v_trained - v_new = α c₀ f: compared before the vectors are brought to length 1."""
    state, model = state_of(bundled(kind)), served(trained(kind)).trained.built()
    assert isinstance(model, GraphModel)
    equations = state.base.equations
    with torch.no_grad():
        views = model()
        language = views.language if views.language is not None else torch.zeros_like(views.graph)
    for code in range(0, len(state.base.users), 7):
        items = state.base.trained_on(code).astype(np.int64)
        new = state.taste_for(items)
        known = state.rows(BundleTensors.ITEMS_KNOWN, items).mean() if equations.reads else 0.0
        a = equations.share_of_graph(float(known))
        free = model.free[code].detach().numpy()  # type: ignore[union-attr, operator]
        v = (1 - a) * language[code].numpy() + a * views.graph[code].numpy() - a * equations.first * free
        expected = v / np.linalg.norm(v) if equations.cosine else v
        if equations.recent_weight:  # calibrated: on so little data it may come out 0 or not
            latest = items[-equations.recent_items :]
            shares = equations.recent_decay ** np.arange(len(latest) - 1, -1, -1)
            h = state.rows(BundleTensors.ITEMS, latest)[:, : equations.dim]
            expected = expected + equations.recent_weight * (shares / shares.sum()) @ h
            expected = expected / np.linalg.norm(expected) if equations.cosine else expected
        np.testing.assert_allclose(new.vector, expected, atol=2e-6)


def test_a_text_model_needs_no_training_of_its_users_at_all(bundled: Callable[[str], Path]):
    # Its parameters belong to no node: somebody new with the same history has the same vector.
    state = state_of(bundled("text"))
    for code in range(len(state.base.users)):
        new = state.taste_for(state.base.trained_on(code).astype(np.int64))
        np.testing.assert_allclose(new.vector, state.base.users[code], atol=2e-6)


@pytest.mark.parametrize("kind", READING)
def test_new_items_are_placed_as_the_model_places_them(
    kind: str, trained: Callable[[str], Path], bundled: Callable[[str], Path]
):
    state, run = state_of(bundled(kind)), served(trained(kind))
    n = len(run.vectors.items)
    run.add_items(NEW)
    expected = run.vectors.items[n:].numpy()
    texts, known = state.base.speech.items(NEW.to_dicts())
    assert known.tolist() == [True, False]
    placed, _ = state.base.place(texts, known)
    dim = state.base.equations.dim
    np.testing.assert_allclose(placed.vectors[:, :dim], expected[:, :dim], atol=2e-6)
    if state.base.equations.popularity:
        column = state.base.equations.popularity * placed.vectors[:, dim]
        np.testing.assert_allclose(column, expected[:, dim], rtol=1e-5)
    language = placed.scale[:, None] * placed.language
    if state.base.equations.text_links:
        # What is not language is what the graph says of the items with similar texts.
        assert (np.abs(placed.vectors[0, :dim] - language[0]) > 1e-3).any()
        known[:] = ~known
    np.testing.assert_allclose(language[known], placed.vectors[known, :dim], atol=1e-6)


@pytest.mark.parametrize("kind", ["recmind", "by-text", "fallback", "text", "no-gate"])
def test_a_placed_item_sends_what_a_trained_item_without_an_edge_sends(kind: str, bundled: Callable[[str], Path]):
    # Items 28 and 29 were never bought; 28 has no text. With E^(0) = z^L their free part is zero and stays so.
    state = state_of(bundled(kind))
    codes = np.array([29])
    bundle_items = state.base.bundle.items[codes].to_dicts()
    placed, _ = state.base.place(*state.base.speech.items(bundle_items))
    np.testing.assert_allclose(placed.messages, state.rows(BundleTensors.ITEMS_MESSAGES, codes), atol=2e-6)
    np.testing.assert_allclose(placed.language, state.rows(BundleTensors.ITEMS_LANGUAGE, codes), atol=2e-6)
    if placed.gates.size:
        np.testing.assert_allclose(placed.gates, state.rows(BundleTensors.ITEMS_GATES, codes), atol=1e-6)


def test_a_fold_by_hand():
    """Two items, one layer: z = (1, 0) and (0, 1), E^(0) = z, degrees 4 and 1, no gate, α = ½."""
    equations = Equations(
        2, cosine=False, alpha=0.5, first=0.5, others=0.5, layers=1, starts_with_text=True, folds=True
    )
    language = np.eye(2, dtype=np.float32)
    messages = language / np.sqrt(np.array([[4.0], [1.0]], dtype=np.float32))
    taste = Folding(equations, {}).fold(np.array([0, 1]), messages, language, np.array([True, True]))
    z = np.array([0.5, 0.5])
    graph = 0.5 * (z + (1 / np.sqrt(2)) * np.array([1 / 2, 1]))
    np.testing.assert_allclose(taste.vector, 0.5 * graph + 0.5 * z, rtol=1e-6)
    np.testing.assert_allclose(taste.language, 0.75 * z, rtol=1e-6)
    np.testing.assert_allclose(taste.carried.sum(axis=0), taste.vector, rtol=1e-6)
    np.testing.assert_allclose(taste.carried[0], [0.5 * 0.5 / np.sqrt(2) / 2 + 0.75 / 2, 0], rtol=1e-6)


def test_nobody_is_a_zero_vector(bundled: Callable[[str], Path]):
    for kind in ("no-order", "by-text", "lightgcn"):
        taste = state_of(bundled(kind)).taste_for(np.empty(0, dtype=np.int64))
        assert not taste.vector.any()
        assert taste.carried.shape == (0, 8)


def test_where_histories_are_read_in_order_nobody_is_somebody_who_begins(bundled: Callable[[str], Path]):
    state = state_of(bundled("in-order"))
    taste = state.taste_for(np.empty(0, dtype=np.int64))
    equations = state.base.equations
    assert equations.sequence_from_end, "the recipe's"
    encoder = SequenceReader(state.base.bundle.parameters, equations.sequence_heads, from_end=True)
    np.testing.assert_allclose(taste.vector, unit(encoder.state(np.empty((0, 8), np.float32))), rtol=1e-5)
    np.testing.assert_array_equal(taste.vector, taste.read)
    assert taste.carried.shape == (0, 8)
