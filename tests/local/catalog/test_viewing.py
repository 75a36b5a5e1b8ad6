"""Who may view datasets and maps, favorites, watching and publishing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map

NOT_VIEWABLE = {"errors": "Visualization not viewable", "errors_cause": None}
PROTECTED = {
    "errors": "Visualization not viewable",
    "errors_cause": "privacy_password",
    "visualization": {"privacy": "password", "user": {"google_maps_query_string": None}},
}
PATHS = ["/api/v1/viz/{}", "/api/v2/viz/{}/viz", "/api/v3/viz/{}/viz"]


def publish(call: Call, a_map: Any) -> Any:
    published = call("POST", f"/api/v3/viz/{a_map['id']}/mapcaps")
    assert published.status == 201, published.body
    return published.json


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("privacy", "status"), [("public", 200), ("link", 200), ("private", 403), ("password", 403)])
@pytest.mark.parametrize("kind", ["dataset", "published map", "unpublished map", "map of the editor"])
def test_who_may_view(call: Call, kind: str, privacy: str, status: int, path: str) -> None:
    one = make_dataset(call, "t")
    if "map" in kind:
        one = make_map(call, "m", "t", version=3)
    if kind == "published map":
        publish(call, one)
    if kind == "map of the editor":
        change(call, one, version=2)
    change(call, one, privacy=privacy, password="open")
    url = path.format(one["id"])
    assert call("GET", url).status == 200
    for key in (None, "wrong", "default_public"):
        seen = call("GET", url, key=key)
        assert seen.status == (403 if kind == "unpublished map" else status)
        if seen.status == 403:
            assert seen.json == (PROTECTED if privacy == "password" else NOT_VIEWABLE)
    for password, expected in (("open", 200), ("wrong", 403), ("", 403)):
        if privacy == "password":
            assert call("GET", url, key=None, password=password).status == expected


@pytest.mark.parametrize("path", [*PATHS, "/api/v2/viz/{}/static/10/10.png", "/api/v1/viz/{}/watching"])
def test_unknown_is_told_from_not_viewable(call: Call, path: str) -> None:
    for key in (None, "master"):
        extra = {} if key else {"key": None}
        for unknown in (uuid.uuid4(), "nothing", "other_schema.t"):
            missing = call("GET", path.format(unknown), **extra)
            expected = {"errors": "Visualization does not exist", "errors_cause": None}
            assert (missing.status, missing.json) == (404, expected)


def test_unknown_user_in_the_path(call: Call, carto: LocalCarto) -> None:
    public = make_dataset(call, "t", privacy="public")
    secret = make_dataset(call, "u")
    root = carto.base_url.removesuffix("tester")
    for path, status, body in (
        ("", 400, {"error": "Wrong 'username' parameter value."}),
        (f"/{public['id']}", 404, {"errors": "Visualization of that user does not exist", "errors_cause": None}),
        (f"/{secret['id']}", 403, NOT_VIEWABLE),
        ("/t", 404, {"errors": "Visualization does not exist", "errors_cause": None}),
    ):
        for parameters in ({}, {"api_key": carto.credentials.api_key}):
            seen = requests.get(f"{root}nobody/api/v1/viz{path}", params=parameters, timeout=60)
            assert (seen.status_code, seen.json()) == (status, body)
    assert requests.delete(f"{root}nobody/api/v1/viz/t", timeout=60).status_code == 401


def test_any_other_privacy_forgets_the_password(call: Call) -> None:
    one = make_dataset(call, "t", privacy="password", password="open")
    assert change(call, one, privacy="password")["privacy"] == "PASSWORD"
    change(call, one, privacy="link")
    refused = call("PUT", f"/api/v1/viz/{one['id']}", {"id": one["id"], "privacy": "password"})
    assert refused.json == {"errors": ["Password required for protected visualization"]}


@pytest.mark.parametrize(("privacy", "status"), [("public", 200), ("link", 200), ("private", 403), ("password", 403)])
def test_privacy_of_a_dataset_is_a_grant(call: Call, privacy: str, status: int) -> None:
    make_dataset(call, "t", privacy=privacy, password="open")
    assert call("GET", "/api/v2/sql", q="SELECT * FROM t", key=None).status == status


def test_favorites(call: Call) -> None:
    one = make_dataset(call, "t", privacy="public")
    path, identity = f"/api/v1/viz/{one['id']}/like", one["id"]
    expected = {"id": identity, "liked": True}
    assert (call("POST", path).json, call("GET", "/api/v1/viz/t", show_liked="true").json["liked"]) == (expected, True)
    again = call("POST", path)
    assert (again.status, again.json) == (400, {"text": "You've already favorited this visualization"})
    found = call("GET", "/api/v1/viz", type="table", only_liked="true").json
    assert ([item["id"] for item in found["visualizations"]], found["total_likes"]) == ([identity], 1)
    assert call("GET", "/api/v1/viz", type="table", key=None).json["visualizations"][0]["liked"] is False
    for _ in range(2):
        removed = call("DELETE", path)
        assert (removed.status, removed.json) == (200, {"id": identity, "liked": False})
    assert call("GET", "/api/v1/viz", type="table", only_liked="true").json["total_entries"] == 0


def test_watching_ends_after_a_minute(call: Call, carto: LocalCarto) -> None:
    path = f"/api/v1/viz/{make_dataset(call, 't')['id']}/watching"
    assert call("GET", path).json == []
    assert call("PUT", path).json == call("GET", path).json == ["tester"]
    carto.advance_clock(61)
    assert call("GET", path).json == []


@pytest.mark.parametrize(
    ("method", "action"), [("POST", "like"), ("DELETE", "like"), ("GET", "watching"), ("PUT", "watching")]
)
def test_favorites_and_watching_need_the_master_key(call: Call, method: str, action: str) -> None:
    path = f"/api/v1/viz/{make_dataset(call, 't', privacy='public')['id']}/{action}"
    refused = call(method, path, key=None)
    assert (refused.status, refused.body) == (403, b"")
    change(call, call("GET", "/api/v1/viz/t").json, privacy="private")
    assert call(method, path, key=None).json == NOT_VIEWABLE


def test_publishing(call: Call) -> None:
    make_dataset(call, "t")
    a_map = make_map(call, "m", "t")
    path = f"/api/v3/viz/{a_map['id']}/mapcaps"
    first, second = publish(call, a_map), publish(call, a_map)
    layers = call("GET", f"/api/v1/maps/{a_map['map_id']}/layers").json["layers"]
    related = {
        "visualization_id": a_map["id"],
        "map_id": a_map["map_id"],
        "layers": [{"layer_id": layer["id"], "widgets": []} for layer in layers],
    }
    assert (set(second), second["related_ids"]) == ({"id", "related_ids", "created_at"}, related)
    assert call("GET", path).json == [second]
    assert call("GET", f"{path}/{second['id']}").json == second
    gone = call("GET", f"{path}/{first['id']}")
    assert (gone.status, gone.json["errors"]) == (404, f"Mapcap not found: {first['id']}")
    deleted = call("DELETE", f"{path}/{second['id']}")
    assert (deleted.status, deleted.body, call("GET", path).json) == (204, b"", [])


def test_what_cannot_be_published(call: Call) -> None:
    dataset = make_dataset(call, "t")
    for unknown in (dataset["id"], str(uuid.uuid4())):
        refused = call("POST", f"/api/v3/viz/{unknown}/mapcaps")
        assert (refused.status, refused.json["errors"]) == (404, f"Visualization not found: {unknown}")
    refused = call("POST", "/api/v3/viz/t/mapcaps")
    message = "Parameter not UUID format. Parameter: visualization_id. Value: t"
    assert (refused.status, refused.json["errors"]) == (400, message)
    assert call("POST", f"/api/v3/viz/{dataset['id']}/mapcaps", key=None).status == 401
