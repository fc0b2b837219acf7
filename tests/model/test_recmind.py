from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import GateConfig, ModelConfig
from recmind.model.gating import late_gate, propagate_gated
from recmind.model.graph import NodeSubset
from recmind.model.language_view import TextInputs
from recmind.model.propagation import propagate
from recmind.model.recmind import RecMind

D_LM = 4


def texts_of(n_items: int, n_users: int = 0, seed: int = 0, unknown: tuple[int, ...] = (2,)) -> TextInputs:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_items, D_LM)).astype(np.float32)
    known = np.ones(n_items, dtype=bool)
    known[list(unknown)] = False
    vectors[~known] = 0
    if not n_users:
        return TextInputs.from_arrays(vectors, known)
    return TextInputs.from_arrays(
        vectors, known, rng.normal(size=(n_users, D_LM)).astype(np.float32), np.arange(n_users) % 3 > 0
    )


def recmind(example, texts: TextInputs | None = None, *, seed: int = 0, **settings) -> RecMind:
    config = ModelConfig(**{"dim": 3, "layers": 2, "precision": "float32", "init_std": 0.7, **settings})
    torch.manual_seed(seed)
    model = RecMind(example.double(), (texts or texts_of(7)).to("cpu", torch.float64), config).double()
    with torch.no_grad():
        if model.gate is not None:
            model.gate.weight.normal_(generator=torch.Generator().manual_seed(4))
    return model


def all_vectors(model: RecMind) -> np.ndarray:
    views = model()
    return model.final(views).detach().numpy()


class TestFinal:
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    def test_mixes_both_views(self, example, alpha: float):
        model = recmind(example, alpha=alpha)
        views = model()
        graph, language = views.graph.detach().numpy(), views.language.detach().numpy()
        np.testing.assert_allclose(all_vectors(model), alpha * graph + (1 - alpha) * language, rtol=1e-12)

    def test_cosine_has_length_one(self, example):
        dot, cosine = all_vectors(recmind(example)), all_vectors(recmind(example, score="cosine"))
        np.testing.assert_allclose(cosine, dot / np.linalg.norm(dot, axis=1, keepdims=True), rtol=1e-12)


class TestPopularityTerm:
    def test_adds_the_weighted_log_degree_of_the_item_to_every_score(self, example):
        plain, model = recmind(example, score="cosine"), recmind(example, score="cosine", popularity=True)
        with torch.no_grad():
            model.popularity.fill_(0.7)
        h, bare = all_vectors(model), all_vectors(plain)
        # Degrees of the items 2, 2, 2, 1, 1, 0, 1; the largest is 2.
        term = np.array([0.7 * np.log(1 + d) / np.log(3) for d in (2, 2, 2, 1, 1, 0, 1)])
        np.testing.assert_allclose(h[:6] @ h[6:].T, bare[:6] @ bare[6:].T + term, rtol=1e-6)

    @pytest.mark.parametrize(
        ("floor", "counted"), [(0.0, (2, 2, 2, 1, 1, 0, 1)), (1.0, (2, 2, 2, 1, 1, 1, 1)), (5.0, [2] * 7)]
    )
    def test_no_item_counts_as_less_popular_than_the_floor(self, example, floor: float, counted):
        model = recmind(example, popularity=True)
        with torch.no_grad():
            model.popularity.fill_(0.7)
            model.popularity_floor.fill_(floor)
        expected = np.log1p(counted) / np.log(3)
        np.testing.assert_allclose(model.popularities(), expected, rtol=1e-6)
        np.testing.assert_allclose(model.vectors()[6:, -1], 0.7 * expected, rtol=1e-6)
        new = model.new_items(model.language.texts.items[5:6], torch.tensor([True]))
        bought = [expected[i] for i in (0, 1, 2, 3, 4, 6)]
        assert float(new[0, -1]) == pytest.approx(0.7 * np.mean(bought), rel=1e-6)

    def test_a_floor_of_half_an_interaction_lies_between(self, example):
        model = recmind(example, popularity=True)
        model.popularity_floor.fill_(0.5)
        assert float(model.popularities()[5]) == pytest.approx(np.log(1.5) / np.log(3))

    def test_parameters_of_before_there_was_a_floor_can_be_read(self, example):
        model = recmind(example, popularity=True)
        model.load_state_dict({name: value for name, value in model.state_dict().items() if name != "popularity_floor"})
        assert float(model.popularity_floor) == 0.0
        assert "popularity_floor" not in recmind(example).state_dict()

    def test_rows_of_a_batch_are_rows_of_the_whole(self, example):
        model = recmind(example, popularity=True)
        wanted = NodeSubset.of(13, torch.tensor([7, 0, 12, 7]))
        part, whole = model.final(model(wanted=wanted)), model.final(model())
        assert torch.equal(part[:, -1], whole[[0, 7, 12], -1])
        np.testing.assert_allclose(part.detach(), whole[[0, 7, 12]].detach(), rtol=1e-12, atol=1e-14)

    def test_starts_without_influence(self, example):
        plain, model = all_vectors(recmind(example)), all_vectors(recmind(example, popularity=True))
        np.testing.assert_allclose(model[:6] @ model[6:].T, plain[:6] @ plain[6:].T, rtol=1e-12)

    def test_a_new_item_counts_as_the_average_bought_one(self, example):
        model = recmind(example, popularity=True)
        with torch.no_grad():
            model.popularity.fill_(0.7)
            model.free[6 + 5] = 0
        new = model.new_items(model.language.texts.items[5:6], torch.tensor([True])).detach().numpy()[0]
        np.testing.assert_allclose(new[:-1], all_vectors(model)[6 + 5, :-1], rtol=1e-9, atol=1e-12)
        degrees = example.graph.degrees[6:].numpy()
        logs = np.log1p(degrees) / np.log1p(degrees.max())
        assert new[-1] == pytest.approx(0.7 * logs[degrees > 0].mean(), rel=1e-6)

    def test_nodes_without_an_edge_start_with_their_text_alone(self, make):
        torch.manual_seed(0)
        lonely = make([(0, 0)], 2, 3)
        model = RecMind(lonely.graph, texts_of(3), ModelConfig(dim=4, initial="free+text"))
        assert model.free.detach().abs().sum(1).ne(0).tolist() == [True, False, True, False, False]


class TestViews:
    def test_language_is_the_language_view(self, example):
        model = recmind(example)
        assert torch.equal(model().language, model.language())

    def test_free_start_and_gate(self, example):
        model = recmind(example)
        graph, _, gates = propagate_gated(model.free, model.language(), model.log_degree, model.graph, model.gate)
        views = model()
        assert torch.equal(views.graph, graph)
        assert torch.equal(views.gates, gates)
        assert views.regularised is model.free

    def test_start_from_free_part_and_text(self, example):
        model = recmind(example, initial="free+text", gate=GateConfig(kind="none"))
        expected, _ = propagate(model.free + model.language(), model.graph, 2)
        assert torch.equal(model().graph, expected)

    def test_without_gate_and_text_the_graph_view_is_lightgcn(self, example):
        model = recmind(example, gate=GateConfig(kind="none"))
        assert model.gate is None
        assert torch.equal(model().graph, propagate(model.free, model.graph, 2)[0])
        assert model().gates is None

    def test_without_layers_there_is_no_gate_and_no_propagation(self, example):
        model = recmind(example, layers=0)
        assert model.gate is None
        assert torch.equal(model().graph, model.free)

    def test_size_of_the_start(self, make):
        torch.manual_seed(0)
        big = make([(0, 0)], 500, 500)
        model = RecMind(big.graph, texts_of(500), ModelConfig(dim=8, init_std=0.02))
        assert float(model.free.detach().std()) == pytest.approx(0.02, rel=0.05)


class TestWanted:
    """A step asks for the nodes of its batch; they and what they teach must be those of the whole."""

    @pytest.mark.parametrize("kind", ["node-layer", "none"])
    @pytest.mark.parametrize("initial", ["free", "free+text"])
    @pytest.mark.parametrize("layers", [0, 1, 3])
    @pytest.mark.parametrize("nodes", [[0, 3, 5, 6, 11, 12], [3], list(range(13))])
    def test_views_and_gradients_of_the_whole(self, example, kind, initial, layers, nodes):
        results = []
        for wanted in (None, NodeSubset.of(13, torch.tensor(nodes))):
            model = recmind(example, initial=initial, layers=layers, gate=GateConfig(kind=kind), popularity=True)
            views = model(torch.Generator().manual_seed(1), wanted)
            assert views.wanted is wanted
            parts = [model.final(views), views.graph, views.language, views.regularised]
            rows = [part if wanted else part[nodes] for part in parts]
            generator = torch.Generator().manual_seed(2)
            drawn = [torch.randn(row.shape, generator=generator, dtype=torch.float64) for row in rows]
            sum((row * weight).sum() for row, weight in zip(rows, drawn, strict=True)).backward()
            gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            results.append((rows, gradients))
        (whole, taught), (part, learnt) = results
        for one, other in zip(whole, part, strict=True):
            np.testing.assert_allclose(other.detach(), one.detach(), rtol=1e-11, atol=1e-13)
        assert learnt.keys() == taught.keys()
        for name, gradient in taught.items():
            np.testing.assert_allclose(learnt[name], gradient, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("score", ["dot", "cosine"])
@pytest.mark.parametrize("initial", ["free", "free+text"])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_new_item_gets_what_a_catalogue_item_without_edge_and_free_part_gets(example, score, initial, layers):
    known = recmind(example, score=score, initial=initial, layers=layers)
    with torch.no_grad():
        known.free[6 + 5] = 0
    new = known.new_items(known.language.texts.items[5:6], torch.tensor([True]))
    np.testing.assert_allclose(new.detach().numpy()[0], all_vectors(known)[6 + 5], rtol=1e-9, atol=1e-12)


def test_a_new_item_without_text_gets_the_fallback(example):
    model = recmind(example, texts_of(7, unknown=(2, 5)))
    with torch.no_grad():
        model.free[6 + 5] = 0
    new = model.new_items(torch.zeros(1, D_LM, dtype=torch.float64), torch.tensor([False]))
    np.testing.assert_allclose(new.detach().numpy()[0], all_vectors(model)[6 + 5], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_neither_edges_nor_texts_is_still_finite(make, score: str):
    example = make([(0, 0)], 4, 5)
    model = recmind(example, texts_of(5, 4, unknown=(0, 1, 2, 3, 4)), score=score)
    assert np.isfinite(all_vectors(model)).all()
    views = model(torch.Generator().manual_seed(0))
    model.final(views).square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("user_texts", [False, True])
def test_renumbering_users_and_items_renumbers_the_result(example, make, user_texts: bool):
    texts = texts_of(7, 6 if user_texts else 0)
    model = recmind(example, texts)
    rng = np.random.default_rng(8)
    users, items = rng.permutation(6), rng.permutation(7)
    edges = [(users[u], items[i]) for u, i in zip(example.users, example.items, strict=True)]

    def moved(tensor: torch.Tensor | None, to: np.ndarray) -> torch.Tensor | None:
        if tensor is None:
            return None
        out = torch.empty_like(tensor)
        out[torch.from_numpy(to)] = tensor
        return out

    there = TextInputs(
        moved(texts.items, items),
        moved(texts.items_known, items),
        moved(texts.users, users),
        moved(texts.users_known, users),
    )
    other = recmind(make(edges, 6, 7), there)
    nodes = np.concatenate([users, 6 + items])
    with torch.no_grad():
        other.free.copy_(moved(model.free, nodes))
    np.testing.assert_allclose(all_vectors(other)[nodes], all_vectors(model), rtol=1e-6, atol=1e-7)


def test_every_parameter_is_trained(example):
    model = recmind(example)
    views = model(torch.Generator().manual_seed(0))
    model.final(views).pow(3).sum().backward()
    untrained = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert untrained == []


def test_the_free_part_of_a_node_without_an_edge_never_moves(make):
    torch.manual_seed(0)
    lonely = make([(0, 0)], 2, 3)
    model = RecMind(lonely.graph, texts_of(3), ModelConfig(dim=4, initial="free+text"))
    model.final(model()).sum().backward()
    moves = model.free.grad.abs().sum(1).ne(0).tolist()
    assert moves == [True, False, True, False, False]


class TestFreeVectorsWithoutText:
    """``missing_text = "free"`` in the whole model."""

    def test_start_and_language_view_of_a_node_without_text_are_its_free_vector(self, example):
        model = recmind(example, missing_text="free", initial="free+text", layers=0, alpha=0.5)
        free, out = model.free.detach().numpy(), all_vectors(model)
        # Item 2 has no text: E^(0) = free + z^L = 2 free, z^L = free, h their mean.
        np.testing.assert_allclose(out[6 + 2], 1.5 * free[6 + 2], rtol=1e-12)

    def test_are_still_the_models_after_loading_and_converting(self, example):
        model, other = (recmind(example, missing_text="free", initial="free+text", seed=seed) for seed in (0, 1))
        assert "language.fallback.0.weight" not in model.state_dict()
        other.load_state_dict(model.state_dict())
        assert np.array_equal(all_vectors(other), all_vectors(model))
        assert sum(parameter is model.free for parameter in model.parameters()) == 1

    @pytest.mark.parametrize("initial", ["free", "free+text"])
    @pytest.mark.parametrize("score", ["dot", "cosine"])
    def test_without_any_text_all_is_finite_and_nothing_moves_the_unconnected(self, example, initial: str, score: str):
        model = recmind(
            example, texts_of(7, unknown=tuple(range(7))), missing_text="free", initial=initial, score=score
        )
        views = model(torch.Generator().manual_seed(0))
        h = model.final(views)
        (h[:6] @ h[6:].T).square().sum().backward()
        assert bool(h.isfinite().all())
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
        # Nothing reads a text, so nothing is learnt about reading one.
        assert not float(model.language.projection.weight.grad.abs().sum())
        if initial == "free+text":
            assert not float(model.free.grad[[3, 6 + 5]].abs().sum())


class TestAlphaByText:
    """``alpha_by_text``: α_v = 1 - (1-α) k_v."""

    @staticmethod
    def expected(model: RecMind, read: list[float]) -> np.ndarray:
        views = model()
        graph, language = views.graph.detach().numpy(), views.language.detach().numpy()
        alphas = np.array([1 - 0.7 * k for k in read])[:, None]
        return alphas * graph + (1 - alphas) * language

    @pytest.mark.parametrize("missing", ["fallback", "free"])
    def test_items_by_their_text_users_by_the_share_of_their_items(self, example, missing: str):
        model = recmind(example, alpha=0.3, alpha_by_text=True, missing_text=missing)
        # Item 2 has no text: of user 0's three items and of user 4's two it is one. User 3 has none.
        read = [2 / 3, 1, 1, 0, 1 / 2, 1, 1, 1, 0, 1, 1, 1, 1]
        np.testing.assert_allclose(all_vectors(model), self.expected(model, read), rtol=1e-6, atol=1e-9)

    def test_users_with_texts_of_their_own_by_these(self, example):
        model = recmind(example, texts_of(7, 6), alpha=0.3, alpha_by_text=True, missing_text="free")
        np.testing.assert_allclose(
            all_vectors(model), self.expected(model, [0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]), rtol=1e-6, atol=1e-9
        )

    @pytest.mark.parametrize("users", [0, 6])
    def test_with_all_texts_the_same_bits_as_one_alpha(self, example, users: int):
        texts = texts_of(7, users, unknown=())
        if users:
            texts = TextInputs(texts.items, texts.items_known, texts.users, torch.ones(6, dtype=torch.bool))
        one, by_text = (recmind(example, texts, alpha=0.3, alpha_by_text=on) for on in (False, True))
        assert np.array_equal(all_vectors(one), all_vectors(by_text))

    def test_without_any_text_h_is_the_graph_view(self, example):
        model = recmind(example, texts_of(7, unknown=tuple(range(7))), alpha=0.3, alpha_by_text=True)
        np.testing.assert_allclose(all_vectors(model), model().graph.detach().numpy(), rtol=1e-12)

    def test_rows_of_a_batch_are_rows_of_the_whole(self, example):
        model = recmind(example, alpha=0.3, alpha_by_text=True, missing_text="free")
        wanted = NodeSubset.of(13, torch.tensor([8, 0, 12]))
        part, whole = model.final(model(wanted=wanted)), model.final(model())
        np.testing.assert_allclose(part.detach(), whole[[0, 8, 12]].detach(), rtol=1e-12, atol=1e-14)

    def test_a_text_that_comes_later_counts(self, example):
        model = recmind(example, alpha=0.3, alpha_by_text=True, missing_text="free")
        later = texts_of(7, unknown=(4,)).to("cpu", torch.float64)
        model.language.replace_texts(later)
        # Item 4 is one of user 4's two items.
        read = [1, 1, 1, 0, 1 / 2, 1, 1, 1, 1, 1, 0, 1, 1]
        np.testing.assert_allclose(all_vectors(model), self.expected(model, read), rtol=1e-6, atol=1e-9)

    def test_a_new_item_with_text_as_ever_without_by_the_graph_alone(self, example):
        texts = texts_of(7, unknown=(2, 5))
        model = recmind(example, texts, alpha=0.3, alpha_by_text=True, initial="free+text")
        with torch.no_grad():
            model.free[6 + 5] = 0
        vectors = torch.cat([model.language.texts.items[5:6], model.language.texts.items[:1]])
        new = model.new_items(vectors, torch.tensor([False, True])).detach().numpy()
        np.testing.assert_allclose(new[0], all_vectors(model)[6 + 5], rtol=1e-9, atol=1e-12)
        language = model.language.project(vectors, torch.tensor([False, True])).detach().numpy()
        np.testing.assert_allclose(new[1], 0.3 * language[1] / 3 + 0.7 * language[1], rtol=1e-9)


class TestLateFusion:
    def late(self, example, **settings) -> RecMind:
        model = recmind(example, gate=GateConfig(kind="late"), **settings)
        with torch.no_grad():
            model.fusion.weight.normal_(generator=torch.Generator().manual_seed(5))
        return model

    def test_the_graph_flows_alone_and_a_gate_mixes_both_views(self, example):
        model = self.late(example, alpha=0.9)
        plain = recmind(example, gate=GateConfig(kind="none"))
        views = model()
        assert torch.equal(views.graph, plain().graph)
        side = torch.arange(13) >= 6
        gamma = late_gate(views.graph, views.language, model.log_degree, model.fusion, side).detach().numpy()
        graph, language = views.graph.detach().numpy(), views.language.detach().numpy()
        assert gamma.std() > 0.05
        np.testing.assert_allclose(all_vectors(model), gamma * graph + (1 - gamma) * language, rtol=1e-12)

    def test_before_training_it_is_the_mean_of_both(self, example):
        model, half = recmind(example, gate=GateConfig(kind="late")), recmind(example, gate=GateConfig(kind="none"))
        np.testing.assert_allclose(all_vectors(model), all_vectors(half), rtol=1e-12)

    def test_rows_of_a_batch_are_rows_of_the_whole(self, example):
        model = self.late(example, alpha_by_text=True)
        wanted = NodeSubset.of(13, torch.tensor([7, 0, 12, 7]))
        part, whole = model.final(model(wanted=wanted)), model.final(model())
        np.testing.assert_allclose(part.detach(), whole[[0, 7, 12]].detach(), rtol=1e-12, atol=1e-14)

    def test_without_a_text_the_graph_alone_counts_where_that_is_set(self, example):
        model = self.late(example, alpha_by_text=True, missing_text="free")
        views = model()
        # Item 2 has no text: node 8.
        np.testing.assert_allclose(all_vectors(model)[8], views.graph[8].detach().numpy(), rtol=1e-12)

    def test_its_gate_learns(self, example):
        model = self.late(example)
        model.final(model()).square().sum().backward()
        assert (model.fusion.weight.grad != 0).any(dim=2).all()
        assert (model.fusion.bias.grad != 0).all()

    def test_a_new_item_is_mixed_as_an_old_one_without_an_edge(self, example):
        texts = texts_of(7, unknown=())
        config = {"initial": "free+text", "gate": GateConfig(kind="late")}
        model = recmind(example, texts, **config)
        with torch.no_grad():
            model.fusion.weight.normal_(generator=torch.Generator().manual_seed(5))
        # Item 5 has no edge.
        h = model.new_items(texts.items[5:6].double(), torch.tensor([True]))
        np.testing.assert_allclose(h.detach()[0], all_vectors(model)[11], rtol=1e-6)
