from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from xyzservices import TileProvider

import cartoframes_lite as cfl
from cartoframes_lite._client.maps import Maps
from cartoframes_lite.errors import NotFound, PermissionDenied, SQLError
from cartoframes_lite.maps import AnonymousMap, NamedMap
from tests.http_servers import KEY, ScriptedServer, response

LAYER = {"type": "cartodb", "options": {"sql": "SELECT 1"}}
METADATA = {"layers": [{"type": "mapnik", "id": name} for name in "abc"]}
PRIVATE = response("403 Forbidden", b'{"error": ["permission denied for table t"]}')
GONE = b'{"errors": ["Invalid or nonexistent map configuration token"], "errors_with_context": []}'
FORMULA = b'{"type": "formula", "operation": "count", "result": 7, "nulls": 0}'


def group(identity: str = "abc:1", **members: object) -> bytes:
    answer = {"layergroupid": identity, "metadata": METADATA, "last_updated": "2026-01-02T03:04:05.000Z"} | members
    return response("200 OK", json.dumps(answer).encode())


def account(
    scripted_server: ScriptedServer, key: str | None = KEY, session: requests.Session | None = None
) -> cfl.Credentials:
    return cfl.Credentials("ann", key, base_url=scripted_server.base_url, session=session)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Return a session, with which requests are sent one after the other, so that their order is known."""
    with requests.Session() as session:
        yield session


def lines(scripted_server: ScriptedServer) -> list[str]:
    scripted_server.close()
    return [head.split(b"\r\n")[0].decode() for head in scripted_server.heads]


def test_a_map_is_instantiated_once_on_first_use(scripted_server: ScriptedServer) -> None:
    scripted_server.play(group())
    shown = AnonymousMap([LAYER], account(scripted_server))
    assert shown.layergroup_id == "abc:1"
    assert shown.metadata == METADATA
    assert lines(scripted_server) == ["POST /user/ann/api/v1/map HTTP/1.1"]
    sent = json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2])
    assert sent["layers"] == [LAYER]
    assert KEY.encode() not in scripted_server.heads[0]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({}, "abc:1/{z}/{x}/{y}.png"),
        ({"retina": True}, "abc:1/{z}/{x}/{y}@2x.png"),
        ({"layer": 0, "format": "mvt", "retina": True}, "abc:1/0/{z}/{x}/{y}.mvt"),
        ({"layer": [0, 2]}, "abc:1/0,2/{z}/{x}/{y}.png"),
        ({"layer": 1, "format": "grid.json"}, "abc:1/1/{z}/{x}/{y}.grid.json"),
        ({"layer": np.int64(0)}, "abc:1/0/{z}/{x}/{y}.png"),
        ({"layer": np.int64(1), "format": "grid.json"}, "abc:1/1/{z}/{x}/{y}.grid.json"),
    ],
)
def test_urls_of_tiles(
    arguments: dict[str, object], path: str, scripted_server: ScriptedServer, session: requests.Session
) -> None:
    scripted_server.play(group(), PRIVATE)
    shown = AnonymousMap([LAYER], account(scripted_server, session=session))
    url = shown.tile_url(**arguments)  # type: ignore[arg-type]  # of several types
    assert url == f"{scripted_server.base_url}/api/v1/map/{path}?api_key={KEY}"


def test_a_public_map_has_no_key_in_its_urls(scripted_server: ScriptedServer) -> None:
    scripted_server.play(group())
    provider = AnonymousMap([LAYER], account(scripted_server, None)).tile_provider()
    assert isinstance(provider, TileProvider)
    assert provider.build_url(x=1, y=2, z=3) == f"{scripted_server.base_url}/api/v1/map/abc:1/3/1/2.png"
    assert "CARTO" in provider.attribution


def test_urls_of_public_tiles_have_no_key(scripted_server: ScriptedServer, session: requests.Session) -> None:
    scripted_server.play(group(), group())
    shown = AnonymousMap([LAYER], account(scripted_server, session=session))
    assert KEY not in shown.tile_url()
    assert KEY not in shown.tile_url(0, "mvt")  # it was asked for once
    ours, everybodys = scripted_server.heads  # the same question, without the key
    assert ours.partition(b"\r\n\r\n")[2] == everybodys.partition(b"\r\n\r\n")[2]
    assert everybodys.startswith(b"POST /user/ann/api/v1/map HTTP/1.1")
    assert ours.partition(b"uthorization: ")[2] != everybodys.partition(b"uthorization: ")[2]


def test_subdomains_of_a_content_delivery_network(scripted_server: ScriptedServer) -> None:
    templates = {"http": {"url": "http://{s}.tiles.example", "subdomains": ["a", "b"]}}
    scripted_server.play(group(cdn_url={"templates": templates}))
    shown = AnonymousMap([LAYER], account(scripted_server, None))
    assert shown.tile_url() == "http://a.tiles.example/ann/api/v1/map/abc:1/{z}/{x}/{y}.png"
    provider = shown.tile_provider()
    assert provider.url == "http://{s}.tiles.example/ann/api/v1/map/abc:1/{z}/{x}/{y}.png"
    assert provider.subdomains == ["a", "b"]
    assert provider.build_url(x=1, y=2, z=3) == "http://a.tiles.example/ann/api/v1/map/abc:1/3/1/2.png"


def test_keys_are_removed_from_urls_of_the_server(scripted_server: ScriptedServer) -> None:
    url = f"http://x/{{z}}/{{x}}/{{y}}.png?api_key={KEY}"
    scripted_server.play(group(metadata={"url": {"raster": {"urlTemplate": url}}, "all": [url + "&a=1"]}))
    metadata = AnonymousMap([LAYER], account(scripted_server)).metadata
    assert KEY not in str(metadata)
    assert metadata["all"] == ["http://x/{z}/{x}/{y}.png?a=1"]


@pytest.mark.parametrize(
    ("layer", "format"), [(3, "png"), (-1, "mvt"), ([0, 9], "png"), (None, "grid.json"), (0, "gif")]
)
def test_tiles_outside_the_grid_are_refused(layer: object, format: object, scripted_server: ScriptedServer) -> None:
    scripted_server.play(group())
    shown = AnonymousMap([LAYER], account(scripted_server, None))
    with pytest.raises(ValueError, match=r"layer|format"):
        shown.tile_url(layer, format)  # type: ignore[arg-type]  # the wrong ones


def test_filters_make_a_map_of_their_own(scripted_server: ScriptedServer) -> None:
    figures = response("200 OK", FORMULA)
    scripted_server.play(group(), figures, group("filtered:1"), figures, figures)
    shown = AnonymousMap([LAYER], account(scripted_server))
    assert shown.dataview("count") == 7
    assert shown.dataview("count", filters={"names": {"accept": ["x"]}}) == 7
    assert shown.dataview("a/b", filters={"names": {"accept": ["x"]}}, own_filter=False) == 7
    asked = lines(scripted_server)
    assert "filters=%7B%22dataviews%22%3A+%7B%22names%22%3A+%7B%22accept%22%3A+%5B%22x%22%5D%7D%7D%7D" in asked[2]
    assert asked[3].startswith("GET /user/ann/api/v1/map/filtered:1/dataview/count?own_filter=1")
    assert asked[4].startswith("GET /user/ann/api/v1/map/filtered:1/dataview/a%2Fb?own_filter=0")


def test_urls_of_named_maps_have_the_token_only(scripted_server: ScriptedServer) -> None:
    scripted_server.play(group("ann@t@abc:1"))
    shown = NamedMap("t", account(scripted_server)).instantiate({"color": "red"}, "to ken")
    assert (
        shown.tile_url() == f"{scripted_server.base_url}/api/v1/map/ann@t@abc:1/{{z}}/{{x}}/{{y}}.png?auth_token=to+ken"
    )
    assert lines(scripted_server) == ["POST /user/ann/api/v1/map/named/t?auth_token=to+ken HTTP/1.1"]
    assert json.loads(scripted_server.heads[0].partition(b"\r\n\r\n")[2]) == {"color": "red"}


def test_an_expired_map_is_instantiated_again(scripted_server: ScriptedServer) -> None:
    scripted_server.play(group(), response("400 Bad Request", GONE), group("abc:2"), response("200 OK", FORMULA))
    assert AnonymousMap([LAYER], account(scripted_server)).dataview("count", bbox=(-10, -20, 10, 20)) == 7
    first, _, _, last = lines(scripted_server)
    assert first.startswith("POST")
    assert last.startswith("GET /user/ann/api/v1/map/abc:2/dataview/count?")
    assert "bbox=-10%2C-20%2C10%2C20" in last
    assert KEY not in last


def test_an_expired_map_is_instantiated_again_only_once(scripted_server: ScriptedServer) -> None:
    scripted_server.play(group(), response("404 Not Found", GONE), group(), response("404 Not Found", GONE))
    with pytest.raises(NotFound, match="nonexistent map"):
        AnonymousMap([LAYER], account(scripted_server)).attributes(0, 1)


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ({"type": "aggregation", "categories": [{"category": "a", "value": 2}]}, [{"category": "a", "value": 2}]),
        ({"type": "histogram", "bins": [{"bin": 0, "freq": 3}]}, [{"bin": 0, "freq": 3}]),
        ({"type": "search", "categories": []}, []),
    ],
)
def test_dataviews_return_frames(
    answer: dict[str, object], rows: list[object], scripted_server: ScriptedServer
) -> None:
    scripted_server.play(group(), response("200 OK", json.dumps(answer).encode()))
    frame = AnonymousMap([LAYER], account(scripted_server)).dataview("d")
    assert frame.to_dict("records") == rows  # type: ignore[union-attr]  # it is a frame


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"center": (2.35, 48.85), "zoom": 5}, "static/center/abc:1/5/48.85/2.35/200/100.png"),
        ({"bbox": (-10, -20.5, 10, 20), "format": "jpg"}, "static/bbox/abc:1/-10,-20.5,10,20/200/100.jpg"),
    ],
)
def test_static_images(arguments: dict[str, object], path: str, scripted_server: ScriptedServer) -> None:
    scripted_server.play(group(), response("200 OK", b"picture"))
    shown = AnonymousMap([LAYER], account(scripted_server))
    assert shown.static_image(200, 100, **arguments) == b"picture"  # type: ignore[arg-type]  # of several types
    assert lines(scripted_server)[1] == f"GET /user/ann/api/v1/map/{path} HTTP/1.1"  # the key is in the header


@pytest.mark.parametrize("arguments", [{}, {"zoom": 1}, {"center": (1, 2)}, {"bbox": (1, 2, 3, 4), "center": (1, 2)}])
def test_a_static_image_needs_a_center_or_box(arguments: dict[str, object], scripted_server: ScriptedServer) -> None:
    scripted_server.play()
    with pytest.raises(ValueError, match="center and zoom, or bbox"):
        AnonymousMap([LAYER], account(scripted_server)).static_image(1, 1, **arguments)  # type: ignore[arg-type]  # tested


@pytest.mark.parametrize(
    "bbox", [(0, 0, 1), (0, 0, 1, float("nan")), (10, 0, 0, 10), (0, 10, 10, 0), (170, 0, -170, 1)]
)
def test_what_is_no_box_is_refused_at_once(
    bbox: tuple[float, float, float, float], scripted_server: ScriptedServer
) -> None:
    scripted_server.play()
    shown = AnonymousMap([LAYER], account(scripted_server))
    for ask in (
        lambda: AnonymousMap([LAYER], account(scripted_server), bbox=bbox),
        lambda: shown.static_image(1, 1, bbox=bbox),
        lambda: shown.dataview("n", bbox=bbox),
    ):
        with pytest.raises(ValueError, match="bbox must be west, south, east and north"):
            ask()


def test_the_static_image_of_a_named_map(scripted_server: ScriptedServer) -> None:
    scripted_server.play(response("200 OK", b"picture"))
    shown = NamedMap("a b", account(scripted_server)).instantiate({"k": 1}, "sesame")
    assert shown.static_image(20, 10) == b"picture"
    path = "static/named/a%20b/20/10.png?auth_token=sesame&config=%7B%22k%22%3A+1%7D"
    assert lines(scripted_server) == [f"GET /user/ann/api/v1/map/{path} HTTP/1.1"]


def test_templates(scripted_server: ScriptedServer) -> None:
    template = {"version": "0.0.1", "name": "t", "layergroup": {"layers": []}, "view": {"zoom": 1}}
    kept = response("200 OK", json.dumps({"template": template}).encode())
    scripted_server.play(
        response("200 OK", b'{"template_id": "t"}'),
        kept,
        kept,
        response("200 OK", b'{"template_id": "t"}'),
        response("200 OK", b'{"template_ids": ["u", "t"]}'),
        response("204 No Content"),
    )
    named = NamedMap.create(template, account(scripted_server))
    assert NamedMap.get("t", account(scripted_server)) == named
    named.update(view=None)
    assert [found.name for found in NamedMap.list(account(scripted_server))] == ["t", "u"]
    named.delete()
    scripted_server.close()
    assert json.loads(scripted_server.heads[3].partition(b"\r\n\r\n")[2]) == {**template, "view": None}
    assert scripted_server.heads[5].startswith(b"DELETE /user/ann/api/v1/map/named/t ")
    assert KEY not in repr(named)


@pytest.mark.parametrize(("status", "error"), [("400 Bad Request", SQLError), ("403 Forbidden", PermissionDenied)])
def test_errors_of_maps_are_typed(status: str, error: type[Exception], scripted_server: ScriptedServer) -> None:
    body = {"errors": ["no"], "errors_with_context": [{"type": "layer", "message": "no", "layer": {"id": "x"}}]}
    service = Maps(scripted_server.play(response(status, json.dumps(body).encode())))
    with pytest.raises(error, match="no") as caught:
        service.instantiate({"layers": []})
    assert caught.value.contexts == tuple(body["errors_with_context"])  # type: ignore[attr-defined]  # an APIError
