"""What came next, in a server: as in the run, and with what came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from recmind.serving.following import Following
from recmind.serving.live import LiveRecommender
from recmind.serving.recommender import Recommender


@pytest.fixture
def live(bundled: Callable[[str], Path]) -> Iterator[LiveRecommender]:
    with LiveRecommender.open(bundled("sequence")) as opened:
        yield opened


def following_of(live: LiveRecommender) -> Following:
    assert live._state.base.following is not None
    return live._state.base.following


def test_what_is_raised_is_what_the_run_raises(live: LiveRecommender, trained: Callable[[str], Path]):
    comes_next = Recommender.load(trained("sequence")).up_to_date.vectors.comes_next
    assert comes_next is not None and comes_next.weight == 3.0
    expected, state, following = comes_next.scores(np.arange(40)).toarray(), live._state, following_of(live)
    base = state.base
    for user in range(40):
        found, history = np.zeros(30), base.trained_on(user).astype(np.int64)
        raised = following.raised(history)
        found[raised.codes] = raised.values
        np.testing.assert_allclose(found, expected[user], rtol=1e-5, atol=1e-7)
        assert [raised.of(item) for item in range(30)] == pytest.approx(expected[user], rel=1e-5, abs=1e-7)
        for item in range(0, 30, 7):
            parts = following.parts(history, item)
            assert parts.shape == history.shape and parts.sum() == pytest.approx(expected[user, item], abs=1e-6)
    for item in range(30):
        column = following.for_item(item, base.offsets, base.codes, base.trained)
        np.testing.assert_allclose(column, expected[:, item], rtol=1e-5, atol=1e-7)


def test_it_moves_the_lists(live: LiveRecommender, bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled("no-order")) as plain:
        moved = [user for user in live.users(limit=40) if live.recommend(user, 3) != plain.recommend(user, 3)]
    assert len(moved) > 5


def test_a_later_purchase_brings_what_comes_next(live: LiveRecommender):
    following = following_of(live)
    before = int(np.argmax(np.diff(following.offsets)))  # the item that most follows
    row = slice(following.offsets[before], following.offsets[before + 1])
    item = live._state.item_id(int(following.codes[row][following.shares[row].argmax()]))
    bought = live._state.item_id(before)
    live.add_interactions([("newcomer", bought)])
    reason = live.explain(item, user="newcomer")
    assert reason.sequence == pytest.approx(3 * float(following.shares[row].max()), rel=1e-5)
    assert [part.item_id for part in reason.history] == [bought]
    found = {one.item_id: one.score for one in live.recommend("newcomer", 30)}
    assert found[item] == pytest.approx(reason.score, rel=1e-5)
    by_history = {one.item_id: one.score for one in live.recommend_for_history([bought], 30)}
    assert by_history == pytest.approx(found, rel=1e-5, abs=1e-6)


def test_items_that_came_later_follow_nothing_and_are_followed_by_nothing(live: LiveRecommender):
    live.add_items([{"item_id": "n1", "title": "w3 w9"}])
    code = live._state.item_code("n1")
    assert following_of(live).raised(np.array([code])).codes.size == 0
    assert following_of(live).parts(np.array([code]), code).tolist() == [0.0]
    live.add_interactions([("newcomer", "n1")])
    assert live.explain("i03", user="newcomer").sequence == 0
    assert {person.user_id for person in live.users_for("n1", 5)} <= set(live.users(limit=40))


def test_users_for_an_item_have_the_score_of_their_lists(live: LiveRecommender):
    for person in live.users_for("i05", 5):
        scores = {one.item_id: one.score for one in live.recommend(person.user_id, 30)}
        assert person.score == pytest.approx(scores["i05"], rel=1e-5, abs=1e-6)


def test_models_that_do_not_count_say_so(bundled: Callable[[str], Path], live: LiveRecommender):
    assert live.can["sequence"]
    with LiveRecommender.open(bundled("no-order")) as plain:
        assert not plain.can["sequence"]
        assert plain.explain("i05", user="u01").sequence == 0
