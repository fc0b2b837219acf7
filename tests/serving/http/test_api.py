from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import httpx2
import pytest

from recmind.serving.live import LiveRecommender
from recmind.serving.options import Filters, Options

PROBLEM = "application/problem+json"


def ids(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [line["item_id"] for line in answer.json()["items"]]


def fields(answer: httpx2.Response) -> dict[str, dict[str, Any]]:
    assert answer.headers["content-type"] == PROBLEM
    return {error["field"]: error for error in answer.json()["errors"]}


# -- lists -------------------------------------------------------------------------------------------------------


def test_a_list_is_the_recommenders(api: httpx2.Client, live: LiveRecommender):
    answer = api.get("/v1/recommend", params={"user": "u03", "k": 7})
    expected = [asdict(line) for line in live.recommend("u03", 7)]
    assert answer.json() == {"bundle": live.bundle_id, "items": expected}
    assert api.post("/v1/recommend", json={"user": "u03", "k": 7}).json() == answer.json()


def test_history_text_and_both(api: httpx2.Client, live: LiveRecommender):
    def expected(found: Any) -> list[str]:
        return [line.item_id for line in found]

    history, text = ["i02", "i05"], "w3 w4"
    asked = {"history": history, "k": 5}
    assert ids(api.post("/v1/recommend", json=asked)) == expected(live.recommend_for_history(history, 5))
    assert ids(api.post("/v1/recommend", json={"text": text, "k": 5})) == expected(live.recommend_for_text(text, 5))
    both = {**asked, "text": text, "text_weight": 0.7}
    assert ids(api.post("/v1/recommend", json=both)) == expected(
        live.recommend_for_history(history, 5, text=text, text_weight=0.7)
    )


def test_options_reach_the_recommender(api: httpx2.Client, live: LiveRecommender):
    filters = {"categories": ["w1"], "min_price": 2, "max_price": 20, "deny": ["i06"]}
    asked = {"user": "u01", "k": 9, "filters": filters, "leave_out_seen": False, "diversity": 0.4}
    options = Options(Filters(("w1",), (), 2.0, 20.0, None, ("i06",)), False, 0.4, 0.2)
    found = ids(api.post("/v1/recommend", json={**asked, "popularity_penalty": 0.2}))
    assert found == [line.item_id for line in live.recommend("u01", 9, options=options)]
    assert found and "i06" not in found
    assert ids(api.post("/v1/recommend", json={"user": "u01", "filters": {"allow": []}})) == []


@pytest.mark.parametrize(("path", "name"), [("/v1/recommend?user=u01&", "max_price"), ("/v1/users?", "k")])
def test_a_parameter_that_is_not_there_is_refused(api: httpx2.Client, path: str, name: str):
    """A filter that nobody reads would seem to hold."""
    answer = api.get(f"{path}{name}=1")
    assert answer.status_code == 422
    [entry] = answer.json()["errors"]
    assert (entry["field"], entry["in"]) == (name, "query")
    assert entry["accepted"] == (
        "prefix, limit" if "users" in path else "user, text, k, text_weight, diversity, fields, explain"
    )


def test_a_batch_is_its_single_lists(api: httpx2.Client):
    users = ["u05", "u01", "u05"]
    lists = api.post("/v1/recommend/batch", json={"users": users, "k": 4, "fields": True}).json()["lists"]
    singles = [api.post("/v1/recommend", json={"user": u, "k": 4, "fields": True}).json()["items"] for u in users]
    assert [[line["item_id"] for line in one] for one in lists] == [
        [line["item_id"] for line in one] for one in singles
    ]
    assert lists[0] == lists[2] and lists[0][0]["fields"]["item_id"] == lists[0][0]["item_id"]


def test_a_reason_adds_up_to_its_score(api: httpx2.Client):
    for line in api.get("/v1/recommend", params={"user": "u02", "explain": True}).json()["items"]:
        reason = line["reason"]
        parts = sum(reason[part] for part in ("language", "graph", "cross", "popularity", "sequence"))
        assert parts == pytest.approx(line["score"], abs=1e-5)
    one = api.post("/v1/explain", json={"item": line["item_id"], "user": "u02", "words": 3}).json()
    assert {word["word"] for word in one["words"]} <= set(
        api.get("/v1/item", params={"id": one["item_id"]}).json()["title"].split()
    ) | {"w5", "w6"} | {f"w{n}" for n in range(60)}
    assert one["score"] == pytest.approx(reason["score"])


def test_similar_items_leave_out_the_item(api: httpx2.Client, live: LiveRecommender):
    found = ids(api.get("/v1/similar", params={"item": "i03", "k": 6}))
    assert found == [line.item_id for line in live.similar_items("i03", 6)]
    assert len(found) == 6 and "i03" not in found


def test_place_keeps_nothing(api: httpx2.Client, live: LiveRecommender):
    asked = {"title": "w1 w2 w3", "categories": ["w4"], "price": 3.5, "k": 4}
    answer = api.post("/v1/place", json=asked).json()
    expected = live.place({"title": "w1 w2 w3", "categories": ["w4"], "price": 3.5}, 4)
    assert [line["item_id"] for line in answer["neighbours"]] == [line.item_id for line in expected.neighbours]
    assert [one["user_id"] for one in answer["users"]] == [one.user_id for one in expected.users]
    assert api.get("/v1/status").json()["counts"]["items_added"] == 0


def test_look_ups(api: httpx2.Client, live: LiveRecommender):
    assert api.get("/v1/item", params={"id": "i01"}).json() == live.item("i01")
    assert api.get("/v1/user", params={"id": "u07", "limit": 3}).json() == {
        "user": "u07",
        "history": live.history("u07", 3),
    }
    assert api.get("/v1/users", params={"prefix": "u1", "limit": 4}).json()["ids"] == ["u10", "u11", "u12", "u13"]
    assert api.get("/v1/items", params={"words": "i05"}).json()["ids"][0] == "i05"
    names = {one["name"]: one["items"] for one in api.get("/v1/categories").json()["names"]}
    assert names == dict(live.categories()) and names
    assert api.get("/v1/brands").json()["names"][0]["name"] in ("w5", "w6")
    assert api.get("/v1/model").json() == json.loads(json.dumps(live.card))
    can = api.get("/v1/status").json()["can"]
    assert can == live.can and all(can[what] for what in ("fold", "text", "gate"))


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user": "u01", "k": 0}, "k"),
        ({"user": "u01", "k": 201}, "k"),
        ({"user": "u01", "k": "many"}, "k"),
        ({"user": ""}, "user"),
        ({"user": "x" * 513}, "user"),
        ({"user": "a\x00b"}, "user"),
        ({"history": []}, "history"),
        ({"history": ["i01"] * 501}, "history"),
        ({"text": ""}, "text"),
        ({"text": "w" * 4001}, "text"),
        ({"user": "u01", "diversity": 1.1}, "diversity"),
        ({"user": "u01", "popularity_penalty": -1}, "popularity_penalty"),
        ({"user": "u01", "filters": {"min_price": -1}}, "filters.min_price"),
        ({"user": "u01", "filters": {"min_price": 2, "max_price": 1}}, "filters"),
        ({"user": "u01", "filters": {"colour": "red"}}, "filters.colour"),
        ({"user": "u01", "filters": {"allow": ["i01"] * 1001}}, "filters.allow"),
        ({"user": "u01", "surprise": 1}, "surprise"),
        ({"user": "u01", "history": ["i01"]}, "body"),
        ({}, "body"),
        ([], "body"),
    ],
)
def test_a_value_out_of_bounds_is_named(api: httpx2.Client, body: Any, field: str):
    answer = api.post("/v1/recommend", json=body)
    assert answer.status_code == 422
    assert field in fields(answer)
    assert fields(answer)[field]["message"]


def test_the_value_got_is_clipped(api: httpx2.Client):
    error = fields(api.post("/v1/recommend", json={"user": "x" * 100_000}))["user"]
    assert len(error["got"]) == 200 and error["accepted"] == {"max_length": 512}


@pytest.mark.parametrize(
    ("body", "kind", "status", "name"),
    [
        (b"{", "application/json", 400, "malformed"),
        (b"\xff\xfe{}", "application/json", 400, "malformed"),
        (b"[" * 100_000, "application/json", 400, "malformed"),
        (b'{"user": "u01", "k": ' + b"9" * 5000 + b"}", "application/json", 400, "malformed"),
        (b'{"user": "u01", "diversity": NaN}', "application/json", 422, "invalid"),
        (b'{"user": "u01", "diversity": 1e400}', "application/json", 422, "invalid"),
        (b'{"user": "\\ud800"}', "application/json", 400, "malformed"),
        (b'{"user": "u01"}', "text/plain", 415, "wrong-type"),
        (b"user=u01", "application/x-www-form-urlencoded", 415, "wrong-type"),
        (b"", "application/json", 400, "malformed"),
    ],
)
def test_a_body_that_is_no_request(api: httpx2.Client, body: bytes, kind: str, status: int, name: str):
    answer = api.post("/v1/recommend", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["type"] == f"/problems#{name}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/recommend?user=nobody", 404),
        ("GET", "/v1/similar?item=nothing", 404),
        ("GET", "/v1/item?id=nothing", 404),
        ("GET", "/v1/user?id=nobody", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/recommend/", 404),
        ("PUT", "/v1/recommend", 405),
        ("DELETE", "/v1/item", 422),
        ("GET", "/v1/users?limit=0", 422),
        ("GET", "/v1/items?words=%00", 422),
        ("GET", "/v1/recommend", 422),
    ],
)
def test_problems_have_a_status_a_type_and_the_requests_id(api: httpx2.Client, method: str, path: str, status: int):
    answer = api.request(method, path)
    assert answer.status_code == status
    problem = answer.json()
    assert problem["status"] == status and problem["type"].startswith("/problems#") and problem["title"]
    assert problem["instance"] == f"urn:recmind:request:{answer.headers['x-request-id']}"


@pytest.mark.parametrize("path", ["/healthz", "/v1/recommend?user=u01", "/", "/v1/nothing", "/static/page.css"])
def test_what_answers_get_answers_head_without_the_body(api: httpx2.Client, path: str):
    whole, head = api.get(path), api.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert api.head("/v1/explain").status_code == 405  # no GET, no HEAD


def test_a_model_that_reads_no_texts_says_so(serving: Any, bundled: Any):
    running = serving(of=bundled("lightgcn"))
    with running.client() as client:
        answer = client.get("/v1/recommend", params={"text": "w1"})
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems#cannot")
        assert len(ids(client.get("/v1/recommend", params={"user": "u01"}))) == 10
        assert client.get("/new").status_code == 200


def test_a_request_id_of_the_client_is_kept_where_it_is_plain(api: httpx2.Client):
    given = {"x-request-id": "order-17.4"}
    assert api.get("/healthz", headers=given).headers["x-request-id"] == "order-17.4"
    assert api.get("/healthz", headers={"x-request-id": "a b" * 50}).headers["x-request-id"] != "a b" * 50


# -- changes -----------------------------------------------------------------------------------------------------


def test_changes_count_at_once_and_after_a_restart(serving: Any, tmp_path: Any):
    changes = tmp_path / "changes.sqlite"
    first = serving(changes)
    with first.client() as client:
        added = client.post(
            "/v1/items", json={"items": [{"item_id": "n/1 ü", "title": "w1 w2", "price": 5}, {"item_id": "i01"}]}
        )
        assert added.json() == {"new": ["n/1 ü"]}
        pairs = [{"user": "late", "item": "n/1 ü"}, {"user": "late", "item": "i04"}, {"user": "u00", "item": "n/1 ü"}]
        assert client.post("/v1/interactions", json={"interactions": pairs}).json() == {"new": 3}
        assert client.get("/v1/user", params={"id": "late"}).json()["history"] == ["i04", "n/1 ü"]
        assert client.delete("/v1/item", params={"id": "i09"}).status_code == 204
        assert client.delete("/v1/user", params={"id": "u33"}).status_code == 204
        before = ids(client.get("/v1/recommend", params={"user": "late", "k": 30}))
    first.stop()
    with serving(changes).client() as client:
        assert ids(client.get("/v1/recommend", params={"user": "late", "k": 30})) == before
        assert client.get("/v1/item", params={"id": "n/1 ü"}).json()["title"] == "w1 w2"
        for path in ("/v1/item?id=i09", "/v1/user?id=u33", "/v1/recommend?user=u33"):
            assert client.get(path).status_code == 404
        counts = client.get("/v1/status").json()["counts"]
        assert (counts["items_added"], counts["items_deleted"], counts["users_deleted"]) == (1, 1, 1)


def test_a_change_with_an_unknown_item_changes_nothing(serving: Any):
    with serving().client() as client:
        pairs = [{"user": "late", "item": "i01"}, {"user": "late", "item": "nothing"}]
        assert client.post("/v1/interactions", json={"interactions": pairs}).status_code == 404
        assert client.get("/v1/user", params={"id": "late"}).status_code == 404
