from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from recmind.training.objective import Objective, _occurrences
from recmind.training.sampling import InteractionSampler

PLAIN = {
    "alignment__weight": 0.0,
    "training__weight_decay": 0.0,
    "training__negatives": "uniform",
    "training__hard_candidates": 1,
}


class Noting(InteractionSampler):
    """The real sampler, which also remembers what it drew."""

    def draw(self, shape, generator):
        self.drawn = super().draw(shape, generator)
        return self.drawn

    def negatives(self, users, n, generator):
        self.given = super().negatives(users, n, generator)
        return self.given


@pytest.fixture
def batch(random_split) -> tuple[torch.Tensor, torch.Tensor]:
    train = random_split.train
    rows = np.arange(0, len(train), 2)
    return torch.from_numpy(train.users[rows]).long(), torch.from_numpy(train.items[rows]).long()


def scored(model) -> np.ndarray:
    """Scores of all users and items, from the model's vectors."""
    h = model.final(model()).detach().numpy()
    return h[: model.n_users] @ h[model.n_users :].T


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=12))
def test_occurrences_are_all_equal_pairs(items: list[int], drawn: list[int]):
    drawn = sorted(drawn)
    rows, columns = _occurrences(torch.tensor(items, dtype=torch.int64), torch.tensor(drawn, dtype=torch.int64))
    expected = [(r, c) for r, item in enumerate(items) for c, other in enumerate(drawn) if item == other]
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


class TestSharedNegatives:
    @pytest.mark.parametrize("negatives", ["uniform", "popularity"])
    @pytest.mark.parametrize("score", ["dot", "cosine"])
    def test_by_loops(self, random_split, settings, model_of, batch, negatives: str, score: str):
        changes = {**PLAIN, "training__negatives": negatives, "training__popularity_exponent": 0.75}
        config = settings(
            model__name="lightgcn",
            model__score=score,
            model__init_std=1.0,
            training__loss="softmax",
            training__temperature=0.4,
            training__n_negatives=8,
            **changes,
        )
        sampler = Noting(random_split, exponent=0.75 if negatives == "popularity" else 0.0)
        model = model_of(random_split, None, config, torch.float64)
        users, items = batch
        loss = Objective(model, sampler, config).joint(users, items, torch.Generator().manual_seed(3))
        drawn = sampler.drawn.tolist()
        assert len(drawn) == 8
        assert len(set(drawn)) < 8, "a draw without repeats tests less"
        assert set(drawn) & set(items.tolist())
        degrees = np.bincount(random_split.train.items, minlength=10).astype(float)
        correction = np.zeros(10)
        if negatives == "popularity":
            with np.errstate(divide="ignore"):
                correction = np.log(degrees**0.75 / (degrees**0.75).sum())
            correction += np.log(10)
        scores, losses = scored(model) / 0.4, []
        for u, i in zip(users.tolist(), items.tolist(), strict=True):
            others = [np.exp(scores[u, j] - correction[j]) for j in drawn if j != i]
            losses.append(-np.log(np.exp(scores[u, i]) / (np.exp(scores[u, i]) + sum(others))))
        assert float(loss.total.detach()) == pytest.approx(np.mean(losses), rel=1e-6)
        assert float(loss.cf) == pytest.approx(np.mean(losses), rel=1e-6)

    @pytest.mark.parametrize("n", [10, 500])
    @pytest.mark.parametrize("negatives", ["uniform", "popularity"])
    def test_with_as_many_negatives_as_items_it_is_the_full_softmax(
        self, random_split, settings, model_of, batch, n: int, negatives: str
    ):
        changes = {**PLAIN, "training__negatives": negatives}
        config = settings(
            model__name="lightgcn",
            training__loss="softmax",
            training__temperature=0.5,
            training__n_negatives=n,
            **changes,
        )
        sampler = InteractionSampler(random_split, exponent=0.75 if negatives == "popularity" else 0.0)
        model = model_of(random_split, None, config, torch.float64)
        users, items = batch
        loss = Objective(model, sampler, config).joint(users, items, torch.Generator()).total
        loss.backward()
        mine, model.free.grad = model.free.grad, None
        h = model.final(model())
        expected = functional.cross_entropy(h[users] @ h[model.n_users :].T / 0.5, items)
        expected.backward()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
        np.testing.assert_allclose(mine.numpy(), model.free.grad.numpy(), rtol=1e-6, atol=1e-12)

    def test_only_the_own_item_drawn_leaves_a_finite_gradient(self, split_of, settings, model_of):
        split = split_of([(0, 0), (1, 0)], 2, 3)
        config = settings(model__name="lightgcn", training__loss="softmax", training__n_negatives=1, **PLAIN)
        sampler = Noting(split)
        model = model_of(split, None, config)
        seed = next(s for s in range(50) if int(sampler.draw((1,), torch.Generator().manual_seed(s))) == 0)
        users, items = torch.tensor([0, 1]), torch.tensor([0, 0])
        loss = Objective(model, sampler, config).joint(users, items, torch.Generator().manual_seed(seed)).total
        loss.backward()
        assert sampler.drawn.tolist() == [0]
        assert float(loss.detach()) == pytest.approx(0, abs=1e-7)
        assert bool(model.free.grad.isfinite().all())


class TestOwnNegatives:
    def test_the_hardest_of_the_candidates_stays(self, random_split, settings, model_of, batch):
        config = settings(
            model__name="lightgcn",
            model__init_std=1.0,
            training__n_negatives=2,
            **{**PLAIN, "training__hard_candidates": 3},
        )
        sampler = Noting(random_split)
        model = model_of(random_split, None, config, torch.float64)
        users, items = batch
        loss = Objective(model, sampler, config).joint(users, items, torch.Generator().manual_seed(1)).total
        scores, losses = scored(model), []
        for u, i, row in zip(users.tolist(), items.tolist(), sampler.given.tolist(), strict=True):
            for candidates in (row[:3], row[3:]):
                hardest = max(scores[u, j] for j in candidates)
                losses.append(np.log(1 + np.exp(hardest - scores[u, i])))
        assert float(loss.detach()) == pytest.approx(np.mean(losses), rel=1e-6)


class TestAlignment:
    def parts(self, random_split, text_inputs, settings, model_of, batch, **changes):
        config = settings(alignment__queue_size=16, alignment__hard_negatives=0, **changes)
        objective = Objective(
            model_of(random_split, text_inputs, config, torch.float64), InteractionSampler(random_split), config
        )
        generator = torch.Generator().manual_seed(0)
        value = objective.alignment(objective.model(), *batch, generator)
        return float(value.detach()), objective

    def test_sides_add_up(self, random_split, text_inputs, settings, model_of, batch):
        given = (random_split, text_inputs, settings, model_of, batch)
        both, users, items = (self.parts(*given, alignment__sides=side)[0] for side in ("both", "users", "items"))
        assert both == pytest.approx(users + items, rel=1e-12)
        assert users > 0
        assert items > 0

    def test_queue_of_a_side_holds_its_distinct_nodes(self, random_split, text_inputs, settings, model_of, batch):
        _, objective = self.parts(random_split, text_inputs, settings, model_of, batch)
        users, items = (sorted(set(codes.tolist())) for codes in batch)
        nodes = objective.queues["users"].nodes.tolist()
        assert sorted(node for node in nodes if node >= 0) == users
        nodes = objective.queues["items"].nodes.tolist()
        assert sorted(node for node in nodes if node >= 0) == [12 + item for item in items]

    def test_at_most_so_many_nodes_a_side(self, random_split, text_inputs, settings, model_of, batch):
        _, objective = self.parts(random_split, text_inputs, settings, model_of, batch, alignment__batch_size=3)
        nodes = [node for node in objective.queues["users"].nodes.tolist() if node >= 0]
        assert len(set(nodes)) == len(nodes) == 3
        assert set(nodes) <= set(batch[0].tolist())

    def test_momentum_copy_shares_constants_but_no_parameters(
        self, random_split, text_inputs, settings, model_of, batch
    ):
        _, objective = self.parts(random_split, text_inputs, settings, model_of, batch)
        copy, language = objective.momentum, objective.model.language
        assert copy.texts is language.texts
        assert copy.context is language.context
        for key, query in zip(copy.parameters(), language.parameters(), strict=True):
            assert key.data_ptr() != query.data_ptr()
            assert not key.requires_grad
            assert query.requires_grad

    def test_momentum_copy_is_no_part_of_the_model(self, random_split, text_inputs, settings, model_of, batch):
        _, objective = self.parts(random_split, text_inputs, settings, model_of, batch)
        assert not any("momentum" in name for name in objective.model.state_dict())

    def test_baselines_have_none(self, random_split, settings, model_of):
        config = settings(model__name="lightgcn", alignment__queue_size=8)
        objective = Objective(model_of(random_split, None, config), InteractionSampler(random_split), config)
        assert not objective.aligned
        assert objective.state() == {}
