"""Keys, errors, JSONP, CORS and pages of the platform APIs, the same for all endpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from cartoframes_lite.local import LocalCarto

Ask = Callable[..., requests.Response]
VIZ, KEYS, SYNCS = "/api/v1/viz", "/api/v3/api_keys", "/api/v1/synchronizations"


@pytest.fixture
def ask(carto: LocalCarto) -> Ask:
    """Send a request without a key, unless its arguments have one."""

    def send(path: str, *, method: str = "GET", **arguments: Any) -> requests.Response:
        return requests.request(method, carto.base_url + path, timeout=20, **arguments)

    return send


@pytest.fixture
def master(carto: LocalCarto) -> str:
    assert carto.credentials.api_key is not None
    return carto.credentials.api_key


@pytest.fixture
def regular(ask: Ask, master: str) -> str:
    """Create a regular key and return its token."""
    grants = [{"type": "apis", "apis": ["sql"]}, {"type": "database", "tables": []}]
    response = ask(KEYS, method="POST", params={"api_key": master}, json={"name": "other", "grants": grants})
    return str(response.json()["token"])


@pytest.mark.parametrize(
    ("path", "statuses"),
    [  # master, regular, default_public, unknown, none
        (SYNCS, (200, 401, 401, 401, 401)),
        ("/api/v1/imports", (200, 401, 401, 401, 401)),
        (VIZ, (200, 200, 200, 200, 200)),
        ("/api/v3/me", (200, 200, 200, 200, 200)),
        (KEYS, (200, 200, 200, 401, 401)),
    ],
)
def test_endpoints_need_a_key(ask: Ask, master: str, regular: str, path: str, statuses: tuple[int, ...]) -> None:
    keys = (master, regular, "default_public", "nonsense", None)
    responses = [ask(path, params={} if key is None else {"api_key": key}) for key in keys]
    assert tuple(response.status_code for response in responses) == statuses
    assert {response.text for response in responses if response.status_code == 401} <= {""}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"auth": ("tester", "MASTER")}, 200),
        ({"params": {"api_key": "MASTER"}}, 200),
        ({"json": {"api_key": "MASTER"}}, 200),
        ({"data": {"api_key": "MASTER"}}, 200),
        ({"params": [("api_key", "nonsense"), ("api_key", "MASTER")]}, 200),
        ({"auth": ("tester", "nonsense"), "params": {"api_key": "MASTER"}}, 401),
        ({"auth": ("somebody", "MASTER")}, 401),
        ({"auth": ("somebody", "MASTER"), "params": {"api_key": "MASTER"}}, 401),
        ({"headers": {"Authorization": "Basic ?"}, "params": {"api_key": "MASTER"}}, 401),
        ({"headers": {"Authorization": "Bearer x"}, "params": {"api_key": "MASTER"}}, 200),
        ({"headers": {"Authorization": "Bearer MASTER"}}, 401),
    ],
)
def test_the_header_comes_before_the_parameter(ask: Ask, master: str, sent: dict[str, Any], status: int) -> None:
    def with_key(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("MASTER", master)
        if isinstance(value, dict):
            return {name: with_key(item) for name, item in value.items()}
        return type(value)(with_key(item) for item in value)

    response = ask(SYNCS, **with_key(sent))
    assert response.status_code == status
    assert not response.cookies


def test_paths_have_three_prefixes(carto: LocalCarto, master: str) -> None:
    root = carto.base_url.partition("/user/")[0]
    for prefix in ("/user/tester", "/u/tester", ""):
        for end in ("", "/"):
            url = f"{root}{prefix}{SYNCS}{end}"
            assert requests.get(url, {"api_key": master}, timeout=10).json()["synchronizations"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/tables"), ("DELETE", "/api/v1/tables/x"), ("POST", "/api/v1/perm/x"), ("GET", "/api/v1/nope")],
)
def test_paths_that_do_not_exist(ask: Ask, master: str, method: str, path: str) -> None:
    assert ask(path, method=method, params={"api_key": master}).status_code == 404


@pytest.mark.parametrize("callback", ["shown", "$", "_a1$", "jQuery_1"])
def test_jsonp_calls_the_callback(ask: Ask, callback: str) -> None:
    response = ask(VIZ, params={"callback": callback})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert response.text.startswith(f"/**/{callback}({{")
    assert json.loads(response.text[len(callback) + 5 : -1])["visualizations"] == []


def test_jsonp_keeps_the_status(ask: Ask) -> None:
    response = ask(VIZ, params={"callback": "shown", "page": "0"})
    assert response.status_code == 400
    assert response.text == """/**/shown({"error":"Wrong 'page' parameter value."})"""


@pytest.mark.parametrize("callback", ["", "1a", "a.b", "alert(1)", "a b", "é", "a\n"])
def test_a_callback_must_be_a_name(ask: Ask, callback: str) -> None:
    response = ask(VIZ, params={"callback": callback})
    assert response.status_code == 400
    assert response.json() == {"errors": {"callback": "Invalid callback format"}}


def test_lists_of_imports_have_no_jsonp(ask: Ask, master: str) -> None:
    response = ask("/api/v1/imports", params={"callback": "shown", "api_key": master})
    assert response.json() == {"imports": [], "success": True}


def test_new_imports_have_jsonp(ask: Ask, master: str) -> None:
    parameters = {"callback": "shown", "api_key": master, "privacy": "nonsense"}
    response = ask("/api/v1/imports", method="POST", params=parameters)
    assert response.status_code == 400
    assert response.text.startswith('/**/shown({"errors":{"imports":')


@pytest.mark.parametrize("path", [VIZ, SYNCS, "/api/v1/imports", "/api/v4/datasets", "/api/v1/viz/nope"])
def test_security_headers(ask: Ask, path: str) -> None:
    headers = ask(path).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-XSS-Protection"] == "1; mode=block"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_version_4_is_open_to_other_origins(ask: Ask) -> None:
    for response in (ask("/api/v4/datasets"), ask("/api/v4/any/thing", method="OPTIONS")):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Methods"] == "*"
        assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "Access-Control-Allow-Origin" not in ask(VIZ).headers


@pytest.mark.parametrize("path", ["/api/v1/any/thing", VIZ, "/api/v4/datasets", "/api/v4/any/thing"])
def test_options_need_no_key(ask: Ask, path: str) -> None:
    response = ask(path, method="OPTIONS")
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"page": "0"}, "Wrong 'page' parameter value."),
        ({"page": "-1"}, "Wrong 'page' parameter value."),
        ({"page": "x"}, "Wrong 'page' parameter value."),
        ({"per_page": "0"}, "Wrong 'per_page' parameter value."),
        ({"per_page": "x1"}, "Wrong 'per_page' parameter value."),
    ],
)
def test_pages_are_positive(ask: Ask, master: str, parameters: dict[str, str], message: str) -> None:
    response = ask(KEYS, params={"api_key": master, **parameters})
    assert response.status_code == 400
    assert response.json() == {"errors": message, "errors_cause": None}
    response = ask(VIZ, params=parameters)
    assert (response.status_code, response.json()) == (400, {"error": message})


@pytest.mark.parametrize(
    ("parameters", "count"),
    [({"page": "", "per_page": ""}, 2), ({"page": "2"}, 0), ({"per_page": "1x"}, 1), ({"page": "9" * 30}, 0)],
)
def test_pages_are_lenient(ask: Ask, master: str, parameters: dict[str, str], count: int) -> None:
    response = ask(KEYS, params={"api_key": master, **parameters}).json()
    assert (response["total"], response["count"], len(response["result"])) == (2, count, count)


def test_pages_link_to_others(carto: LocalCarto, ask: Ask, master: str) -> None:
    def links(page: str) -> dict[str, list[tuple[str, str]]]:
        found = ask(KEYS, params={"page": page, "per_page": "1", "api_key": master, "z": "a b"}).json()["_links"]
        assert all(link["href"].startswith(carto.base_url + KEYS + "?") for link in found.values())
        return {name: parse_qsl(urlsplit(link["href"]).query) for name, link in found.items()}

    def query(page: str) -> list[tuple[str, str]]:
        return [("api_key", master), ("format", "json"), ("page", page), ("per_page", "1"), ("z", "a b")]

    assert links("1") == {"first": query("1"), "last": query("2"), "next": query("2")}
    assert links("2") == {"first": query("1"), "last": query("2"), "prev": query("1")}
