"""Who may do what: keys, roles, hosts, origins, rates, the page's login."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from recmind.errors import ConfigError, DataError
from recmind.serving.http.keys import digest, make_key, read_keys, revoke_key
from recmind.serving.http.sessions import COOKIE, Sessions
from recmind.serving.http.settings import ServeSettings


@pytest.fixture
def keyed(tmp_path: Path, serving: Any) -> Any:
    """A server with a key for each role."""
    path = tmp_path / "keys.json"
    secrets = {role: make_key(path, f"the-{role}", role) for role in ("read", "write", "admin")}
    return serving(keys=path), secrets, path


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


# -- keys --------------------------------------------------------------------------------------------------------


def test_the_file_holds_no_key_and_is_for_its_owner(tmp_path: Path):
    path = tmp_path / "below" / "keys.json"
    secret = make_key(path, "shop", "read")
    content = path.read_text()
    assert secret not in content and digest(secret) in content
    assert path.stat().st_mode & 0o777 == 0o600
    found = read_keys(path).find(secret)
    assert found is not None and (found.name, found.role) == ("shop", "read")
    assert read_keys(path).find(secret[:-1]) is None


def test_keys_are_told_apart_and_revoked(tmp_path: Path):
    path = tmp_path / "keys.json"
    first, second = make_key(path, "a", "read"), make_key(path, "b", "admin")
    with pytest.raises(DataError, match="there is a key with this name"):
        make_key(path, "a", "read")
    revoke_key(path, "a")
    keys = read_keys(path)
    assert keys.find(first) is None and keys.find(second) is not None
    with pytest.raises(DataError, match="no key with this name"):
        revoke_key(path, "a")


def test_keys_that_cannot_be_trusted_are_refused(tmp_path: Path):
    path = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="no such file"):
        read_keys(path)
    make_key(path, "a", "read")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others on this machine"):
        read_keys(path)
    path.chmod(0o600)
    path.write_text(path.read_text().replace('"read"', '"owner"'))
    with pytest.raises(ConfigError, match="damaged"):
        read_keys(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(path)


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "10.0.0.7"}, {"proxy": "127.0.0.1"}])
def test_without_keys_only_loopback(options: dict[str, str]):
    with pytest.raises(ConfigError, match="needs API keys"):
        ServeSettings(**options)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str):
    assert ServeSettings(host=host).answered_hosts == {"localhost", "127.0.0.1", "[::1]"}


# -- on the wire -------------------------------------------------------------------------------------------------


def test_every_path_but_health_and_login_needs_a_key(keyed: Any):
    running, secrets, _ = keyed
    with running.client() as client:
        schema = client.get("/openapi.json", headers=bearer(secrets["read"])).json()
        paths = [(method, path) for path, methods in schema["paths"].items() for method in methods]
        assert len(paths) > 20
        for method, path in [*paths, ("get", "/"), ("get", "/model"), ("post", "/new"), ("get", "/openapi.json")]:
            answer = client.request(method, path)
            assert answer.status_code == (200 if path in ("/healthz", "/readyz") else 401), (method, path)
        for path in ("/login", "/problems", "/static/page.css"):
            assert client.get(path).status_code == 200


def test_roles_of_every_route(keyed: Any):
    """Each route with each key: whoever may not is refused before anything is looked at."""
    running, secrets, _ = keyed
    writes = {("post", "/v1/items"), ("post", "/v1/interactions"), ("delete", "/v1/item"), ("delete", "/v1/user")}
    admins = {("post", "/v1/reload")}
    with running.client() as client:
        schema = client.get("/openapi.json", headers=bearer(secrets["read"])).json()
        routes = {(method, path) for path, methods in schema["paths"].items() for method in methods}
        assert writes | admins <= routes
        for method, path in sorted(routes - {("get", "/healthz"), ("get", "/readyz")}):
            for role in ("read", "write"):
                needed = "admin" if (method, path) in admins else "write" if (method, path) in writes else "read"
                refused = needed == "admin" or (needed == "write" and role == "read")
                answer = client.request(method, path, headers=bearer(secrets[role]))
                assert (answer.status_code == 403) == refused, (method, path, role, answer.status_code)
        assert client.post("/v1/reload", headers=bearer(secrets["admin"])).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer " + "x" * 10_000},
        {"authorization": "bearer \xff\xfe".encode("latin-1")},
        {"authorization": "Bearer a b c"},
        {"x-api-key": "wrong"},
        {"cookie": f"{COOKIE}=forged.forged"},
        {"cookie": f"{COOKIE}=" + "é" * 10},
        {"cookie": "=;=;\"'"},
        {"authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_wrong_keys(keyed: Any, headers: dict[str, Any]):
    running, _, _ = keyed
    with running.client() as client:
        answer = client.get(
            "/v1/status", headers={k: v.encode("utf-8") if isinstance(v, str) else v for k, v in headers.items()}
        )
        assert answer.status_code == 401
        assert answer.json()["type"] in ("/problems#no-key", "/problems#wrong-key")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_in_either_header(keyed: Any):
    running, secrets, _ = keyed
    with running.client() as client:
        assert client.get("/v1/status", headers=bearer(secrets["read"])).status_code == 200
        assert client.get("/v1/status", headers={"x-api-key": secrets["read"]}).status_code == 200


def test_guessing_is_slowed(keyed: Any):
    running, secrets, _ = keyed
    with running.client() as client:
        found = [client.get("/v1/status", headers=bearer(f"guess{n}")).status_code for n in range(40)]
        assert found[:20] == [401] * 20 and 429 in found[20:]
        assert client.get("/v1/status", headers=bearer(secrets["read"])).status_code == 200


def test_a_revoked_key_ends_with_the_signal(tmp_path: Path, bundle: Path, in_process: Any):
    path = tmp_path / "keys.json"
    kept, lost = make_key(path, "kept", "read"), make_key(path, "lost", "read")
    with in_process(bundle, "--keys", path, "--forget-changes", log=tmp_path / "log") as (child, url):
        assert httpx2.get(f"{url}/v1/status", headers=bearer(lost)).status_code == 200
        revoke_key(path, "lost")
        os.kill(child.pid, signal.SIGHUP)
        for _ in range(100):
            if httpx2.get(f"{url}/v1/status", headers=bearer(lost)).status_code == 401:
                break
            time.sleep(0.1)
        assert httpx2.get(f"{url}/v1/status", headers=bearer(lost)).status_code == 401
        assert httpx2.get(f"{url}/v1/status", headers=bearer(kept)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:99", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("", 400),
    ],
)
def test_a_server_without_keys_answers_to_this_machines_names(api: httpx2.Client, host: str, status: int):
    assert api.get("/v1/status", headers={"host": host}).status_code == status


def test_named_hosts(serving: Any):
    with serving(hosts=("shop.example",)).client() as client:
        assert client.get("/v1/status", headers={"host": "shop.example"}).status_code == 200
        assert client.get("/v1/status").status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_another_sites_page_cannot_send(api: httpx2.Client, headers: dict[str, str], status: int):
    assert api.post("/v1/recommend", json={"user": "u01"}, headers=headers).status_code == status


def test_rates(serving: Any):
    with serving(rate=1.0, burst=5).client() as client:
        answers = [client.get("/v1/status") for _ in range(8)]
        codes = [answer.status_code for answer in answers]
        assert codes[:5] == [200] * 5 and codes[-1] == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200


def test_a_text_costs_more(serving: Any):
    with serving(rate=0.001, burst=25, text_cost=20).client() as client:
        codes = [client.get("/v1/recommend", params={"text": "w1"}).status_code for _ in range(2)]
        assert codes == [200, 429]


# -- the page's login --------------------------------------------------------------------------------------------


def test_login_gives_a_cookie_that_only_the_page_can_use(keyed: Any):
    running, secrets, _ = keyed
    with running.client() as client:
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
        assert client.post("/login", data={"key": "wrong"}).status_code == 401
        answer = client.post("/login", data={"key": secrets["read"]})
        cookie = answer.headers["set-cookie"].lower()
        assert answer.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie
        assert secrets["read"] not in cookie
        assert client.get("/", headers={"accept": "text/html"}).status_code == 200
        assert client.post("/v1/items", json={}).status_code == 403
        client.post("/logout")
        assert client.get("/", headers={"accept": "text/html"}).status_code == 303


def test_a_session_is_signed_and_ends():
    now = [1000.0]
    sessions = Sessions(clock=lambda: now[0])
    cookie = sessions.make("ab" * 32)
    assert sessions.read(cookie) == "ab" * 32
    content, _, signature = cookie.rpartition(".")
    for forged in (
        cookie[:-1],
        f"{content}.{'0' * len(signature)}",
        f"x{cookie}",
        "",
        ".",
        "é.é",
        Sessions().make("ab" * 32),
    ):
        assert sessions.read(forged) is None
    now[0] += 13 * 3600
    assert sessions.read(cookie) is None
