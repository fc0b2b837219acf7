"""The parts of a score add up to the score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from recmind.errors import DataError, UnknownIdError
from recmind.schema import BundleTensors
from recmind.serving.answers import Reason
from recmind.serving.base import Base
from recmind.serving.bundle import Bundle
from recmind.serving.live import LiveRecommender
from recmind.serving.state import State
from recmind.serving.tastes import Taste

KINDS = [
    "recmind",
    "sequence",
    "in-order",
    "in-order-dot",
    "in-order-own",
    "in-order-own-dot",
    "sequence-lightgcn",
    "by-text",
    "fallback",
    "paper",
    "titles",
    "no-gate",
    "text",
    "lightgcn",
    "xsimgcl",
    "popularity",
]


@pytest.fixture
def live(bundled: Callable[[str], Path]) -> Iterator[LiveRecommender]:
    with LiveRecommender.open(bundled("recmind")) as opened:
        yield opened


def adds_up(reason: Reason, score: float) -> None:
    assert reason.score == pytest.approx(score, rel=1e-5, abs=2e-6)
    parts = reason.language, reason.graph, reason.cross, reason.popularity, reason.sequence
    assert sum(parts) == pytest.approx(reason.score, abs=1e-9)
    carried = sum(part.part for part in reason.history)
    assert reason.own + carried + reason.popularity == pytest.approx(reason.score, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_for_users_who_were_trained_on(kind: str, bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled(kind)) as live:
        for user in live.users(limit=100)[::9]:
            for one in live.recommend(user, k=8):
                adds_up(live.explain(one.item_id, user=user, history_items=100), one.score)


@pytest.mark.parametrize("kind", ["in-order", "in-order-dot", "in-order-own", "in-order-own-dot"])
def test_an_item_carries_what_it_changes_in_the_order(kind: str, bundled: Callable[[str], Path]):
    state = State(Base(Bundle.load(bundled(kind))))
    folding, rng = state.base.folding, np.random.default_rng(0)
    items = rng.permutation(20)[:8]
    taste, dot = state.taste_for(items), kind.endswith("dot")
    found = state.by_item(taste, items).told
    rows = state.rows(BundleTensors.ITEMS, items)
    read = rows[:, :8] + rows[:, 8:16] if "own" in kind else rows[:, :8]
    assert rows.shape[1] == (17 if "own" in kind else 9)
    assert folding.looks_back == (100 if dot else 6)
    assert taste.read is not None and found is not None

    def part(vectors: np.ndarray) -> np.ndarray:
        """What the state after these items would be of h, were nothing else of it to change."""
        bare = Taste(np.zeros(len(vectors[0]), np.float32), *[np.zeros(len(vectors[0]), np.float32)] * 2, items, found)
        alone = folding.with_sequence(bare, vectors).read
        assert alone is not None
        length = np.linalg.norm(taste.read) / np.linalg.norm(alone) if not dot else 1.0
        return length * alone

    for place in range(8 - min(8, folding.looks_back), 8):
        without = part(np.delete(read, place, axis=0))
        np.testing.assert_allclose(found[place], taste.read - without, rtol=1e-4, atol=1e-6)
    assert not found[: -folding.looks_back].any()  # older items are not read
    nobody = state.by_item(state.taste_for(items[:0]), items[:0]).told
    assert nobody is not None and nobody.shape == (0, 8)


@pytest.mark.parametrize("kind", ["recmind", "sequence", "in-order", "in-order-own", "titles", "text", "lightgcn"])
def test_for_a_history_and_for_a_user_with_something_new(kind: str, bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled(kind)) as live:
        history = ["i03", "i11", "i20"]
        for one in live.recommend_for_history(history, k=8):
            reason = live.explain(one.item_id, history=history, history_items=100)
            adds_up(reason, one.score)
            assert {part.item_id for part in reason.history} == set(history)
            assert reason.user_gate is None
        live.add_interactions([("u03", live.recommend("u03", k=1)[0].item_id)])
        for one in live.recommend("u03", k=8):
            adds_up(live.explain(one.item_id, user="u03", history_items=100), one.score)


@pytest.mark.parametrize("kind", ["recmind", "sequence", "in-order-own", "paper", "text"])
def test_for_words_and_for_both(kind: str, bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled(kind)) as live:
        for one in live.recommend_for_text("w3 w40", k=5):
            reason = live.explain(one.item_id, text="w3 w40", history_items=100)
            adds_up(reason, one.score)
            assert reason.history == ()
        for one in live.recommend("u05", k=5, text="w3 w40", text_weight=0.7):
            adds_up(live.explain(one.item_id, user="u05", text="w3 w40", text_weight=0.7, history_items=99), one.score)


def test_without_texts_everything_is_graph(bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled("lightgcn")) as live:
        reason = live.explain("i05", user="u01", words=5)
        assert reason.language == reason.cross == 0
        assert reason.words == ()
        assert reason.item_gate is reason.user_gate is None


def test_an_item_that_nobody_has_is_all_text(live: LiveRecommender):
    reason = live.explain("i29", user="u01")  # never bought, with a text: its h is its language view
    assert reason.graph == pytest.approx(0, abs=1e-6)
    assert reason.language != 0


def test_the_gates_are_those_of_the_bundle(live: LiveRecommender):
    reason = live.explain("i05", user="u01")
    tables = live._state.base.tables
    assert reason.item_gate == pytest.approx(tables[BundleTensors.ITEMS_GATES][5])
    assert reason.user_gate == pytest.approx(tables[BundleTensors.USERS_GATES][1])
    assert all(0 < gate < 1 for gate in (*reason.item_gate, *reason.user_gate))  # type: ignore[misc]


def test_the_largest_parts_come_first_and_no_more_than_asked(live: LiveRecommender):
    everything = live.explain("i05", user="u02", history_items=100).history
    parts = [one.part for one in everything]
    assert parts == sorted(parts, reverse=True)
    assert live.explain("i05", user="u02", history_items=2).history == everything[:2]


def test_words_are_compared_one_by_one(live: LiveRecommender):
    """Each word read alone, projected, and its cosine with the mean language view of the history."""
    state = live._state
    words = live.explain("i08", user="u02", words=10).words
    title = {word for word in live.item("i08")["title"].split() if len(word) >= 3}
    brand = {live.item("i08").get("brand")} - {None}
    shelf = set(live.item("i08")["categories"].replace(" >", "").replace(",", "").split())
    assert {one.word for one in words} == {w for w in title | brand | shelf if len(w) >= 3}
    trained = state.base.trained_on(2)
    view = state.base.tables[BundleTensors.ITEMS_LANGUAGE][trained].mean(axis=0)
    for one in words:
        vector = state.base.speech.encoder.encode([one.word], show_progress=False)
        projected = state.base.folding.project(vector, np.array([True]))[0]
        cosine = projected @ view / np.linalg.norm(projected) / np.linalg.norm(view)
        assert one.cosine == pytest.approx(float(cosine), abs=1e-5)
    assert [one.cosine for one in words] == sorted((one.cosine for one in words), reverse=True)


def test_a_deleted_item_of_the_history_is_not_named_and_still_counts(live: LiveRecommender):
    before = live.explain("i05", user="u02", history_items=100)
    gone = before.history[0]
    live.delete_item(gone.item_id)
    after = live.explain("i05", user="u02", history_items=100)
    assert gone.item_id not in {part.item_id for part in after.history}
    assert after.score == before.score


def test_what_cannot_be_explained(live: LiveRecommender):
    with pytest.raises(UnknownIdError, match="no such item"):
        live.explain("nothing", user="u00")
    with pytest.raises(UnknownIdError, match="no such user"):
        live.explain("i05", user="nobody")
    with pytest.raises(DataError, match="whose taste"):
        live.explain("i05")
    with pytest.raises(DataError, match="whose taste"):
        live.explain("i05", user="u00", history=["i03"])


def test_several_at_once_are_those_one_by_one(live: LiveRecommender):
    items = ["i05", "i09", "i29"]
    assert live.explain_many(items, user="u02", words=2) == [live.explain(item, user="u02", words=2) for item in items]
