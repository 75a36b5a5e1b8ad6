"""Errors of maps: responses of the server, and exceptions of the client."""

from __future__ import annotations

from copy import deepcopy

import geopandas as gpd
import pytest
import requests
from shapely.geometry import box

import cartoframes_lite as cfl
import cartoframes_lite.local

SQUARES = gpd.GeoDataFrame({"n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326)
STYLED = {"cartocss": "#layer { polygon-fill: #f00; }", "cartocss_version": "2.3.0"}
TEMPLATE = {
    "version": "0.0.1",
    "name": "one",
    "auth": {"method": "token", "valid_tokens": ["open sesame"]},
    "placeholders": {"least": {"type": "number", "default": 0}},
    "layergroup": {
        "version": "1.7.0",
        "layers": [
            {"type": "cartodb", "options": {"sql": "SELECT * FROM squares WHERE n >= <%= least %>", **STYLED}},
        ],
    },
}


@pytest.fixture
def account(credentials):
    SQUARES.carto.to_table("squares", credentials)
    return credentials


@pytest.fixture
def send(account):
    """Return a function that sends a request to the Maps API, with the key of the owner by default."""

    def request(method, path, *, key=account.api_key, **arguments):
        given = {} if key is None else {"api_key": key}
        given |= arguments.pop("params", {})
        found = requests.request(method, f"{account.base_url}/api/v1/map{path}", params=given, timeout=10, **arguments)
        return found.status_code, found.json()

    return request


def error_body(message, **context):
    """Return the body of an error response."""
    return {"errors": [message], "errors_with_context": [{"type": "unknown", "message": message} | context]}


def template_with(**members):
    return {**deepcopy(TEMPLATE), **members}


INVALID_TEMPLATES = {
    "no name": ({"name": None}, "Missing template name"),
    "name": ({"name": "!no"}, "Invalid characters in template name '!no'"),
    "version": ({"version": "9.9.9"}, "Unsupported template version 9.9.9"),
    "no layergroup": ({"layergroup": None}, "Missing layergroup"),
    "placeholder": ({"placeholders": {"!": {"type": "number"}}}, "Invalid characters in placeholder name '!'"),
    "no default": ({"placeholders": {"least": {"type": "number"}}}, "Missing default for placeholder 'least'"),
    "no type": ({"placeholders": {"least": {"default": 0}}}, "Missing type for placeholder 'least'"),
    "method": ({"auth": {"method": "magic"}}, "Unsupported authentication method: magic"),
    "no tokens": (
        {"auth": {"method": "token", "valid_tokens": []}},
        "Invalid 'token' authentication: no valid_tokens",
    ),
}


@pytest.mark.parametrize(("members", "message"), INVALID_TEMPLATES.values(), ids=INVALID_TEMPLATES)
def test_invalid_templates_are_rejected(members, message, account, send):
    template = {name: item for name, item in template_with(**members).items() if item is not None}
    assert send("POST", "/named", json=template) == (400, error_body(message))
    with pytest.raises(cfl.SQLError) as caught:
        cfl.NamedMap.create(template, account)
    assert message in str(caught.value)
    assert cfl.NamedMap.list(account) == []


def test_placeholder_values_are_type_checked(account, send):
    named = cfl.NamedMap.create(TEMPLATE, account)
    message = "Invalid number value for template parameter 'least': x"
    status, body = send("POST", "/named/one", json={"least": "x"}, params={"auth_token": "open sesame"})
    assert (status, body["errors"]) == (400, [message])
    with pytest.raises(cfl.SQLError, match="Invalid number value"):
        named.instantiate({"least": "x"}, "open sesame").tile_url()


@pytest.mark.parametrize("token", ["wrong", None])
def test_named_maps_require_a_valid_token(token, account, send):
    named = cfl.NamedMap.create(TEMPLATE, account)
    message = "Unauthorized template instantiation"
    status, body = send("POST", "/named/one", key=None, json={}, params={} if token is None else {"auth_token": token})
    assert (status, body["errors"]) == (403, [message])
    with pytest.raises(cfl.PermissionDenied, match=message):
        named.instantiate(auth_token=token).tile_url()
    shown = named.instantiate(auth_token="open sesame")
    tile = shown.tile_url(0, "mvt").format(z=0, x=0, y=0)
    assert requests.get(tile.partition("?")[0], timeout=10).status_code == 403
    assert requests.get(tile, timeout=10).status_code == 200


def test_tokens_work_with_a_key_without_grants(account):
    SQUARES.carto.to_table("other", account)
    cfl.NamedMap.create(TEMPLATE, account)
    key = cfl.Client(account).api_keys.create("reader", tables={"other": "r"}).token
    reader = cfl.Credentials("tester", key, base_url=account.base_url)
    shown = cfl.NamedMap("one", reader).instantiate(auth_token="open sesame")
    assert shown.static_image(10, 10, center=(0, 0), zoom=0).startswith(b"\x89PNG")
    assert "image/png" in shown._repr_mimebundle_()


def test_private_tables_are_denied_to_default_public(account, send):
    config = {"layers": [{"type": "cartodb", "options": {"sql": "SELECT * FROM squares", **STYLED}}]}
    status, body = send("POST", "", key=None, json=config)
    assert status == 403
    assert body["errors"] == ["permission denied for table squares"]
    everybody = cfl.Credentials("tester", base_url=account.base_url)
    with pytest.raises(cfl.PermissionDenied, match="default_public") as caught:
        cfl.AnonymousMap(config, everybody).tile_url()
    [cause] = caught.value.contexts
    assert cause["message"] == "permission denied for table squares"


@pytest.mark.parametrize("place", ["1/0/2", "1/0/-1", "31/0/0", "-1/0/0", "a/b/c"])
def test_tiles_out_of_range_are_rejected(place, account, send):
    shown = cfl.Dataset("squares", account).map("#layer { polygon-fill: #f00; }")
    status, body = send("GET", f"/{shown.layergroup_id}/{place}.png")
    assert status == 400
    assert body["errors"][0].startswith("Invalid tile")


def test_unknown_layergroups_are_rejected(account, send):
    message = "Invalid or nonexistent map configuration token 'abcdef'"
    status, body = send("GET", "/abcdef/0/0/0.png")
    assert status in (400, 404)
    assert body["errors"] == [message]


@pytest.mark.parametrize("layer", [7, -1])
def test_unknown_layers_are_rejected(layer, account, send):
    shown = cfl.Dataset("squares", account).map()
    assert send("GET", f"/{shown.layergroup_id}/7/0/0/0.png")[1]["errors"] == ["Layer '7' not found in layergroup"]
    with pytest.raises(ValueError, match="the map has layers 0 to 0"):
        shown.tile_url(layer)
    with pytest.raises(cfl.APIError, match="ayer"):
        shown.attributes(layer, 1)


def test_unknown_dataviews_are_rejected(account):
    with pytest.raises(cfl.APIError, match="nothing"):
        cfl.Dataset("squares", account).map().dataview("nothing")


def test_slow_maps_hit_the_statement_timeout():
    slow = "SELECT *, pg_sleep(3)::text AS waited FROM squares"
    with cartoframes_lite.local.start(user="tester", statement_timeout_s=0.5) as server:
        SQUARES.carto.to_table("squares", server.credentials)
        layer = {"type": "cartodb", "options": {"sql": slow, **STYLED, "interactivity": "waited"}}
        shown = cfl.AnonymousMap([layer], server.credentials)
        picture = requests.get(shown.tile_url(0, "mvt").format(z=0, x=0, y=0), timeout=10)
        assert picture.status_code == 429
        assert picture.headers["content-type"].startswith("application/x-protobuf")  # a tile that says so
        drawn = requests.get(shown.tile_url(0, "grid.json").format(z=0, x=0, y=0), timeout=10)
        assert drawn.status_code == 429
        [cause] = drawn.json()["errors_with_context"]
        assert (cause["type"], cause["subtype"]) == ("limit", "datasource")
        config = {
            "layers": [layer],
            "dataviews": {
                "n": {"type": "formula", "source": {"id": "a"}, "options": {"operation": "count", "column": "waited"}}
            },
            "analyses": [{"id": "a", "type": "source", "params": {"query": slow}}],
        }
        with pytest.raises(cfl.QueryTimeout):
            cfl.AnonymousMap(config, server.credentials).dataview("n")


@pytest.mark.parametrize("words", [{"popup": True}, {"hover": "n"}], ids=["popup", "hover"])
def test_popups_without_id_are_refused_at_once(words, account):
    query = "SELECT n, the_geom_webmercator FROM squares"
    with pytest.raises(ValueError, match="popup and hover need the column cartodb_id"):
        cfl.Map(cfl.Layer(query, **words), account)
