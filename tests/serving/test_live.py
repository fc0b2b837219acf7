"""Changes while it runs: at once, durable, never half."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from recmind.errors import BundleError, ConfigError, DataError, UnknownIdError
from recmind.serving.live import LiveRecommender
from recmind.serving.options import Options


def everything(live: LiveRecommender) -> dict[str, Any]:
    """All that can be seen from outside; whole lists: at the end of a short one equal scores may swap."""
    users = live.users(limit=1000)
    items = live.find_items(limit=1000)
    return {
        "users": sorted(users),
        "items": sorted(items),
        "fields": {item: live.item(item) for item in items},
        "histories": {user: live.history(user) for user in users},
        "lists": {user: [(s.item_id, s.score) for s in live.recommend(user, 200)] for user in users},
        "counts": live.status.counts,
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal in everything, and in scores up to the rounding of products of other sizes."""
    lists, others = one["lists"], other["lists"]
    rest = all(one[key] == other[key] for key in one if key != "lists")
    return rest and all(dict(lists[user]) == pytest.approx(dict(others[user]), rel=1e-5, abs=1e-6) for user in lists)


@pytest.fixture
def paths(bundled: Callable[[str], Path], tmp_path: Path) -> tuple[Path, Path]:
    return bundled("recmind"), tmp_path / "changes.sqlite"


def test_a_new_item_is_listed_at_once_and_after_a_restart(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        assert live.add_items([{"item_id": "n1", "title": "w3 w9", "categories": ["w1 > w2"], "price": "3"}]) == ["n1"]
        assert live.add_items([{"item_id": "n1", "title": "other"}, {"item_id": "i03", "title": "other"}]) == []
        assert "n1" in {one.item_id for one in live.recommend("u00", 100)}
        assert live.item("n1") == {
            "item_id": "n1",
            "title": "w3 w9",
            "categories": "w1 > w2",
            "price": 3.0,
            "degree": 0,
        }
        before = everything(live)
    with LiveRecommender.open(*paths) as live:
        assert same(everything(live), before)


def test_a_new_interaction_moves_the_user_and_is_left_out(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        best = live.recommend("u00", 1)[0].item_id
        before = live._state.vector_of("u00")
        assert live.add_interactions([("u00", best), ("u00", best)]) == 1
        assert live.add_interactions([("u00", best)]) == 0
        assert best not in {one.item_id for one in live.recommend("u00", 100)}
        assert live.history("u00")[0] == best
        after = live._state.vector_of("u00")
        assert not np.array_equal(before, after)


def test_where_no_history_is_read_in_order_a_new_interaction_moves_the_user_towards_the_item(
    bundled: Callable[[str], Path], tmp_path: Path
):
    with LiveRecommender.open(bundled("by-text"), tmp_path / "changes.sqlite") as live:
        best = live.recommend("u00", 1)[0].item_id
        row = live._state.rows("items.vectors", np.array([live._state.item_code(best)]))[0, :8]
        before = live._state.vector_of("u00")
        live.add_interactions([("u00", best)])
        assert live._state.vector_of("u00") @ row > before @ row


def test_somebody_new_is_the_history_alone(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        assert not live.has_user("new")
        live.add_items([{"item_id": "n1", "title": "w3 w9"}])
        live.add_interactions([("new", "i03"), ("new", "n1"), ("new", "i11")])
        assert live.history("new") == ["i11", "n1", "i03"]
        assert live.recommend("new", 9) == live.recommend_for_history(["i03", "n1", "i11"], 9)
        assert live.users("ne") == ["new"]


def test_an_unknown_item_among_interactions_keeps_all_of_them_out(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        before = everything(live)
        with pytest.raises(UnknownIdError, match="nothing"):
            live.add_interactions([("u00", "i03"), ("new", "i11"), ("u00", "nothing")])
        assert same(everything(live), before)
        assert list(live._store.interactions()) == []


@pytest.mark.parametrize(
    "items",
    [
        [{"title": "x"}],
        [{"item_id": ""}],
        [{"item_id": "a"}, {"item_id": "a"}],
        [{"item_id": "a", "price": "dear"}],
        [{"item_id": "\ud800"}],
        [{"item_id": "a", "title": "\ud800"}],
        [{"item_id": "x" * 257}],
        [{"item_id": True}],
    ],
)
def test_items_that_are_none(paths: tuple[Path, Path], items: list[dict[str, Any]]):
    with LiveRecommender.open(*paths) as live:
        with pytest.raises(DataError):
            live.add_items(items)
        assert list(live._store.items()) == []


def test_a_deleted_item_is_nowhere(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        live.add_items([{"item_id": "n1", "title": "w3 w9"}])
        live.add_interactions([("new", "n1"), ("new", "i03"), ("only", "n1")])
        for item in ("n1", "i11"):
            live.delete_item(item)
            assert not live.has_item(item)
            for user in live.users(limit=100):
                assert item not in {
                    one.item_id for one in live.recommend(user, 100, options=Options(leave_out_seen=False))
                }
                assert item not in live.history(user)
            assert item not in {one.item_id for one in live.similar_items("i05", 100)}
            assert item not in live.find_items(limit=100)
            with pytest.raises(UnknownIdError):
                live.delete_item(item)
        assert live.history("new") == ["i03"]
        assert not live.has_user("only")
        assert b"n1" not in b"".join(item.item_id.encode() for item in live._store.items())
        # It may come back, as an item like any new one.
        assert live.add_items([{"item_id": "i11", "title": "w50 w51"}]) == ["i11"]
        assert live.item("i11")["title"] == "w50 w51"
        before = everything(live)
    with LiveRecommender.open(*paths) as live:
        assert same(everything(live), before)


def test_a_deleted_user_is_nowhere_and_comes_back_as_somebody_new(paths: tuple[Path, Path]):
    bundle, store = paths
    with LiveRecommender.open(bundle, store) as live:
        live.add_interactions([("u07", "i03"), ("a-new-person", "i03")])
        for user in ("u07", "a-new-person"):
            live.delete_user(user)
            assert not live.has_user(user)
            assert user not in live.users(limit=100)
            assert user not in {one.user_id for one in live.users_for("i05", 100)}
            assert user not in {one.user_id for one in live.place({"title": "w1"}, 100).users}
            for call in (live.recommend, live.history, live.delete_user):
                with pytest.raises(UnknownIdError):
                    call(user)
    content = b"".join(path.read_bytes() for path in store.parent.iterdir())
    assert b"u07" not in content
    assert b"a-new-person" not in content
    with LiveRecommender.open(bundle, store) as live:
        assert not live.has_user("u07")
        live.add_interactions([("u07", "i05")])
        assert live.recommend("u07", 9) == live.recommend_for_history(["i05"], 9)


def test_any_course_of_changes_reads_back_the_same(bundled: Callable[[str], Path], tmp_path: Path):
    for seed, kind in enumerate(["recmind", "titles", "text", "recmind", "by-text"]):
        rng, path = random.Random(seed), tmp_path / f"{seed}.sqlite"
        with LiveRecommender.open(bundled(kind), path) as live:
            for step in range(60):
                change(live, rng, step)
            before = everything(live)
        with LiveRecommender.open(bundled(kind), path) as live:
            assert same(everything(live), before)


def change(live: LiveRecommender, rng: random.Random, step: int) -> None:
    """One change of any kind."""
    users, items = [*live.users(limit=99), "p1", "p2", "p3"], live.find_items(limit=99)
    kind = rng.choice(["item", "interactions", "interactions", "delete item", "delete user"])
    if kind == "item":
        words = " ".join(f"w{rng.randrange(60)}" for _ in range(3))
        live.add_items([{"item_id": rng.choice([f"n{step}", "i05", "n1"]), "title": words}])
    elif kind == "interactions":
        live.add_interactions([(rng.choice(users), rng.choice(items)) for _ in range(rng.randrange(1, 4))])
    elif kind == "delete item" and rng.random() < 0.4:
        live.delete_item(rng.choice(items))
    elif kind == "delete user" and rng.random() < 0.4:
        user = rng.choice(users)
        if live.has_user(user):
            live.delete_user(user)


def test_readers_never_see_half_a_change(paths: tuple[Path, Path]):
    """Pairs of items come and go together, and pairs of interactions: no reader sees one without the other."""
    with LiveRecommender.open(*paths) as live:
        stop, problems = Event(), []

        def read() -> None:
            while not stop.is_set():
                moment = live.moment()
                there = {one.item_id for one in moment.recommend("u00", 500)}
                for item in {name for name in there if name.startswith("n")}:
                    if (item[:-1] + {"a": "b", "b": "a"}[item[-1]]) not in there:
                        problems.append(f"{item} without its other half")
                for one in there:
                    moment.item(one)  # what a moment lists, the moment knows
                if moment.has_user("pair") and len(moment.history("pair")) % 2:
                    problems.append("half a batch of interactions")

        def guarded() -> None:
            try:
                read()
            except Exception as error:
                problems.append(repr(error))

        readers = [Thread(target=guarded) for _ in range(3)]
        for reader in readers:
            reader.start()
        for step in range(40):
            live.add_items([{"item_id": f"n{step}a", "title": "w3"}, {"item_id": f"n{step}b", "title": "w4"}])
            live.add_interactions([("pair", f"n{step}a"), ("pair", f"n{step}b")])
            if step % 5 == 4:
                live.delete_user("pair")
        stop.set()
        for reader in readers:
            reader.join()
        assert problems == []


def test_writers_from_many_threads_lose_nothing(paths: tuple[Path, Path]):
    bundle, store = paths
    with LiveRecommender.open(bundle, store) as live:

        def write(thread: int) -> None:
            for step in range(15):
                live.add_items(
                    [{"item_id": f"n{thread}-{step}", "title": f"w{step}"}, {"item_id": "shared", "title": "w1"}]
                )
                live.add_interactions([(f"p{thread}", f"n{thread}-{step}"), ("all", f"n{thread}-{step}")])

        writers = [Thread(target=write, args=(thread,)) for thread in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert live.status.counts.items_added == 61
        before = everything(live)
    with LiveRecommender.open(bundle, store) as live:
        assert same(everything(live), before)
        assert len(live.history("all")) == 60
        for thread in range(4):
            assert live.history(f"p{thread}") == [f"n{thread}-{step}" for step in range(14, -1, -1)]


def test_going_over_to_another_bundle(bundled: Callable[[str], Path], tmp_path: Path):
    with LiveRecommender.open(bundled("recmind"), tmp_path / "s") as live:
        live.add_items([{"item_id": "n1", "title": "w3 w9"}])
        live.add_interactions([("new", "n1"), ("u00", "n1")])
        live.delete_user("u01")
        moment, before = live.moment(), live.recommend("u00", 5)
        live.reload(bundled("text"))
        assert live.status.model == "text"
        assert moment.recommend("u00", 5) == before
        assert live.history("new") == ["n1"]
        assert not live.has_user("u01")
        assert live.recommend("u00", 5) != before
        with pytest.raises(BundleError):
            live.reload(tmp_path / "nothing")
        assert live.status.model == "text"
        assert live.recommend("new", 5)


def test_what_the_next_bundle_has_learnt_is_passed_over(bundled: Callable[[str], Path], tmp_path: Path):
    with LiveRecommender.open(bundled("recmind"), tmp_path / "s") as live:
        live.add_interactions([("u00", live.recommend("u00", 1)[0].item_id), ("new", "i03")])
        known = live._state.base.bundle.items["item_id"].to_list()
    shutil.copy(tmp_path / "s", tmp_path / "t")
    # Another bundle in which u00's new interaction is part of the history: here by writing a known one to the store.
    from recmind.serving.store import Store, StoredItem

    store = Store(tmp_path / "t")
    store.add_interactions([("u00", known[0]), ("u00", known[1]), ("u00", "not in this bundle")])
    store.add_items([StoredItem(known[0], {"title": "old"}, "old", np.zeros(16, np.float32), True)])
    store.close()
    with LiveRecommender.open(bundled("recmind"), tmp_path / "t") as live:
        assert live.status.counts.items_added == 0
        assert len(live.history("u00")) == len(set(live.history("u00")))


def test_items_stored_by_another_language_model_are_read_again(paths: tuple[Path, Path]):
    from recmind.serving.store import Store, StoredItem

    bundle, path = paths
    with LiveRecommender.open(bundle) as live:
        live.add_items([{"item_id": "n1", "title": "w3 w9"}])
        expected = [(one.item_id, one.score) for one in live.recommend("u00", 100)]
    store = Store(path)
    store.add_items([StoredItem("n1", {"title": "w3 w9"}, "another", np.ones(3, np.float32), True)])
    store.close()
    with LiveRecommender.open(bundle, path) as live:
        assert [(one.item_id, one.score) for one in live.recommend("u00", 100)] == expected


def test_models_that_cannot_say_so(bundled: Callable[[str], Path]):
    with LiveRecommender.open(bundled("lightgcn")) as live:
        assert live.status.can == {"fold": True, "text": False, "gate": False, "sequence": False}
        for call in (
            lambda: live.add_items([{"item_id": "n", "title": "x"}]),
            lambda: live.recommend_for_text("x"),
            lambda: live.place({"title": "x"}),
        ):
            with pytest.raises(ConfigError, match="makes no vectors of texts"):
                call()
    for kind in ("bpr-mf", "popularity"):
        with LiveRecommender.open(bundled(kind)) as live:
            assert live.status.can["fold"] is False
            with pytest.raises(ConfigError, match="makes no vector of a history"):
                live.recommend_for_history(["i03"])
            with pytest.raises(ConfigError, match="makes no vector of a history"):
                live.add_interactions([("new", "i03")])
            best = live.recommend("u00", 1)[0].item_id
            live.add_interactions([("u00", best)])
            assert best not in {one.item_id for one in live.recommend("u00", 100)}


def test_looking_things_up(paths: tuple[Path, Path]):
    with LiveRecommender.open(*paths) as live:
        assert live.users("u1", 3) == ["u10", "u11", "u12"]
        title = live.item("i05")["title"]
        assert "i05" in live.find_items(title.upper())
        assert live.find_items("i05")[0] == "i05"
        degrees = [live.item(item)["degree"] for item in live.find_items(limit=30)]
        assert degrees == sorted(degrees, reverse=True)
        assert dict(live.brands()) == {"w5": 8, "w6": 9}
        assert live.categories()[0][0] == "w1"
        assert live.card["model"] == "recmind"
        assert live.status.counts.items == 30
        assert [entry["item_id"] for entry in live.items(["i05", "i03"])] == ["i05", "i03"]
        live.warm()
