"""The page without a browser: every view, what it escapes, what it never asks for."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest

HTML = {"accept": "text/html"}
VIEWS = [
    "/",
    "/?who=user&user=u03",
    "/?who=user&user=u03&text=w1+w2&diversity=0.5&category=w4&brand=w5&min_price=1&max_price=25&k=5&seen=show",
    "/?who=history&history=i01&history=i02",
    "/?who=wish&text=w3+w4",
    "/?who=user&user=nobody",
    "/?who=user&user=u03&k=100000",
    "/item?id=i03",
    "/item?id=i28",
    "/item?id=nothing",
    "/new",
    "/model",
    "/api",
    "/problems",
    "/login",
]


class Page(HTMLParser):
    """Tags and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.mark.parametrize("path", VIEWS)
def test_a_view(api: httpx2.Client, path: str):
    answer = api.get(path, headers=HTML)
    expected = 404 if "nobody" in path or "nothing" in path else 422 if "100000" in path else 200
    assert answer.status_code == expected
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "'unsafe" not in answer.headers["content-security-policy"]
    page = Page(answer.text)
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) + len(page.all("main")) >= 1
    # The policy would stop these in a browser; nobody would see why.
    assert not [tag for tag, attributes in page.tags if "style" in attributes or tag == "style"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(script.get("src") for script in page.all("script"))
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "hx-get", "hx-post"):
            assert not re.match(r"(?i)\s*(https?:)?//|javascript:", attributes.get(name) or ""), attributes
    labelled = {label.get("for") for label in page.all("label")}
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for field in [*page.all("input"), *page.all("select"), *page.all("textarea")]:
        if field.get("type") not in ("hidden", "radio", "checkbox"):
            assert field.get("id") in labelled, field


def test_a_list_has_titles_texts_and_bars(api: httpx2.Client):
    text = api.get("/?who=user&user=u03&k=5", headers=HTML).text
    expected = api.get("/v1/recommend?user=u03&k=5&fields=true").json()["items"]
    for line in expected:
        assert line["fields"].get("title", line["item_id"]) in text
        assert f"score {line['score']:.3f}" in text
    assert text.count('class="why-bar"') == 5


def test_htmx_gets_the_part(api: httpx2.Client):
    answer = api.get("/?who=user&user=u03", headers={"hx-request": "true"})
    assert answer.status_code == 200 and "<html" not in answer.text and 'class="why-bar"' in answer.text
    assert answer.headers["vary"] == "HX-Request"
    wrong = api.get("/?who=user&user=nobody", headers={"hx-request": "true"})
    assert wrong.status_code == 404 and "<html" not in wrong.text and "no such user" in wrong.text
    back = api.get("/?who=user&user=u03", headers={"hx-request": "true", "hx-history-restore-request": "true"})
    assert "<html" in back.text


ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_what_people_send_is_shown_and_not_run(serving: Any):
    with serving().client() as client:
        fields = dict.fromkeys(("title", "brand", "attributes", "description"), ATTACK)
        item = {"item_id": ATTACK, **fields, "categories": [ATTACK]}
        assert client.post("/v1/items", json={"items": [item]}).status_code == 200
        client.post(
            "/v1/interactions",
            json={"interactions": [{"user": ATTACK, "item": ATTACK}, {"user": ATTACK, "item": "i04"}]},
        )
        query = {"who": "user", "user": ATTACK, "text": ATTACK, "seen": "show", "k": "50"}
        seen = [
            client.get("/", params=query, headers=HTML),
            client.get(
                "/",
                params={**query, "brand": ATTACK, "category": ATTACK, "min_price": ATTACK, "k": ATTACK},
                headers=HTML,
            ),
            client.get("/item", params={"id": ATTACK}, headers=HTML),
            client.get("/item", params={"id": f"no{ATTACK}"}, headers=HTML),
            client.get("/history", params={"history": ATTACK}),
            client.get("/suggest/items", params={"find": ATTACK}),
            client.get("/suggest/users", params={"user": ATTACK}),
            client.get("/words", params={**query, "item": ATTACK}, headers={"hx-request": "1"}),
            client.post("/new", data={"title": ATTACK, "price": ATTACK}, headers=HTML),
            client.get(f"/{ATTACK}", headers=HTML),
        ]
        for answer in seen:
            assert answer.status_code < 500
            if answer.headers["content-type"].startswith("text/html"):
                assert "<script>alert" not in answer.text and "<img" not in answer.text
        assert "&lt;script&gt;alert(1)" in seen[0].text


def test_history_chips(api: httpx2.Client):
    answer = api.get("/history", params={"history": ["i01", "i02", "gone"], "add": "i05", "drop": "i01"})
    assert re.findall(r'name="history" value="(\w+)"', answer.text) == ["i02", "i05"]
    assert answer.headers["hx-trigger-after-settle"] == "chosen"


def test_a_new_item_is_placed(api: httpx2.Client):
    page = api.post("/new", data={"title": "w1 w2 w3", "categories": "w4, w5", "price": "3"}, headers=HTML)
    part = api.post(
        "/new", data={"title": "w1 w2 w3", "categories": "w4, w5", "price": "3"}, headers={"hx-request": "true"}
    )
    expected = api.post("/v1/place", json={"title": "w1 w2 w3", "categories": ["w4", "w5"], "price": 3, "k": 8}).json()
    for text in (page.text, part.text):
        assert [one["user_id"] for one in expected["users"]] == re.findall(r'user=(u\d\d)"', text)
    nothing = api.post("/new", data={"title": " "}, headers={"hx-request": "true"})
    assert nothing.status_code == 422 and "Write a title" in nothing.text


def test_the_model_page_says_what_the_card_says(api: httpx2.Client, live: Any):
    text = api.get("/model", headers=HTML).text
    assert live.bundle_id in text
    assert all(limit.replace("'", "&#39;") in text for limit in live.card["limits"])
    assert f"{live.card['test']['recall@20']:.4f}" in text
    assert text.count('class="chart"') >= 3


def test_below_a_proxys_path(serving: Any):
    """The proxy takes its path away before it asks; links have it all the same."""
    running = serving(root_path="/shop")
    with running.client() as client:
        page = Page(client.get("/?who=user&user=u03", headers=HTML).text)
        links = [a["href"] for a in page.all("a")] + [link["href"] for link in page.all("link")]
        assert links and all((link or "").startswith(("/shop/", "#")) for link in links)
        assert client.get("/static/page.css").status_code == 200
        assert client.get("/v1/recommend?user=nobody").json()["type"] == "/shop/problems#unknown-id"


def test_static_files_are_files(api: httpx2.Client):
    assert api.get("/static/htmx-2.0.11.min.js").status_code == 200
    for path in ("/static/../guard.py", "/static/%2e%2e/guard.py", "/static/", "/static/none.css"):
        assert api.get(path).status_code == 404


def _requests(log: Any) -> list[dict[str, Any]]:
    """The lines of requests that are whole."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in lines if line["event"] == "request" and line["route"] != "/readyz"]


def test_nothing_about_a_person_is_logged(serving: Any, bundle: Any, in_process: Any, tmp_path: Any):
    log = tmp_path / "log"
    with (
        in_process(bundle, "--forget-changes", log=log) as (_, url),
        httpx2.Client(base_url=url, timeout=300) as client,
    ):
        client.get("/v1/recommend", params={"user": "u03", "text": "w7 w8"})
        client.get("/", params={"who": "user", "user": "u03"}, headers=HTML)
        client.post("/v1/recommend", json={"user": "secretive", "k": 0}, headers={"authorization": "Bearer secretive"})
        client.get("/v1/recommend?user=secretive")
        until = time.monotonic() + 60  # an answer is there before its line
        while len(requests := _requests(log)) < 4 and time.monotonic() < until:
            time.sleep(0.05)
    assert [line["route"] for line in requests] == ["/v1/recommend", "/", "/v1/recommend", "/v1/recommend"]
    assert {"time", "level", "event", "request_id", "method", "route", "status", "ms", "key"} == requests[0].keys()
    for word in ("u03", "w7", "secretive", "127.0.0.1:"):
        assert word not in "".join(json.dumps(line) for line in requests)
