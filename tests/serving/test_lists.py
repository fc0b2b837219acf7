"""Lists with every option against sorting all scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmind.errors import DataError, UnknownIdError
from recmind.serving.diversity import diversify, pool_size
from recmind.serving.filtering import admits, facts_of
from recmind.serving.following import Raised
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Filters, Options

IDS = [f"i{item:02}" for item in range(30)] + ["n1", "n2", "n3", "nothing"]
NEW = [
    {"item_id": "n1", "title": "w3 w9", "brand": "w5", "categories": "w1 > w2", "price": 3.0},
    {"item_id": "n2", "title": "w30", "categories": ["w4", "w1"], "price": "12"},
    {"item_id": "n3"},
]
FILTERS = st.builds(
    Filters,
    categories=st.lists(st.sampled_from(["w1", "W1 > w2", "w4", "none"]), max_size=2).map(tuple),
    brands=st.lists(st.sampled_from(["W5", "w6"]), max_size=1).map(tuple),
    min_price=st.none() | st.floats(0, 20),
    max_price=st.none() | st.floats(5, 30),
    allow=st.none() | st.lists(st.sampled_from(IDS), max_size=20).map(tuple),
    deny=st.lists(st.sampled_from(IDS), max_size=10).map(tuple),
)
OPTIONS = st.builds(
    Options,
    filters=FILTERS,
    leave_out_seen=st.booleans(),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    popularity_penalty=st.sampled_from([0.0, 0.5, 3.0]),
)


@pytest.fixture(scope="module", params=["recmind", "no-gate", "sequence", "in-order-own-dot"])
def live(request: pytest.FixtureRequest, bundled: Callable[[str], Path]) -> Iterator[LiveRecommender]:
    """With three later items, one deleted item of either kind, and something new of u01."""
    with LiveRecommender.open(bundled(request.param)) as opened:
        opened.add_items([*NEW, {"item_id": "gone", "title": "w1"}])
        opened.delete_item("gone")
        opened.delete_item("i04")
        opened.add_interactions([("u01", "n1"), ("somebody", "i03"), ("somebody", "n2")])
        yield opened


def naive(
    live: LiveRecommender, vector: np.ndarray, seen: set[str], k: int, options: Options, raised: Raised | None = None
) -> list[tuple[str, float]]:
    """(id, score) of the list, by looking at every item."""
    state = live._state
    weight = state.base.equations.popularity
    rows = []
    for item in [*(f"i{n:02}" for n in range(30)), "n1", "n2", "n3"]:
        if item == "i04" or item in options.filters.deny or (options.leave_out_seen and item in seen):
            continue
        if options.filters.allow is not None and item not in options.filters.allow:
            continue
        if not admits(options.filters, facts_of(live.item(item))):
            continue
        row = state.rows("items.vectors", np.array([state.item_code(item)]))[0]
        score = float(vector @ row[:-1]) + weight * float(row[-1])
        score += 0.0 if raised is None else float(raised.of_new(state.near(state.item_code(item)))[0])
        rows.append((item, score, score - options.popularity_penalty * float(row[-1]), row[:8]))
    rows.sort(key=lambda row: -row[2])
    if options.diversity:
        rows = rows[: pool_size(k)]
        order = diversify(
            np.array([r[2] for r in rows]), np.array([r[3] for r in rows]).reshape(-1, 8), k, options.diversity
        )
        rows = [rows[place] for place in order]
    return [(row[0], row[1]) for row in rows[:k]]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, k=st.integers(1, 40), user=st.sampled_from(["u00", "u01", "u17", "somebody"]))
def test_a_list_is_what_looking_at_every_item_gives(live: LiveRecommender, options: Options, k: int, user: str):
    state = live._state
    found = live.recommend(user, k, options=options)
    seen = set(live.history(user))
    expected = naive(live, state.vector_of(user), seen, k, options, state.raised_by(state.heard_of(user)))
    assert len(found) == len(expected)
    if options.diversity:
        # Choices that are equal up to rounding may go either way, and then so may all that follow.
        assert {one.item_id for one in found[:1]} == {item for item, _ in expected[:1]} or len(found) == 0
    else:
        assert [one.score for one in found] == pytest.approx([score for _, score in expected], rel=1e-4, abs=1e-5)
        assert {one.item_id for one in found} == {item for item, _ in expected}
    scores = dict(naive(live, state.vector_of(user), set(), 100, Options(), state.raised_by(state.heard_of(user))))
    for one in found:
        assert one.score == pytest.approx(scores[one.item_id], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("options", [Options(), Options(filters=Filters(categories=("w1",))), Options(diversity=0.4)])
def test_many_users_at_once_are_those_one_by_one(live: LiveRecommender, options: Options):
    users = [*live.users(limit=9), "somebody", "u00"]
    together = live.recommend_many(users, 5, options=options)
    for user, found in zip(users, together, strict=True):
        alone = live.recommend(user, 5, options=options)
        assert [one.item_id for one in found] == [one.item_id for one in alone]
        assert [one.score for one in found] == pytest.approx([one.score for one in alone], rel=1e-5, abs=1e-6)
    assert live.recommend_many([], 5) == []


def test_similar_items_are_those_with_the_largest_cosines(live: LiveRecommender):
    state = live._state
    ids = [item for item in [*(f"i{n:02}" for n in range(30)), "n1", "n2", "n3"] if item != "i04"]
    rows = state.rows("items.vectors", np.array([state.item_code(item) for item in ids]))[:, :8].astype(np.float64)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for item in ("i03", "n1"):
        cosines = unit @ unit[ids.index(item)]
        order = [place for place in np.argsort(-cosines) if ids[place] != item][:6]
        found = live.similar_items(item, 6)
        assert [one.score for one in found] == pytest.approx(cosines[order], abs=1e-5)
        assert item not in {one.item_id for one in found}


def test_a_history_is_left_out_unless_it_is_asked_for(live: LiveRecommender):
    history = ["i03", "i03", "n1"]
    assert not {"i03", "n1"} & {one.item_id for one in live.recommend_for_history(history, 100)}
    with_it = live.recommend_for_history(history, 100, options=Options(leave_out_seen=False))
    assert {"i03", "n1"} <= {one.item_id for one in with_it}
    assert len(with_it) == 32


def test_of_nobody_the_popular_items(bundled: Callable[[str], Path]):
    for kind in ("no-order", "lightgcn"):
        with LiveRecommender.open(bundled(kind)) as opened:
            degrees = [opened.item(one.item_id)["degree"] for one in opened.recommend_for_history([], 30)]
            weight = opened._state.base.equations.popularity
            assert degrees == sorted(degrees, reverse=weight >= 0)


@pytest.mark.parametrize("kind", ["recmind", "in-order-own-dot"])
def test_placing_says_what_adding_does(kind: str, bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled(kind)) as opened:
        fields = {"title": "w3 w9 w30", "price": 3, "item_id": "ignored"}
        placed = opened.place(fields, 5)
        assert placed.has_text
        before = opened.status.counts
        assert not opened.has_item("ignored")
        opened.add_items([{**fields, "item_id": "x"}])
        assert before.items_added == 0
        assert [one.item_id for one in opened.similar_items("x", 5)] == [one.item_id for one in placed.neighbours]
        assert list(placed.users) == opened.users_for("x", 5)
        scores = [one.score for one in placed.users]
        assert scores == sorted(scores, reverse=True)
        assert not opened.place({}, 3).has_text


@pytest.mark.parametrize("k", [0, -1, 1001])
def test_k_out_of_range(live: LiveRecommender, k: int):
    with pytest.raises(DataError, match=r"k: out of range(.|\n)*1 to 1000"):
        live.recommend("u00", k)


@pytest.mark.parametrize("text", ["", "   ", "...", "<br>"])
def test_words_that_say_nothing(live: LiveRecommender, text: str):
    with pytest.raises(DataError, match="says nothing"):
        live.recommend_for_text(text)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_weights_out_of_range(live: LiveRecommender, weight: float):
    with pytest.raises(DataError, match="text_weight"):
        live.recommend("u00", text="w1", text_weight=weight)


@pytest.mark.parametrize("wrong", [{"diversity": 1.5}, {"diversity": float("nan")}, {"popularity_penalty": -1.0}])
def test_options_out_of_range(wrong: dict[str, float]):
    with pytest.raises(DataError, match="out of range"):
        Options(**wrong)  # type: ignore[arg-type]


def test_unknown_ids(live: LiveRecommender):
    for call in (
        lambda: live.recommend("nobody"),
        lambda: live.recommend_many(["u00", "nobody"]),
        lambda: live.recommend_for_history(["nothing"]),
        lambda: live.similar_items("i04"),
        lambda: live.item("gone"),
        lambda: live.history("nobody"),
    ):
        with pytest.raises(UnknownIdError, match="there is no such"):
            call()
