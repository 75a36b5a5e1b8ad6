from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
KUVIZ = "/api/v4/kuviz"
HTML = "<html><body>one</body></html>"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"
SHAPE = ["created_at", "id", "name", "privacy", "updated_at", "url"]


def encode(html: str) -> str:
    return base64.b64encode(html.encode()).decode()


def publish(call: Call, name: str, **details: Any) -> Any:
    made = call("POST", KUVIZ, {"name": name, "data": encode(HTML), **details})
    assert made.status == 200, made.body
    return made.json


def show(page: dict[str, Any], path: str = "", **form: str) -> requests.Response:
    method = "POST" if form else "GET"
    return requests.request(method, page["url"] + path, data=form or None, timeout=10)


def test_page_is_published_and_deleted(call: Call, carto: LocalCarto) -> None:
    page = publish(call, "p")
    assert sorted(page) == SHAPE
    assert (page["name"], page["privacy"], page["url"]) == ("p", "public", f"{carto.base_url}/kuviz/{page['id']}")
    shown = show(page)
    assert (shown.status_code, shown.text) == (200, HTML)
    assert shown.headers["Content-Type"].startswith("text/html")
    assert "X-Frame-Options" not in shown.headers
    assert shown.headers["Cache-Control"] == "no-cache,max-age=86400,must-revalidate,public"
    assert page["id"] in shown.headers["X-Cache-Channel"]
    assert shown.headers["Surrogate-Key"].startswith("rp rv:")
    deleted = call("DELETE", f"{KUVIZ}/{page['id']}")
    assert (deleted.status, deleted.body) == (204, b"")
    assert show(page).status_code == 404
    assert call("DELETE", f"{KUVIZ}/{page['id']}").status == 404


def test_password_is_asked_for(call: Call) -> None:
    page = publish(call, "p", password="secret", privacy="public")
    assert page["privacy"] == "password"
    for path in ("", "/protected"):
        form = show(page, path)
        assert (form.status_code, "Insert your password" in form.text, HTML in form.text) == (200, True, False)
    wrong = show(page, "/protected", password="wrong")
    assert (wrong.status_code, "Invalid password" in wrong.text, HTML in wrong.text) == (200, True, False)
    right = show(page, "/protected", password="secret")
    assert (right.status_code, right.text) == (200, HTML)
    assert "X-Frame-Options" not in right.headers
    assert show(publish(call, "q"), "/protected", password="secret").status_code == 404


@pytest.mark.parametrize("path", [f"/kuviz/{UNKNOWN}", f"/kuviz/{UNKNOWN}/protected", "/kuviz/fake-uuid"])
def test_unknown_page_is_not_found(call: Call, path: str) -> None:
    assert call("GET", path, key=None).status == 404


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None, "name": None}, "missing data parameter"),
        ({"data": " "}, "missing data parameter"),
        ({"name": None}, "missing name parameter"),
        ({"name": ""}, "missing name parameter"),
        ({"data": "not base64"}, "data parameter must be encoded in base64"),
        ({"data": encode("no page")}, "data parameter must be HTML"),
        ({"data": encode("<html\n>")}, "data parameter must be HTML"),
        ({"data": encode("<html" * 1_000_000)}, "data parameter must be HTML"),
        ({"privacy": "link"}, 'privacy mode not allowed. Allowed ones are ["public", "password"]'),
        ({"privacy": "password"}, "Changing privacy to protected should come along with the password param"),
        ({"name": "taken"}, "Validation failed: Name has already been taken"),
        ({"name": "taken", "if_exists": "fail"}, "Validation failed: Name has already been taken"),
        ({"data": "A" * (10 << 20)}, "Visualization over the size limit (10MB)"),
    ],
)
def test_invalid_page_is_refused(call: Call, changes: dict[str, Any], message: str) -> None:
    publish(call, "taken")
    refused = call("POST", KUVIZ, {"name": "n", "data": encode(HTML), **changes})
    assert (refused.status, refused.json) == (400, {"error": message})
    assert call("GET", KUVIZ).json["total_entries"] == 1


def test_unknown_value_of_if_exists(call: Call) -> None:
    for method, path in (("POST", KUVIZ), ("PUT", f"{KUVIZ}/{publish(call, 'p')['id']}")):
        refused = call(method, path, {"name": "n", "data": encode(HTML), "if_exists": "wrong"})
        message = "Wrong 'if_exists' parameter value. Valid values are one of fail, replace"
        assert (refused.status, refused.json) == (400, {"errors": message, "errors_cause": None})


def test_existing_page_is_replaced_by_name(call: Call) -> None:
    first = publish(call, "p")
    call("POST", "/api/v1/viz", {"name": "p"})  # a map of the same name does not count
    again = publish(call, "p", data=encode("<html>two</html>"), if_exists="replace")
    assert again["id"] == first["id"]
    assert show(first).text == "<html>two</html>"
    other = publish(call, "q")
    renamed = call("PUT", f"{KUVIZ}/{other['id']}", {"name": "p", "if_exists": "fail"})
    assert (renamed.status, renamed.json) == (400, {"error": "Validation failed: Name has already been taken"})
    assert call("PUT", f"{KUVIZ}/{other['id']}", {"name": "p"}).json["name"] == "p"
    assert [page["id"] for page in call("GET", KUVIZ).json["visualizations"]] == [other["id"]]
    assert call("GET", "/api/v1/viz", q="p").json["total_entries"] == 1


def test_page_is_updated(call: Call) -> None:
    page = publish(call, "p")
    path = f"{KUVIZ}/{page['id']}"
    assert call("PUT", path, {"data": encode("<html>two</html>")}).json["id"] == page["id"]
    assert show(page).text == "<html>two</html>"
    assert call("PUT", path, {"password": "kept only with the privacy"}).json["privacy"] == "public"
    assert call("PUT", path, {"privacy": "password", "password": "a"}).json["privacy"] == "password"
    assert call("PUT", path, {"password": "b"}).json["privacy"] == "password"
    assert "Invalid password" in show(page, "/protected", password="a").text
    assert show(page, "/protected", password="b").text == "<html>two</html>"
    assert call("PUT", path, {"privacy": "public"}).json["privacy"] == "public"
    assert show(page).text == "<html>two</html>"
    blank = call("PUT", path, {"name": ""})
    assert (blank.status, blank.json) == (400, {"error": "Validation failed: Name can't be blank"})
    assert call("PUT", f"{KUVIZ}/{UNKNOWN}", {"name": "x"}).status == 404


def test_list_of_pages(call: Call) -> None:
    pages = {name: publish(call, name, **details) for name, details in (("a", {}), ("c", {"password": "x"}), ("b", {}))}

    def names(**query: str) -> list[str]:
        found = call("GET", KUVIZ, **query).json
        assert sorted(found) == ["total_entries", "visualizations"]
        return [page["name"] for page in found["visualizations"]]

    assert call("GET", KUVIZ).json["visualizations"][0] == pages["b"]
    assert names() == ["b", "c", "a"]
    assert names(order="name") == ["c", "b", "a"]
    assert names(order="name", order_direction="asc", per_page="2", page="2") == ["c"]
    assert names(order="privacy", order_direction="desc")[-1] == "c"
    assert names(privacy="password") == ["c"]
    assert names(q="a", types="derived") == ["a"]
    refused = call("GET", KUVIZ, order="size")
    message = "Wrong 'order' parameter value. Valid values are one of [:name, :updated_at, :privacy]"
    assert (refused.status, refused.json) == (400, {"error": message})


def test_pages_are_visualizations(call: Call) -> None:
    page = publish(call, "p")
    [listed] = call("GET", "/api/v1/viz", types="kuviz").json["visualizations"]
    assert (listed["id"], listed["type"], listed["privacy"]) == (page["id"], "kuviz", "PUBLIC")
    assert call("GET", f"/api/v1/viz/{page['id']}", key=None).status == 200
    path, body = f"/api/v1/viz/{page['id']}", {"id": page["id"], "name": publish(call, "taken")["name"]}
    refused = call("PUT", path, body)
    assert (refused.status, refused.json) == (400, {"errors": ["Name has already been taken"]})
    assert call("DELETE", path).status == 204
    assert show(page).status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_the_master_key_publishes(call: Call, carto: LocalCarto, method: str) -> None:
    grants = [{"type": "apis", "apis": ["sql"]}]
    token = call("POST", "/api/v3/api_keys", {"name": "k", "grants": grants}).json["token"]
    body = {"name": "p", "data": encode(HTML)} if method == "POST" else None
    forbidden = {"errors": "You don't have permission to access that resource", "errors_cause": None}
    for key in (token, "default_public"):
        refused = call(method, KUVIZ, body, key=key)
        assert (refused.status, refused.json) == (403, forbidden)
    for key in (None, "unknown"):
        assert (call(method, KUVIZ, body, key=key).status, call(method, KUVIZ, body, key=key).body) == (401, b"")
    header = requests.request(
        method, carto.base_url + KUVIZ, json=body, auth=("tester", carto.credentials.api_key or ""), timeout=10
    )
    assert header.status_code == 403  # the key has to be a parameter


def test_apps_are_listed_apart(call: Call) -> None:
    app = call("POST", "/api/v4/app", {"name": "a", "data": encode(HTML)}).json
    assert app["url"].endswith(f"/app/{app['id']}")
    assert show(app).text == HTML
    listed = call("GET", "/api/v4/app").json
    assert (listed["apps"], listed["total_entries"]) == ([app], 1)
    assert call("GET", KUVIZ).json["total_entries"] == 0
