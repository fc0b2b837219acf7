from __future__ import annotations

import dataclasses
import random
from collections import Counter
from itertools import chain, groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmind.model.graph import build_graph
from recmind.training.sampling import InteractionSampler, cumulative, epoch_generator, pick


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestEpochGenerator:
    def draw(self, *key: object) -> list[int]:
        return torch.randint(2**40, (4,), generator=epoch_generator(*key)).tolist()

    def test_the_same_epoch_draws_the_same_numbers(self):
        assert self.draw(3, "joint", 7) == self.draw(3, "joint", 7)

    @pytest.mark.parametrize("other", [(4, "joint", 7), (3, "warmup", 7), (3, "joint", 8), (37, "joint", 7)])
    def test_another_seed_phase_or_epoch_draws_others(self, other: tuple[int, str, int]):
        assert self.draw(3, "joint", 7) != self.draw(*other)


class TestBatches:
    @pytest.mark.parametrize("size", [1, 7, 16, 1000])
    def test_every_interaction_comes_once(self, random_split, size: int):
        sampler = InteractionSampler(random_split)
        batches = list(sampler.batches(size, generator()))
        pairs = [pair for users, items in batches for pair in zip(users.tolist(), items.tolist(), strict=True)]
        train = random_split.train
        assert sorted(pairs) == sorted(zip(train.users.tolist(), train.items.tolist(), strict=True))
        assert all(len(users) == size for users, _ in batches[:-1])

    def test_order_is_shuffled_by_the_generator(self, random_split):
        sampler = InteractionSampler(random_split)
        first, second, other = (
            torch.cat([users for users, _ in sampler.batches(8, generator(seed))]) for seed in (0, 0, 1)
        )
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
        assert not torch.equal(first, sampler.users)


@st.composite
def interactions(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int, int]:
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    pairs = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
    return sorted(draw(st.sets(pairs, min_size=1))), n_users, n_items


class TestNegatives:
    @settings(max_examples=60, deadline=None)
    @given(interactions(), st.sampled_from([0.0, 0.75]), st.integers(0, 1000))
    def test_are_never_positives_of_users_who_lack_something(self, split_of, case, exponent: float, seed: int):
        pairs, n_users, n_items = case
        positives = set(pairs)
        drawable = {item for _, item in pairs} if exponent else set(range(n_items))
        lacking = [u for u in range(n_users) if any((u, item) not in positives for item in drawable)]
        sampler = InteractionSampler(split_of(pairs, n_users, n_items), exponent=exponent)
        drawn = sampler.negatives(torch.tensor(lacking, dtype=torch.int64), 5, generator(seed))
        assert drawn.shape == (len(lacking), 5)
        for user, row in zip(lacking, drawn.tolist(), strict=True):
            for item in row:
                assert (user, item) not in positives
                assert item in drawable

    def test_a_user_who_has_all_but_one_gets_that_one(self, split_of):
        n, missing = 400, 123
        split = split_of([(0, item) for item in range(n) if item != missing] + [(1, 5)], 2, n)
        drawn = InteractionSampler(split).negatives(torch.tensor([0, 1, 0]), 3, generator())
        assert drawn[0].tolist() == drawn[2].tolist() == [missing] * 3
        assert 5 not in drawn[1].tolist()

    def test_a_user_who_has_everything_gets_some_item(self, split_of):
        split = split_of([(0, 0), (0, 1)], 1, 2)
        drawn = InteractionSampler(split).negatives(torch.tensor([0]), 4, generator())
        assert set(drawn.flatten().tolist()) <= {0, 1}

    def test_uniform_over_what_the_user_lacks(self, split_of):
        split = split_of([(0, 0), (0, 3), (1, 1)], 2, 6)
        drawn = InteractionSampler(split).negatives(torch.zeros(3000, dtype=torch.int64), 1, generator())
        counts = np.bincount(drawn.flatten().numpy(), minlength=6)
        assert counts[[0, 3]].tolist() == [0, 0]
        expected = 3000 / 4
        # Chi-square with three degrees of freedom: 21.1 is its quantile at 0.9999.
        assert ((counts[[1, 2, 4, 5]] - expected) ** 2 / expected).sum() < 21.1


class TestDraw:
    def test_uniform(self, random_split):
        counts = np.bincount(InteractionSampler(random_split).draw((5000,), generator()).numpy(), minlength=10)
        # Chi-square with nine degrees of freedom: 33.7 is its quantile at 0.9999.
        assert ((counts - 500) ** 2 / 500).sum() < 33.7

    @pytest.mark.parametrize("exponent", [0.5, 1.0])
    def test_by_popularity(self, random_split, exponent: float):
        degrees = np.bincount(random_split.train.items, minlength=10).astype(float)
        share = degrees**exponent / (degrees**exponent).sum()
        drawn = InteractionSampler(random_split, exponent=exponent).draw((50, 100), generator())
        assert drawn.shape == (50, 100)
        counts = np.bincount(drawn.flatten().numpy(), minlength=10)
        there = share > 0
        assert counts[~there].sum() == 0
        assert (~there).any()
        expected = share[there] * 5000
        assert ((counts[there] - expected) ** 2 / expected).sum() < 33.7

    def test_log_probability(self, random_split):
        degrees = np.bincount(random_split.train.items, minlength=10).astype(float)
        sampler = InteractionSampler(random_split, exponent=0.75)
        there = degrees > 0
        expected = np.log(degrees[there] ** 0.75 / (degrees[there] ** 0.75).sum())
        np.testing.assert_allclose(sampler.log_probability.numpy()[there], expected, rtol=1e-6)

    def test_stretches_of_the_cumulative_shares(self):
        shares = cumulative(torch.tensor([0.0, 0.0, 1.0, 3.0, 0.0, 4.0, 0.0], dtype=torch.float64))
        assert shares.tolist() == [0, 0, 1 / 8, 1 / 2, 1 / 2, 1, 1]
        # 0 and 1 - 2^-53 are the smallest and the largest number that a draw can meet.
        uniform = torch.tensor([0.0, 0.1249, 0.125, 0.4999, 0.5, 1 - 2**-53], dtype=torch.float64)
        assert pick(shares, uniform).tolist() == [2, 2, 3, 3, 5, 5]

    def test_weights_whose_shares_do_not_add_up_in_floating_point(self):
        shares = cumulative(torch.tensor([0.1] * 10 + [0.0], dtype=torch.float64))
        assert pick(shares, torch.tensor([1 - 2**-53], dtype=torch.float64)).tolist() == [9]


def test_is_positive(split_of):
    sampler = InteractionSampler(split_of([(0, 1), (2, 0), (2, 3)], 3, 4))
    users, items = torch.arange(3)[:, None], torch.arange(4)[None, :]
    assert sampler.is_positive(users, items).int().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]


@settings(max_examples=60, deadline=None)
@given(interactions())
def test_is_positive_of_every_pair(split_of, case) -> None:
    pairs, n_users, n_items = case
    sampler = InteractionSampler(split_of(pairs, n_users, n_items))
    found = sampler.is_positive(torch.arange(n_users)[:, None], torch.arange(n_items))
    assert {tuple(pair) for pair in torch.nonzero(found).tolist()} == set(pairs)


def test_nothing_is_copied_from_a_split_and_its_graph(random_split):
    train = random_split.train
    graph = build_graph(train.users, train.items, random_split.n_users, random_split.n_items)
    sampler, own = InteractionSampler(random_split, graph=graph), InteractionSampler(random_split)
    held = [value for value in vars(sampler).values() if isinstance(value, torch.Tensor)]
    n_items = random_split.n_items
    # Whatever is longer than a row per item lies where the split and the graph have theirs.
    shared = [train.users.ctypes.data, train.items.ctypes.data, graph.offsets.data_ptr(), graph.neighbours.data_ptr()]
    assert {value.data_ptr() for value in held if len(value) > n_items} <= set(shared)
    for ours, others in zip(sampler.batches(8, generator()), own.batches(8, generator()), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, others, strict=True))
        assert {part.dtype for part in ours} == {torch.int64}


def test_rows_that_are_not_sorted_by_user(split_of):
    pairs = [(2, 3), (0, 1), (2, 0), (1, 1)]
    split = split_of(pairs, 3, 4)
    users, items = np.array(pairs, dtype=np.int32).T.copy()
    shuffled = dataclasses.replace(split, train=dataclasses.replace(split.train, users=users, items=items))
    batches = list(InteractionSampler(shuffled).batches(3, generator()))
    assert sorted(zip(*(torch.cat(part).tolist() for part in zip(*batches, strict=True)), strict=True)) == sorted(pairs)


@settings(max_examples=40, deadline=None)
@given(interactions(), st.integers(1, 30), st.integers(0, 5))
def test_histories_are_whole_and_in_the_order_of_time(split_of, case, size: int, seed: int) -> None:
    pairs, n_users, n_items = case
    came = sorted(random.Random(seed).sample(pairs, len(pairs)), key=lambda pair: pair[0])
    split = split_of(pairs, n_users, n_items)
    in_time = dataclasses.replace(split.train, items=np.array([item for _, item in came], dtype=np.int32))
    sampler = InteractionSampler(dataclasses.replace(split, train=in_time))
    batches = list(sampler.histories(size, generator(seed)))
    assert all(len(users) for users, _ in batches)
    found = [list(zip(users.tolist(), items.tolist(), strict=True)) for users, items in batches]
    # Together the interactions, those of a user in one batch, side by side and as they came.
    assert sorted(chain.from_iterable(found), key=lambda pair: pair[0]) == came
    whose = [[user for user, _ in groupby(user for user, _ in batch)] for batch in found]
    assert sorted(chain.from_iterable(whose)) == sorted({user for user, _ in pairs})
    # A batch is full with the user who reaches the size, and not before.
    counts = Counter(user for user, _ in pairs)
    for users in whose:
        assert sum(counts[user] for user in users[:-1]) < size + max(counts.values())
    assert len(batches) <= 1 + len(pairs) // size


def test_items_that_nobody_bought_are_drawn_only_if_asked_for(split_of):
    split = split_of([(0, 0), (0, 3), (1, 3)], 2, 5)
    for exponent in (0.0, 0.5):
        sampler = InteractionSampler(split, exponent=exponent, cold=False)
        assert set(sampler.draw((500,), torch.Generator().manual_seed(0)).tolist()) == {0, 3}
    every = InteractionSampler(split, cold=True)
    assert set(every.draw((500,), torch.Generator().manual_seed(0)).tolist()) == set(range(5))
