from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.baselines.dropoutnet import preferences
from recmind.model.graph import NodeSubset
from recmind.model.language_view import TextInputs

OWN = {"dropout": 0.4, "hidden": [6, 3]}


def standardised_factors(adjacency: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """U √S and V √S of the normalised interactions, columns of mean 0 and variance 1 over connected nodes."""
    of_users, of_items = adjacency.sum(1), adjacency.sum(0)
    scales = [np.where(degrees > 0, 1 / np.sqrt(np.maximum(degrees, 1)), 0) for degrees in (of_users, of_items)]
    left, values, right = np.linalg.svd(scales[0][:, None] * adjacency * scales[1], full_matrices=False)
    found = []
    for factors, degrees in ((left, of_users), (right.T, of_items)):
        factors = (factors * np.sqrt(values))[:, :rank]
        there = factors[degrees > 0]
        found.append(np.where(degrees[:, None] > 0, (factors - there.mean(0)) / there.std(0), 0))
    return found[0], found[1]


class TestPreferences:
    @pytest.mark.parametrize("rank", [4, 9], ids=["sparse", "dense"])
    def test_are_the_standardised_factors(self, make, rank: int):
        rng = np.random.default_rng(0)
        edges = [(int(u), int(i)) for u in range(30) for i in rng.permutation(14)[: rng.integers(1, 7)]]
        example = make(edges, 31, 15)  # the last user and the last item have no edge
        found = preferences(example.graph, rank).numpy()
        users, items = standardised_factors(example.adjacency, rank)
        expected = np.concatenate([users, items])
        signs = np.sign((found * expected).sum(0))
        # Both sides of a column have one sign: their products are the scores.
        np.testing.assert_allclose(found, (expected * signs).clip(-5, 5), rtol=1e-4, atol=1e-4)
        assert not found[[30, 31 + 14]].any()

    def test_are_cut_at_five_standard_deviations(self, make):
        # Three users keep to three items and one of them has a fourth: a direction of its own, loud in six nodes alone.
        rng = np.random.default_rng(0)
        crowd = {(int(u), int(i)) for u in range(200) for i in rng.integers(0, 150, 6)}
        few = {(200 + u, 150 + i) for u in range(3) for i in range(3)}
        found = preferences(make(sorted(crowd | few | {(200, 0)}), 203, 153).graph, 3)
        assert float(found.abs().max()) == 5
        assert found.abs().max(1).values.argmax() in (200, 201, 202, 353, 354, 355)

    def test_columns_beyond_the_rank_are_zero(self, make):
        found = preferences(make([(0, 0), (0, 1), (1, 1)], 2, 2).graph, 6)
        assert found.shape == (4, 6)
        assert bool(found[:, :2].any())
        assert not found[:, 2:].any()

    def test_are_the_same_again(self, make):
        rng = np.random.default_rng(1)
        edges = sorted({(int(rng.integers(60)), int(rng.integers(50))) for _ in range(300)})
        graph = make(edges, 60, 50).graph
        assert torch.equal(preferences(graph, 5), preferences(graph, 5))


def by_hand(model, inputs: np.ndarray, side: str, training: bool) -> np.ndarray:
    """Linear layers with tanh over normalised outputs, and a last linear one."""
    p = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    x = inputs
    for layer in range(2):
        x = x @ p[f"{side}.layers.{layer}.weight"].T + p[f"{side}.layers.{layer}.bias"]
        mean, variance = p[f"{side}.norms.{layer}.running_mean"], p[f"{side}.norms.{layer}.running_var"]
        if training:
            mean, variance = x.mean(0), x.var(0)
        x = (x - mean) / np.sqrt(variance + 1e-5)
        x = np.tanh(x * p[f"{side}.norms.{layer}.weight"] + p[f"{side}.norms.{layer}.bias"])
    return x @ p[f"{side}.last.weight"].T + p[f"{side}.last.bias"]


@pytest.mark.parametrize("training", [False, True], ids=["use", "training"])
def test_values_are_the_papers(dense, built, texts, training: bool):
    model = built("dropoutnet", own=OWN)
    for name, buffer in model.named_buffers():  # as after some training
        if "running" in name:
            buffer.add_(0.3)
    x = dense.vectors(texts.items).numpy()
    p = model.preference.numpy().copy()
    if training:
        dropped = (torch.rand(13, 1, generator=torch.Generator().manual_seed(2)) < 0.4).numpy()
        assert 0 < dropped.sum() < 13
        p = np.where(dropped, 0, p)
    inputs = np.concatenate([p, x], axis=1)
    expected = [by_hand(model, inputs[:6], "user_net", training), by_hand(model, inputs[6:], "item_net", training)]
    views = model(torch.Generator().manual_seed(2) if training else None)
    np.testing.assert_allclose(model.final(views).detach().numpy(), np.concatenate(expected), rtol=1e-6, atol=1e-8)


def test_gradients_are_those_of_the_networks(built, randn):
    model = built("dropoutnet", own={"dropout": 0.0, "hidden": [3]})
    weights = randn(13, 4)

    def loss() -> torch.Tensor:
        return (model.final(model(torch.Generator())) * weights).sum()

    for net in (model.user_net, model.item_net):
        for parameter in net.parameters():
            (found,) = torch.autograd.grad(loss(), parameter)
            expected = torch.zeros_like(parameter)
            with torch.no_grad():
                for at in np.ndindex(tuple(parameter.shape)):
                    values = []
                    for step in (1e-5, -1e-5):
                        parameter[at] += step
                        values.append(float(loss()))
                        parameter[at] -= step
                    expected[at] = (values[0] - values[1]) / 2e-5
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_use_and_training_differ_and_use_leaves_no_trace(built):
    model = built("dropoutnet", own=OWN)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(torch.Generator().manual_seed(0))
    assert not torch.equal(model.state_dict()["item_net.norms.0.running_mean"], before["item_net.norms.0.running_mean"])
    assert torch.equal(model.preference, before["preference"])


def test_wanted_nodes_have_the_views_of_the_whole(built):
    model = built("dropoutnet", own=OWN)
    for nodes in ([0, 3, 8, 12], [2], [7]):
        wanted = NodeSubset.of(13, torch.tensor(nodes))
        torch.testing.assert_close(model(None, wanted).graph, model().graph[wanted.nodes])
        assert bool(model(torch.Generator(), wanted).graph.isfinite().all())


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_a_new_item_gets_what_a_catalogue_item_without_edge_gets(built, texts, score: str):
    model = built("dropoutnet", own=OWN, score=score)
    model(torch.Generator().manual_seed(0))
    new = model.new_items(texts.items[[5, 5]], torch.tensor([True, False]))
    torch.testing.assert_close(new[0], model.final(model())[6 + 5])
    assert not torch.allclose(new[0], new[1])


def test_a_missing_text_is_nothing_or_the_neighbours(built, texts):
    free, guessed = (built("dropoutnet", own=OWN, missing_text=missing) for missing in ("free", "fallback"))
    assert not free.language()[6 + 2].any()
    context = (texts.items[[0, 1]].mean(0) + texts.items[4]) / 2
    torch.testing.assert_close(guessed.language()[6 + 2], context / context.norm(), rtol=1e-5, atol=1e-7)


def test_parameters_of_a_run_bring_their_own_preferences(built):
    model, other = built("dropoutnet", own=OWN), built("dropoutnet", own=OWN, seed=1)
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    saved["preference"] = -saved["preference"]
    other.load_state_dict(saved)
    assert torch.equal(other.preference, saved["preference"])


def test_without_any_text_the_preferences_are_left(built):
    blank = TextInputs(torch.zeros(7, 5, dtype=torch.float64), torch.zeros(7, dtype=torch.bool))
    h = built("dropoutnet", own=OWN, inputs=blank).final
    model = built("dropoutnet", own=OWN, inputs=blank)
    assert bool(h(model()).isfinite().all())


@pytest.mark.parametrize(("key", "value"), [("dropout", "1.0"), ("hidden", "[]"), ("hidden", "[3, 0]")])
def test_wrong_settings_are_refused(key: str, value: str):
    with pytest.raises(ConfigError, match=rf"dropoutnet\.{key}"):
        load_config("default", overrides=[f"model.baselines.dropoutnet.{key}={value}"])
