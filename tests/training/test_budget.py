from __future__ import annotations

import pytest

from recmind.training.budget import Budget, Costs


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spend(budget: Budget, clock: Clock, seconds: float) -> None:
    with budget.counted():
        clock.now += seconds


class TestPlan:
    def test_without_a_budget_all_steps(self, clock: Clock):
        budget = Budget(None, clock)
        spend(budget, clock, 1e9)
        assert budget.plan(200, Costs(1e6, 1e6)) == 200
        assert budget.allows_a_step()
        assert not budget.spent_up

    def test_what_the_refresh_leaves(self, clock: Clock):
        budget = Budget(2, clock)
        spend(budget, clock, 10)
        assert budget.plan(200, Costs(step=3, refresh=50)) == (120 - 10 - 50) // 3
        assert budget.plan(7, Costs(step=3, refresh=50)) == 7

    def test_nothing_where_the_refresh_alone_is_too_long(self, clock: Clock):
        assert Budget(1, clock).plan(200, Costs(step=1, refresh=61)) == 0


class TestClock:
    def test_a_step_needs_room_for_itself_and_for_the_refresh(self, clock: Clock):
        budget = Budget(1, clock)
        budget.plan(100, Costs(step=2, refresh=20))
        made = 0
        while budget.allows_a_step():
            spend(budget, clock, 4)  # twice what was planned
            made += 1
        assert made == 10
        spend(budget, clock, 20)
        assert budget.spent == pytest.approx(60)
        assert budget.spent_up

    def test_only_what_is_within_counts(self, clock: Clock):
        budget = Budget(1, clock)
        budget.start()
        spend(budget, clock, 5)
        clock.now += 500
        with budget.counted() as seconds:
            clock.now += 7
        assert seconds() == 7
        assert (budget.spent, budget.this_training, budget.left) == (12, 12, 48)
        budget.start()
        assert (budget.spent, budget.this_training) == (12, 0)

    def test_a_refresh_that_took_longer_is_reckoned_with(self, clock: Clock):
        budget = Budget(1, clock)
        budget.plan(10, Costs(step=1, refresh=10))
        spend(budget, clock, 35)
        assert not budget.spent_up
        budget.refreshed(30)
        assert budget.spent_up

    def test_goes_on_after_an_interruption(self, clock: Clock):
        budget, again = Budget(1, clock), Budget(1, clock)
        budget.start()
        budget.plan(10, Costs(step=2, refresh=10))
        spend(budget, clock, 0.1)
        again.restore(budget.tensors())
        assert (again.spent, again.this_training, again.left) == (budget.spent, budget.this_training, budget.left)
        spend(again, clock, 49)
        assert not again.allows_a_step()
