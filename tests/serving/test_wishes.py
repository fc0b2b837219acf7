"""Wishes against the cosines of the encoder's own vectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from recmind.errors import BundleError
from recmind.schema import BundleFiles, BundleTensors
from recmind.serving.bundle import read_tensors, seal, write_tensors
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Filters, Options
from recmind.serving.wishes import Spread

TEXT = "w3 w9"
NEW = [
    {"item_id": "n1", "title": "w3 w9", "brand": "w5", "price": 3.0},
    {"item_id": "n2", "title": "w30 w31", "price": 12.0},
    {"item_id": "n3"},
]
ALL = Options(leave_out_seen=False)
Scores = dict[str, float]


@pytest.fixture(params=["recmind", "titles", "text", "no-gate"])
def live(request: pytest.FixtureRequest, bundled: Callable[[str], Path]) -> Iterator[LiveRecommender]:
    """With three later items, and one deleted item of either kind."""
    with LiveRecommender.open(bundled(request.param)) as opened:
        opened.add_items([*NEW, {"item_id": "gone", "title": TEXT}])
        opened.delete_item("gone")
        opened.delete_item("i04")
        yield opened


def likeness(live: LiveRecommender, text: str, items: list[str]) -> Scores:
    """Cosines of the wish with the items' z̃, one by one."""
    state = live._state
    wish = state.base.speech.wish(text).astype(np.float64)
    found = {}
    for item in items:
        row = state.rows(BundleTensors.ITEMS_TEXTS, np.array([state.item_code(item)]))[0].astype(np.float64)
        found[item] = float(row @ wish / np.linalg.norm(wish) / np.linalg.norm(row)) if row.any() else 0.0
    return found


def scores_of(live: LiveRecommender, user: str) -> Scores:
    return {one.item_id: one.score for one in live.recommend(user, 100, options=ALL)}


def test_the_score_is_the_cosine_of_the_texts(live: LiveRecommender):
    found = live.recommend_for_text(TEXT, 100)
    expected = likeness(live, TEXT, [one.item_id for one in found])
    assert len(found) == 32
    assert not {"i04", "gone"} & set(expected)
    assert {one.item_id: one.score for one in found} == pytest.approx(expected, abs=2e-5)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert [one.item_id for one in live.recommend_for_text(TEXT, 3)] == [one.item_id for one in found[:3]]


def test_the_bundle_holds_what_the_encoder_reads(live: LiveRecommender):
    state = live._state
    items = [one.item_id for one in live.recommend_for_text(TEXT, 100)]
    rows = state.rows(BundleTensors.ITEMS_TEXTS, np.array([state.item_code(item) for item in items]))
    read, known = state.base.speech.items([live.item(item) for item in items])
    np.testing.assert_array_equal(rows.any(axis=1), known)
    # In batches of other lengths the encoder rounds otherwise.
    np.testing.assert_allclose((rows * read).sum(axis=1), known, atol=2e-3)
    texts = likeness(live, TEXT, items)
    wish = state.base.speech.wish(TEXT)
    assert list(texts.values()) == pytest.approx(list(read @ wish), abs=1e-2)


def test_the_item_that_is_worded_so_comes_first_and_items_without_a_text_have_0(live: LiveRecommender):
    opened = live
    opened.add_items([{"item_id": "same", "title": "w3 w9 w30"}])
    found = {one.item_id: one for one in opened.recommend_for_text("w3 w9 w30", 100)}
    assert found["same"].rank == 1
    assert found["same"].score == pytest.approx(1, abs=1e-5)
    assert [found[item].score for item in ("i00", "i07", "i14", "i28", "n3")] == [0] * 5


def test_both_are_standardised_and_mixed(live: LiveRecommender):
    items = [one.item_id for one in live.recommend_for_text(TEXT, 100)]
    with LiveRecommender.open(live._state.base.bundle.path) as before:  # all items of the bundle, and none but these
        of_user = scores_of(before, "u05")
        spread, of_text = list(of_user.values()), list(likeness(before, TEXT, list(of_user)).values())
    assert len(spread) == 30
    own, like, v = scores_of(live, "u05"), likeness(live, TEXT, items), 0.3
    expected = {
        item: (1 - v) * (own[item] - np.mean(spread)) / np.std(spread)
        + v * (like[item] - np.mean(of_text)) / np.std(of_text)
        for item in items
    }
    found = live.recommend("u05", 100, text=TEXT, text_weight=v, options=ALL)
    assert {one.item_id: one.score for one in found} == pytest.approx(expected, abs=2e-3)


def test_at_the_ends_it_is_the_users_list_and_the_wishs(live: LiveRecommender):
    history = ["i03", "n1"]
    for options in (ALL, Options(leave_out_seen=False, popularity_penalty=0.5, diversity=0.3)):
        wished = live.recommend_for_text(TEXT, 12, options=options)
        assert live.recommend("u00", 12, text=TEXT, text_weight=1, options=options) == wished
        assert live.recommend_for_history(history, 12, text=TEXT, text_weight=1, options=options) == wished
        assert live.recommend_for_history([], 12, text=TEXT, text_weight=0.2, options=options) == wished
        plain = live.recommend("u00", 12, options=options)
        assert live.recommend("u00", 12, text=TEXT, text_weight=0, options=options) == plain
        assert plain != wished
    left = {one.item_id for one in live.recommend_for_history(history, 100, text=TEXT, text_weight=0.9)}
    assert len(left) == 30 and not left & set(history)


@pytest.mark.parametrize("weight", [0.4, 1.0])
def test_filters_and_the_penalty(live: LiveRecommender, weight: float):
    def listed(**options: object) -> list[str]:
        asked = Options(leave_out_seen=False, **options)  # type: ignore[arg-type]
        return [one.item_id for one in live.recommend("u02", 40, text=TEXT, text_weight=weight, options=asked)]

    everything = {
        one.item_id: one.score for one in live.recommend("u02", 40, text=TEXT, text_weight=weight, options=ALL)
    }
    cheap = listed(filters=Filters(max_price=12))
    assert cheap == [item for item in everything if live.item(item).get("price", np.inf) <= 12]
    assert {"n1", "n2"} <= set(cheap)
    assert listed(filters=Filters(brands=("W5",), deny=("i01",))) == [
        item for item in everything if live.item(item).get("brand") == "w5" and item != "i01"
    ]
    assert listed(filters=Filters(allow=("n2", "i05", "i04", "gone"))) == [i for i in everything if i in ("n2", "i05")]
    state = live._state
    codes = np.array([state.item_code(item) for item in everything])
    degrees = state.rows(BundleTensors.ITEMS, codes)[:, -1]
    penalised = dict(zip(everything, np.array(list(everything.values())) - 2.0 * degrees, strict=True))
    found = listed(popularity_penalty=2.0)
    assert [penalised[item] for item in found] == pytest.approx(sorted(penalised.values(), reverse=True), abs=1e-5)


@pytest.mark.parametrize("who", [{}, {"user": "u05"}, {"history": ["i03", "n1", "i20"]}])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_parts_add_up(live: LiveRecommender, who: dict[str, object], weight: float):
    asked = {"text": TEXT, "text_weight": weight}
    if "user" in who:  # deleted items of a history count and are not named: a user who has none of them
        known = live._state.base
        user = next(user for code, user in enumerate(live.users(limit=40)) if 4 not in known.known_to(code))
        who = {"user": user}
        found = live.recommend(user, 40, **asked)  # type: ignore[arg-type]
    elif who:
        found = live.recommend_for_history(who["history"], 40, **asked)  # type: ignore[arg-type]
    else:
        found = live.recommend_for_text(TEXT, 40)
    reasons = live.explain_many([one.item_id for one in found], **who, **asked, history_items=99)  # type: ignore[arg-type]
    for one, reason in zip(found, reasons, strict=True):
        assert reason.score == pytest.approx(one.score, abs=2e-5)
        parts = reason.language, reason.graph, reason.cross, reason.popularity, reason.sequence
        assert sum(parts) == pytest.approx(reason.score)
        assert reason.own + sum(part.part for part in reason.history) + reason.popularity == pytest.approx(reason.score)
        if not who or weight == 1:
            assert (reason.language, reason.own, reason.history) == (reason.score, reason.score, ())
        else:
            assert reason.history


def test_words_are_compared_with_the_wish_as_they_are(live: LiveRecommender):
    speech = live._state.base.speech
    wish = speech.wish(TEXT)
    live.add_items([{"item_id": "worded", "title": "w10 w11 w12 w13"}])
    words = live.explain("worded", text=TEXT, words=9).words
    vectors = speech.encoder.encode([one.word for one in words], show_progress=False)
    cosines = vectors @ wish / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wish)
    assert {one.word for one in words} == {"w10", "w11", "w12", "w13"}
    assert [one.cosine for one in words] == pytest.approx(cosines, abs=1e-5)
    assert list(cosines) == sorted(cosines, reverse=True)
    alone = {one.word: one.cosine for one in live.explain("worded", user="u05", words=9).words}
    both = {one.word: one.cosine for one in live.explain("worded", user="u05", text=TEXT, words=9).words}
    typed = {one.word: one.cosine for one in words}
    assert both == pytest.approx({word: (alone[word] + typed[word]) / 2 for word in typed}, abs=1e-6)


def test_new_items_have_the_same_scores_after_a_restart(bundled: Callable[[str], Path], tmp_path: Path):
    paths = bundled("recmind"), tmp_path / "changes.sqlite"
    with LiveRecommender.open(*paths) as live:
        live.add_items(NEW)
        live.delete_item("i05")
        before = {one.item_id: one.score for one in live.recommend_for_text(TEXT, 100)}
    with LiveRecommender.open(*paths) as live:
        after = {one.item_id: one.score for one in live.recommend_for_text(TEXT, 100)}
    assert after == pytest.approx(before, abs=1e-6)
    assert "n1" in after and "i05" not in after


def test_scores_that_are_all_the_same_say_nothing():
    assert Spread.of(np.full(5, 0.3)).factor == 0
    assert Spread.of(np.array([1.0, 3.0])) == Spread(2.0, 1.0)


def test_a_bundle_of_before_answers_all_but_wishes(bundled: Callable[[str], Path], tmp_path: Path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundled("recmind"), copy)
    vectors = read_tensors(copy / BundleFiles.VECTORS)
    del vectors[BundleTensors.ITEMS_TEXTS]
    write_tensors(copy / BundleFiles.VECTORS, vectors)
    (copy / BundleFiles.MANIFEST).unlink()
    seal(copy)
    with LiveRecommender.open(copy) as live:
        live.add_items(NEW)
        assert live.recommend("u00", 3)
        with pytest.raises(BundleError, match=r"no vectors of its items' texts(.|\n)*recmind export"):
            live.recommend_for_text(TEXT)
