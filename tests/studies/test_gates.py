"""The gates of a run: groups by degree, correlations and shares, on models whose gates are set by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import ModelConfig, load_config
from recmind.data.dataset import Dataset
from recmind.errors import ConfigError
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.pipeline import train_run
from recmind.studies.gates import deciles, gates_of, gates_of_run, language_shares

# Users 0 to 4 have 1, 2, 3, 4 and no interactions; items 0 to 4 have 4, 3, 2, 1 and none.
EDGES = [(user, item) for user in range(4) for item in range(user + 1)]
USERS, ITEMS = 5, 5


def model_of(*, unread: tuple[int, ...] = (), **settings: Any) -> RecMind:
    users, items = (np.array([edge[k] for edge in EDGES], dtype=np.int32) for k in (0, 1))
    graph = build_graph(users, items, USERS, ITEMS).to("cpu", torch.float64)
    known = np.ones(ITEMS, dtype=bool)
    known[list(unread)] = False
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 4)) * known[:, None]
    texts = TextInputs.from_arrays(vectors, known).to("cpu", torch.float64)
    config = ModelConfig(**{"dim": 3, "layers": 2, "precision": "float32", "init_std": 0.5, **settings})
    torch.manual_seed(0)
    return RecMind(graph, texts, config).double()


def set_gates(model: RecMind, *, by_degree: tuple[float, float] = (0.0, 0.0), bias: float = 0.0) -> RecMind:
    """γ = σ(a d̃ + b) in every layer, with one a for users and one for items."""
    assert model.gate is not None
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.weight[:, :, -1] = torch.tensor(by_degree, dtype=torch.float64)
        model.gate.bias.fill_(bias)
    return model


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class TestGates:
    def test_means_of_each_degree_are_the_gates_that_were_set(self):
        found = gates_of(set_gates(model_of(), by_degree=(2.0, -3.0), bias=0.5), bootstrap=0)
        log_degree = np.log1p(np.arange(1, 5)) / np.log(5)
        for side, slope in (("users", 2.0), ("items", -3.0)):
            for layer in (1, 2):
                rows = found.groups.filter(what="gate", side=side, layer=layer)
                # The node without an edge is in no group.
                assert rows["degree_low"].to_list() == rows["degree_high"].to_list() == [1, 2, 3, 4]
                assert rows["n"].to_list() == [1, 1, 1, 1]
                np.testing.assert_allclose(rows["mean"], sigmoid(slope * log_degree + 0.5), rtol=1e-12)

    def test_correlation_is_positive_where_gates_rise_with_the_degree_and_negative_where_they_fall(self):
        found = gates_of(set_gates(model_of(), by_degree=(2.0, -3.0)), bootstrap=100).correlations
        rho = {(row["side"], row["layer"]): row for row in found.filter(what="gate").to_dicts()}
        for layer in (1, 2):
            for side, sign in (("users", 1.0), ("items", -1.0)):
                row = rho[side, layer]
                assert (row["spearman"], row["low"], row["high"]) == pytest.approx((sign, sign, sign))
                assert row["n"] == 4

    def test_equal_gates_have_no_correlation(self):
        found = gates_of(set_gates(model_of(), bias=1.0), bootstrap=10)
        rows = found.correlations.filter(what="gate")
        assert rows["spearman"].to_list() == [None] * 4
        assert rows["mean"].to_list() == pytest.approx([sigmoid(np.array(1.0))] * 4)

    def test_a_layer_has_its_own_gates(self):
        model = set_gates(model_of())
        with torch.no_grad():
            model.gate.bias.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        means = gates_of(model, bootstrap=0).correlations.filter(what="gate").select("side", "layer", "mean").rows()
        expected = {("users", 1): 1.0, ("items", 1): 2.0, ("users", 2): 3.0, ("items", 2): 4.0}
        for side, layer, mean in means:
            assert mean == pytest.approx(sigmoid(np.array(expected[side, layer])))

    def test_intervals_hold_the_mean(self):
        model = model_of()
        with torch.no_grad():
            model.gate.weight.normal_(generator=torch.Generator().manual_seed(1))
        rows = gates_of(model, bootstrap=50).groups
        assert (rows["low"] <= rows["mean"] + 1e-12).all()
        assert (rows["mean"] <= rows["high"] + 1e-12).all()


class TestDeciles:
    def test_ten_degrees_are_ten_groups(self):
        assert deciles(np.arange(1, 11)).tolist() == list(range(10))
        assert deciles(np.arange(1, 1001)).tolist() == np.repeat(np.arange(10), 100).tolist()

    def test_a_degree_is_in_one_group(self):
        degrees = np.array([1] * 55 + [2] * 30 + [9] * 15)
        assert deciles(degrees).tolist() == [0] * 55 + [1] * 30 + [2] * 15

    def test_order_does_not_matter(self):
        degrees = np.random.default_rng(0).geometric(0.2, 500)
        shuffled = np.random.default_rng(1).permutation(500)
        assert (deciles(degrees)[shuffled] == deciles(degrees[shuffled])).all()

    def test_nobody(self):
        assert deciles(np.zeros(0, dtype=int)).tolist() == []


def dense_final(model: RecMind, embeddings: np.ndarray, language: np.ndarray, gates: np.ndarray) -> np.ndarray:
    """h before its normalisation from the paper's equations with a dense Â."""
    adjacency = np.zeros((USERS + ITEMS, USERS + ITEMS))
    for user, item in EDGES:
        adjacency[user, USERS + item] = adjacency[USERS + item, user] = 1
    degree = adjacency.sum(1)
    scale = np.array([1 / np.sqrt(d) if d else 0 for d in degree])
    normalised = scale[:, None] * adjacency * scale
    layers = [embeddings]
    for gamma in gates:
        layers.append(normalised @ (gamma[:, None] * layers[-1] + (1 - gamma[:, None]) * language))
    alpha = model.config.alpha
    return alpha * np.mean(layers, axis=0) + (1 - alpha) * language


class TestShares:
    @pytest.mark.parametrize("initial", ["free", "free+text"])
    def test_are_those_of_the_equations(self, initial: str):
        model = model_of(initial=initial, alpha=0.7)
        with torch.no_grad():
            model.gate.weight.normal_(generator=torch.Generator().manual_seed(2))
            free, language, gates = model.free.numpy(), model.language().numpy(), model().gates.numpy()
        start = language if initial == "free+text" else np.zeros_like(free)
        of_language = dense_final(model, start, language, gates)
        of_free = dense_final(model, free, np.zeros_like(language), gates)
        h = of_language + of_free
        np.testing.assert_allclose(h, model.final(model()).detach().numpy(), rtol=1e-10, atol=1e-12)
        length = (h * h).sum(1)
        there = length > 0
        expected = (of_language * h).sum(1)[there] / length[there]
        np.testing.assert_allclose(language_shares(model).numpy()[there], expected, rtol=1e-10)
        rest = (of_free * h).sum(1)[there] / length[there]
        np.testing.assert_allclose(expected + rest, 1, rtol=1e-10)

    def test_without_free_vectors_everything_is_language(self):
        model = model_of(initial="free+text")
        with torch.no_grad():
            model.free.zero_()
        np.testing.assert_allclose(language_shares(model), 1, rtol=1e-12)

    def test_open_gates_and_the_graph_view_alone_leave_no_language(self):
        model = set_gates(model_of(initial="free", alpha=1.0), bias=100.0)
        np.testing.assert_allclose(language_shares(model), 0, atol=1e-12)

    def test_a_free_vector_in_place_of_a_text_is_no_language(self):
        model = model_of(unread=(0, 1, 2, 3, 4), missing_text="free", initial="free")
        np.testing.assert_allclose(language_shares(model), 0, atol=1e-12)

    def test_alpha_by_text(self):
        model = model_of(unread=(3,), missing_text="free", alpha=0.4, alpha_by_text=True)
        rows = gates_of(model, bootstrap=0).groups.filter(what="alpha")
        # Items with 1, 2, 3 and 4 interactions are 3, 2, 1 and 0; item 3 has no text.
        items = rows.filter(side="items").sort("degree_low")["mean"].to_list()
        assert items == pytest.approx([1.0, 0.4, 0.4, 0.4])
        # Users have the first 1, 2, 3 and 4 items; of the last one's four items three have a text.
        users = rows.filter(side="users").sort("degree_low")["mean"].to_list()
        assert users == pytest.approx([0.4, 0.4, 0.4, 1 - 0.6 * 3 / 4])


class TestRun:
    @pytest.fixture
    def dataset(self) -> Dataset:
        orders = [np.random.default_rng(user).permutation(9)[:5] for user in range(8)]
        rows = [(f"u{u}", f"i{i}", t) for u, order in enumerate(orders) for t, i in enumerate(order)]
        titles = pl.DataFrame({"item_id": [f"i{i}" for i in range(9)], "title": [f"w{i} w{i + 9}" for i in range(9)]})
        return Dataset.from_frames(pl.DataFrame(rows, ["user_id", "item_id", "order"], orient="row"), titles)

    def small(self, tiny_encoder, **overrides: Any):
        sizes = {
            "model.dim": 4,
            "model.sequence.optional": False,
            "training.max_epochs": 2,
            "evaluation.bootstrap": 0,
            "threads": 1,
        }
        language = {"language.encoder": str(tiny_encoder), "language.device": "cpu", "language.dtype": "float32"}
        return load_config("default", overrides={**sizes, **language, **overrides})

    def test_a_finished_run_has_the_gates_of_its_model(self, dataset, tiny_encoder, tmp_path):
        train_run(dataset, self.small(tiny_encoder), tmp_path / "run", show_progress=False)
        found = gates_of_run(tmp_path / "run", bootstrap=10)
        assert found.correlations.height == 2 * 2 + 2 + 2
        n = found.groups.group_by("what", "side", "layer").agg(pl.sum("n"))
        assert set(n.filter(side="users")["n"]) == {8}
        gates = found.groups.filter(what="gate")["mean"]
        assert gates.is_between(0, 1).all()

    @pytest.mark.parametrize("change", [{"model.gate.kind": "none"}, {"model.layers": 0}, {"model.name": "lightgcn"}])
    def test_without_gates_it_is_refused(self, dataset, tiny_encoder, tmp_path, change):
        train_run(dataset, self.small(tiny_encoder, **change), tmp_path / "run", show_progress=False)
        with pytest.raises(ConfigError, match="the run has no gates"):
            gates_of_run(tmp_path / "run")
