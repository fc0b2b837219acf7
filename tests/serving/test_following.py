"""What came next, in a server: as in the run, and with what came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.serving.following import Following
from recmind.serving.live import LiveRecommender
from recmind.serving.neighbours import Near
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
        np.testing.assert_allclose(raised.of(np.arange(30)), expected[user], rtol=1e-5, atol=1e-7)
        for item in range(0, 30, 7):
            parts = following.parts(history, Near.itself(item))
            assert parts.shape == history.shape and parts.sum() == pytest.approx(expected[user, item], abs=1e-6)
    for item in range(30):
        column = following.for_users(Near.itself(item), base.offsets, base.codes, base.trained)
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


NEW = [{"item_id": "n1", "title": "w3 w9 w30"}, {"item_id": "n2"}]


def test_new_items_are_raised_as_in_the_run(live: LiveRecommender, trained: Callable[[str], Path]):
    """By what the items with texts like theirs are; an item without a text is not."""
    run = Recommender.load(trained("sequence"))
    run.add_items(pl.DataFrame(NEW))
    live.add_items(NEW)
    moved = 0
    for user in live.users(limit=40):
        expected = dict(run.recommend([user], k=100).select("item_id", "score").iter_rows())
        found = {one.item_id: one.score for one in live.recommend(user, 100)}
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
        reasons = {item: live.explain(item, user=user, history_items=100) for item in ("n1", "n2")}
        moved += reasons["n1"].sequence > 0
        assert reasons["n2"].sequence == 0
        for item, reason in reasons.items():
            assert reason.score == pytest.approx(found[item], rel=1e-5, abs=1e-6)
    assert moved > 5
    for person in live.users_for("n1", 5):
        assert person.score == pytest.approx(live.explain("n1", user=person.user_id).score, rel=1e-5, abs=1e-6)
    placed = live.place(NEW[0], 5)
    users = live.users_for("n1", 5)
    assert [one.user_id for one in placed.users] == [one.user_id for one in users]
    assert [one.score for one in placed.users] == pytest.approx([one.score for one in users], rel=1e-5)


def test_nothing_came_after_new_items(live: LiveRecommender):
    live.add_items(NEW)
    code = live._state.item_code("n1")
    assert following_of(live).raised(np.array([code])).codes.size == 0
    live.add_interactions([("newcomer", "n1")])
    assert live.explain("i03", user="newcomer").sequence == 0


def test_users_for_an_item_have_the_score_of_their_lists(live: LiveRecommender):
    for person in live.users_for("i05", 5):
        scores = {one.item_id: one.score for one in live.recommend(person.user_id, 30)}
        assert person.score == pytest.approx(scores["i05"], rel=1e-5, abs=1e-6)


def test_models_that_do_not_count_say_so(bundled: Callable[[str], Path], live: LiveRecommender):
    assert live.can["sequence"]
    with LiveRecommender.open(bundled("no-order")) as plain:
        assert not plain.can["sequence"]
        assert plain.explain("i05", user="u01").sequence == 0
