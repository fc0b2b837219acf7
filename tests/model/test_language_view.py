from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import ModelConfig
from recmind.model.language_view import LanguageView, TextInputs, neighbour_context, uses_bfloat16

D_LM = 5
KNOWN_ITEMS = [True, True, False, True, True, True, True]
"""Item 2 (two users) has no text; item 5 has one and no user."""
KNOWN_USERS = [True, False, True, False, True, True]


def texts_of(seed: int = 0, *, users: bool = False, known: list[bool] = KNOWN_ITEMS) -> TextInputs:
    rng = np.random.default_rng(seed)

    def side(known: list[bool]) -> tuple[np.ndarray, np.ndarray]:
        vectors = rng.normal(size=(len(known), D_LM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.where(np.array(known)[:, None], vectors, 0), np.array(known)

    texts = TextInputs.from_arrays(*side(known), *(side(KNOWN_USERS) if users else ()))
    return texts.to("cpu", torch.float64)


def view_of(example, texts: TextInputs, **settings) -> LanguageView:
    torch.manual_seed(3)
    config = ModelConfig(**{"dim": 3, "precision": "float32", "fallback_mask": 0.0, **settings})
    return LanguageView(texts, example.double(), config).double()


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def mlp(module: torch.nn.Sequential, x: np.ndarray) -> np.ndarray:
    """Linear, GELU, linear from the weights."""
    p = {name: value.detach().numpy() for name, value in module.named_parameters()}
    return gelu(x @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]


def context_by_loops(vectors: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """What the graph says about every node without the node's own text, from the definition."""
    n_users, n_items = adjacency.shape
    rows = []
    for u in range(n_users):
        own = [vectors[i] for i in range(n_items) if adjacency[u, i]]
        rows.append(np.mean(own, 0) if own else np.zeros(vectors.shape[1]))
    for i in range(n_items):
        means = []
        for u in range(n_users):
            if adjacency[u, i]:
                others = [vectors[j] for j in range(n_items) if adjacency[u, j] and j != i]
                means.append(np.mean(others, 0) if others else np.zeros(vectors.shape[1]))
        rows.append(np.mean(means, 0) if means else np.zeros(vectors.shape[1]))
    norms = [np.linalg.norm(row) for row in rows]
    return np.array([row / norm if norm > 0 else row for row, norm in zip(rows, norms, strict=True)])


class TestNeighbourContext:
    def test_equals_the_definition_by_loops(self, example):
        texts = texts_of()
        expected = context_by_loops(texts.items.numpy(), example.adjacency)
        np.testing.assert_allclose(neighbour_context(texts, example.double()).numpy(), expected, rtol=1e-6, atol=1e-7)

    def test_on_a_random_graph(self, make):
        rng = np.random.default_rng(1)
        edges = sorted({(int(rng.integers(12)), int(rng.integers(9))) for _ in range(40)})
        example = make(edges, 12, 9)
        texts = texts_of(2, known=[True] * 9)
        expected = context_by_loops(texts.items.numpy(), example.adjacency)
        np.testing.assert_allclose(neighbour_context(texts, example.double()).numpy(), expected, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("item", range(7))
    def test_an_items_own_text_does_not_show_in_its_context(self, example, item: int):
        texts = texts_of(known=[True] * 7).to("cpu", torch.float32)
        changed = texts.items.clone()
        changed[item] = torch.tensor([9.0, -9.0, 9.0, 9.0, -9.0])
        other = TextInputs(changed, texts.items_known)
        before, after = neighbour_context(texts, example.graph), neighbour_context(other, example.graph)
        np.testing.assert_allclose(after[6 + item].numpy(), before[6 + item].numpy(), atol=1e-5)

    def test_nothing_is_known_of_an_item_whose_users_have_nothing_else(self, make):
        # Seven users with one and the same item: any rounding would be blown up to length 1.
        example = make([(u, 0) for u in range(7)] + [(7, 1), (7, 2)], 8, 3)
        texts = texts_of(known=[True] * 3).to("cpu", torch.float32)
        assert neighbour_context(texts, example.graph)[8].tolist() == [0] * D_LM


class TestLanguageView:
    def test_linear_projection_of_items_and_mean_for_users(self, example):
        view = view_of(example, texts_of())
        weight = view.projection.weight.detach().numpy()
        out = view().detach().numpy()
        items = texts_of().items.numpy() @ weight.T
        items[2] = mlp(view.fallback, view.context[6 + 2].numpy())
        np.testing.assert_allclose(out[6:], items, rtol=1e-9)
        for user, own in {0: [0, 1, 2], 1: [1, 3], 2: [0], 4: [2, 4], 5: [6]}.items():
            np.testing.assert_allclose(out[user], items[own].mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(out[3], mlp(view.fallback, view.context[3].numpy()), rtol=1e-9)

    def test_linear_projection_has_no_bias(self, example):
        assert [name for name, _ in view_of(example, texts_of()).projection.named_parameters()] == ["weight"]

    def test_mlp_projection(self, example):
        view = view_of(example, texts_of(), projection="mlp", projection_hidden=4)
        expected = mlp(view.projection, texts_of().items.numpy())
        known = np.array(KNOWN_ITEMS)
        np.testing.assert_allclose(view().detach().numpy()[6:][known], expected[known], rtol=1e-9)

    def test_users_with_texts_of_their_own(self, example):
        texts = texts_of(users=True)
        view = view_of(example, texts)
        out, weight = view().detach().numpy(), view.projection.weight.detach().numpy()
        for user, known in enumerate(KNOWN_USERS):
            by_text = weight @ texts.users[user].numpy()
            by_fallback = mlp(view.fallback, view.context[user].numpy())
            np.testing.assert_allclose(out[user], by_text if known else by_fallback, rtol=1e-9)

    def test_context_of_the_fallback_is_what_neighbours_say_and_the_log_degree(self, example):
        view = view_of(example, texts_of())
        expected = context_by_loops(texts_of().items.numpy(), example.adjacency)
        np.testing.assert_allclose(view.context[:, :-1].numpy(), expected, rtol=1e-6, atol=1e-7)
        users = [np.log(1 + d) / np.log(4) for d in (3, 2, 1, 0, 2, 1)]
        np.testing.assert_allclose(view.context[:6, -1].numpy(), users, rtol=1e-6)

    def test_no_text_at_all_is_finite(self, example):
        view = view_of(example, texts_of(known=[False] * 7))
        assert bool(view().isfinite().all())

    def test_fallback_is_trained_by_unknown_nodes(self, example):
        view = view_of(example, texts_of())
        view(torch.Generator().manual_seed(0)).square().sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in view.fallback.parameters())

    def test_fallback_is_trained_by_hiding_known_texts(self, make):
        # All users and items are known and connected, so only hiding can reach the fallback.
        example = make([(0, 0), (0, 1), (1, 1), (1, 2)], 2, 3)
        view = view_of(example, texts_of(known=[True] * 3), fallback_mask=0.0)
        view(torch.Generator().manual_seed(0)).square().sum().backward()
        assert all(p.grad is None for p in view.fallback.parameters())
        view = view_of(example, texts_of(known=[True] * 3), fallback_mask=0.9)
        view(torch.Generator().manual_seed(0)).square().sum().backward()
        assert all(float(p.grad.abs().sum()) > 0 for p in view.fallback.parameters())

    def test_about_the_asked_share_is_hidden(self, make):
        n = 2000
        example = make([(0, i) for i in range(n)], 1, n)
        view = view_of(example, texts_of(known=[True] * n), fallback_mask=0.25)
        plain, hidden = view(), view(torch.Generator().manual_seed(5))
        share = (plain[1:] != hidden[1:]).any(1).double().mean()
        # Five standard deviations of a binomial share.
        assert abs(float(share) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / n)

    def test_nothing_is_hidden_in_use(self, example):
        view = view_of(example, texts_of(), fallback_mask=0.9, text_dropout=0.9)
        assert torch.equal(view(), view_of(example, texts_of())())

    def test_dropout_zeroes_and_rescales_the_text(self, make):
        n, rate = 400, 0.25
        example = make([(0, i) for i in range(n)], 1, n)
        view = view_of(example, texts_of(known=[True] * n), text_dropout=rate, dim=D_LM)
        with torch.no_grad():
            view.projection.weight.copy_(torch.eye(D_LM))
        text, out = view.texts.items, view(torch.Generator().manual_seed(1))[1:]
        kept = out != 0
        np.testing.assert_allclose(out[kept].detach().numpy(), (text / (1 - rate))[kept].numpy(), rtol=1e-9)
        entries = n * D_LM
        assert abs(float(kept.double().mean()) - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / entries)

    def test_randomness_comes_from_the_generator_alone(self, example):
        view = view_of(example, texts_of(), fallback_mask=0.5, text_dropout=0.5)
        torch.manual_seed(1)
        first = view(torch.Generator().manual_seed(9))
        torch.manual_seed(2)
        second = view(torch.Generator().manual_seed(9))
        assert torch.equal(first, second)
        assert not torch.equal(first, view(torch.Generator().manual_seed(10)))

    def test_bfloat16_is_close_to_float32(self, example):
        texts = texts_of().to("cpu", torch.float32)

        def run(precision: str) -> torch.Tensor:
            torch.manual_seed(3)
            view = LanguageView(texts, example.graph, ModelConfig(dim=16, projection="mlp", precision=precision))
            return view()

        exact, low = run("float32"), run("bfloat16")
        assert low.dtype == torch.float32
        # Eight bits of mantissa, a handful of roundings.
        np.testing.assert_allclose(low.detach().numpy(), exact.detach().numpy(), atol=0.02)
        assert not torch.equal(low[6:], exact[6:])

    def test_project_is_the_view_of_an_item_without_an_edge(self, example):
        view = view_of(example, texts_of())
        known = view.project(view.texts.items[5:6], torch.tensor([True]))
        np.testing.assert_allclose(known.detach().numpy(), view()[6 + 5 : 6 + 6].detach().numpy(), rtol=1e-12)
        lost = view_of(example, texts_of(known=[True] * 5 + [False, True]))
        unknown = lost.project(torch.zeros(1, D_LM, dtype=torch.float64), torch.tensor([False]))
        np.testing.assert_allclose(unknown.detach().numpy(), lost()[6 + 5 : 6 + 6].detach().numpy(), rtol=1e-12)


class TestPrecision:
    def test_what_is_asked_for_wins(self):
        assert uses_bfloat16("bfloat16", torch.device("cpu"))
        assert not uses_bfloat16("float32", torch.device("cpu"))
        assert not uses_bfloat16("float32", torch.device("cuda"))


class TestFreeVectors:
    """``missing_text = "free"``: the node's own free vector stands for a text that is not there."""

    DEGREES = (3, 2, 1, 0, 2, 1, 2, 2, 2, 1, 1, 0, 1)
    """Of the users 0-5 and the items 0-6 of the example."""

    @staticmethod
    def free_of(example) -> torch.nn.Parameter:
        generator = torch.Generator().manual_seed(11)
        return torch.nn.Parameter(torch.randn(example.graph.n_nodes, 3, generator=generator, dtype=torch.float64))

    def free_view(self, example, texts: TextInputs, **settings) -> LanguageView:
        torch.manual_seed(3)
        config = ModelConfig(dim=3, precision="float32", missing_text="free", **settings)
        return LanguageView(texts, example.double(), config, self.free_of(example)).double()

    def test_stand_for_missing_texts_and_enter_the_means_of_users(self, example):
        texts, free = texts_of(), self.free_of(example).detach().numpy()
        view = self.free_view(example, texts)
        items = texts.items.numpy() @ view.projection.weight.detach().numpy().T
        items[2] = free[6 + 2]
        out = view().detach().numpy()
        np.testing.assert_allclose(out[6:], items, rtol=1e-9)
        for user, own in {0: [0, 1, 2], 1: [1, 3], 2: [0], 4: [2, 4], 5: [6]}.items():
            np.testing.assert_allclose(out[user], items[own].mean(0), rtol=1e-6, atol=1e-7)
        assert out[3].tolist() == [0, 0, 0]  # neither items nor a text

    def test_stand_for_missing_texts_of_users_too(self, example):
        texts, free = texts_of(users=True), self.free_of(example).detach().numpy()
        view = self.free_view(example, texts)
        out, weight = view().detach().numpy(), view.projection.weight.detach().numpy()
        for user, known in enumerate(KNOWN_USERS):
            missing = free[user] if self.DEGREES[user] else np.zeros(3)
            np.testing.assert_allclose(out[user], weight @ texts.users[user].numpy() if known else missing, rtol=1e-9)

    def test_without_any_text_every_view_is_a_free_vector(self, example):
        free = self.free_of(example).detach().numpy()
        out = self.free_view(example, texts_of(known=[False] * 7))().detach().numpy()
        expected = free[6:] * (np.array(self.DEGREES[6:]) > 0)[:, None]
        assert np.array_equal(out[6:], expected)
        np.testing.assert_allclose(out[0], expected[:3].mean(0), rtol=1e-6, atol=1e-7)

    def test_with_all_texts_nothing_of_them_is_read_and_the_view_is_the_projection(self, make):
        example = make([(0, 0), (0, 1), (1, 1), (1, 2)], 2, 3)
        texts = texts_of(known=[True] * 3)
        view, other = self.free_view(example, texts), view_of(example, texts)
        # The same bits as with a fallback that nothing is hidden from.
        assert torch.equal(view(torch.Generator().manual_seed(0)), other(torch.Generator().manual_seed(0)))
        view().sum().backward()
        assert view._free is not None and view._free[0].grad is None

    def test_no_known_text_is_hidden_in_training(self, example):
        view = self.free_view(example, texts_of(), fallback_mask=0.9)
        assert torch.equal(view(torch.Generator().manual_seed(0)), view())

    def test_gradient_reaches_exactly_the_rows_of_connected_nodes_without_text(self, example):
        view = self.free_view(example, texts_of(known=[True, True, False, True, True, False, True]))
        view(torch.Generator().manual_seed(0)).square().sum().backward()
        assert view._free is not None
        grad = view._free[0].grad
        # Items 2 and 5 have no text, and item 5 no edge; d/dz of z² summed, and of the means of users 0 and 4.
        assert torch.nonzero(grad.abs().sum(1)).flatten().tolist() == [6 + 2]
        out = view().detach()
        torch.testing.assert_close(grad[6 + 2], 2 * out[6 + 2] + 2 * out[0] / 3 + 2 * out[4] / 2)

    def test_have_no_parameters_in_the_view(self, example):
        view = self.free_view(example, texts_of())
        assert [name for name, _ in view.named_parameters()] == ["projection.weight"]
        assert list(view.state_dict()) == ["projection.weight"]

    def test_a_new_item_without_text_has_nothing(self, example):
        view = self.free_view(example, texts_of())
        vectors = view.texts.items[:2]
        out = view.project(vectors, torch.tensor([True, False]))
        assert torch.equal(out[0], view.projection(vectors)[0])
        assert out[1].tolist() == [0, 0, 0]

    def test_a_text_that_comes_later_takes_their_place(self, example):
        view = self.free_view(example, texts_of())
        later = texts_of(known=[True] * 7)
        view.replace_texts(later)
        assert torch.equal(view()[6:], view.projection(later.items))

    def test_a_model_without_free_vectors_falls_back(self, example):
        config = ModelConfig(dim=3, precision="float32", missing_text="free")
        view = LanguageView(texts_of(), example.double(), config).double()
        expected = mlp(view.fallback, view.context[6 + 2].numpy())
        np.testing.assert_allclose(view()[6 + 2].detach().numpy(), expected, rtol=1e-9)
