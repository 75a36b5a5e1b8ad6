"""Map configurations, templates and parameters with one member changed at a time: no request gets a 500."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from cartoframes_lite.local import LocalCarto
from tests.local.maps.maps_client import PUBLIC, TOWNS
from tests.local.sql_client import SQLClient

STYLED = {"cartocss": "#l { marker-width: 10; [people > 5] { marker-fill: red; } }", "cartocss_version": "2.3.0"}
CONFIG = {
    "version": "1.8.0",
    "buffersize": {"png": 8, "grid.json": 0, "mvt": 4},
    "layers": [
        {
            "id": "a",
            "type": "mapnik",
            "options": {
                "sql": "SELECT * FROM towns",
                **STYLED,
                "interactivity": ["cartodb_id", "name"],
                "attributes": {"id": "cartodb_id", "columns": ["name", "seen"]},
                "aggregation": {
                    "threshold": 1,
                    "resolution": 2,
                    "placement": "centroid",
                    "columns": {"total": {"aggregate_function": "sum", "aggregated_column": "people"}},
                    "dimensions": {"name": "name"},
                    "filters": {"total": [{"greater_than": 1}]},
                },
            },
        },
        {"type": "cartodb", "options": {"source": {"id": "n"}, **STYLED}},
        {"type": "plain", "options": {"color": "#ff0000"}},
        {"type": "http", "options": {"urlTemplate": "http://127.0.0.1:9/{z}/{x}/{y}.png", "subdomains": ["a"]}},
    ],
    "analyses": [{"id": "n", "type": "source", "params": {"query": "SELECT * FROM towns"}}],
    "dataviews": {
        "f": {"type": "formula", "source": {"id": "n"}, "options": {"operation": "sum", "column": "people"}},
        "c": {"type": "aggregation", "source": {"id": "n"}, "options": {"column": "name", "aggregation": "count"}},
        "h": {"type": "histogram", "source": {"id": "n"}, "options": {"column": "height", "bins": 3}},
        "t": {
            "type": "histogram",
            "source": {"id": "n"},
            "options": {"column": "seen", "aggregation": "day", "offset": 0},
        },
    },
}
TEMPLATE = {
    "version": "0.0.1",
    "name": "fuzzed",
    "auth": {"method": "token", "valid_tokens": ["right"]},
    "placeholders": {"n": {"type": "number", "default": 1}, "s": {"type": "sql_literal", "default": "x"}},
    "layergroup": {
        "version": "1.8.0",
        "buffersize": {"png": "<%= n %>"},
        "layers": [{"type": "mapnik", "options": {"sql": "SELECT *, '<%= s %>' AS s FROM towns", **STYLED}}],
    },
    "view": {"zoom": 1, "center": {"lng": 1, "lat": 2}, "bounds": {"west": 1, "south": 1, "east": 2, "north": 2},
             "preview_layers": {"0": True}},
}  # fmt: skip
FILTERS = {"dataviews": {"c": {"accept": ["North"], "reject": []}, "h": {"min": 1, "max": 2}}}
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e308, -1e308, 10**30, -(10**299), "", " ", "x", "\0", "a\0b", "\ud800", "\udfff x",
    "9" * 400, "1" * 5000,
    "{}", "<%= n %>", "%", "!bbox!", ";", "'", '"', "$$", "\\", "-- x", "/*", "SELECT 1; SELECT 2",
    [], [None], [[]], {}, {"": None}, {"a": {"b": {"c": None}}}, ["a", 1, {}], "é" * 300, "NaN", "Infinity", "1e400",
]  # fmt: skip
INSERTED = [item for item in ODD if isinstance(item, str) and item]
INSERTED += [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "@",
    "#",
    "::",
    "[name]",
    "[seen > '",
    "url(",
    "\n",
    ":",
    "*1e308",
    "/0",
    "%",
    "<%= s %>",
]
TEXTS = ["", "x", "-1", "0", "1.5", "1e400", "-1e308", "1e308", "NaN", "Infinity", "-Infinity",
         "9" * 5000, "\0", "a\0", "\ud800",
         "%", "../..", "null", "[]", "{}", "1,2", "1,2,3,4", "1e308,1e308,-1e308,-1e308",
         "-1e308,-1e308,1e308,1e308", "٣", "1_0",
         " 1", "0x10", "a'b", 'a"b', "all", "mapnik", "a,b", "12345678901234567890"]  # fmt: skip
PATHS = [
    "{id}/{}/0/0.png", "{id}/0/{}/0.png", "{id}/0/0/{}.png", "{id}/0/0/0@{}x.png", "{id}/0/0/0.{}", "{id}/{}/0/0/0.mvt",
    "{id}/{}/0/0/0.grid.json", "{id}/{}/attributes/1", "{id}/0/attributes/{}",
    "{id}/dataview/{}", "{id}/dataview/{}/search",
    "{id}/analysis/node/{}", "{id}/{}/1/cluster/1", "{id}/0/{}/cluster/1", "{id}/0/1/cluster/{}",
    "static/center/{id}/{}/0/0/9/9.png", "static/center/{id}/1/{}/0/9/9.png", "static/center/{id}/1/0/{}/9/9.png",
    "static/center/{id}/1/0/0/{}/9.png", "static/center/{id}/1/0/0/9/{}.png", "static/center/{id}/1/0/0/9/9.{}",
    "static/bbox/{id}/{}/9/9.png", "static/bbox/{id}/{},0,1,1/9/9.png", "static/bbox/{id}/0,{},1,1/9/9.jpg",
    "static/named/{}/9/9.png", "static/named/fuzzed/{}/9.png", "named/{}", "named/fuzzed/{}/0/0/0.png", "{}/0/0/0.png",
    "{}@{}@{id}/0/0/0.png", "{}",
]  # fmt: skip
QUERIES = {
    "{id}/dataview/f": ("bbox", "own_filter", "no_filters"),
    "{id}/dataview/c": ("categories", "own_filter", "bbox"),
    "{id}/dataview/h": ("start", "end", "bins", "bbox"),
    "{id}/dataview/t": ("start", "end", "aggregation", "offset"),
    "{id}/dataview/c/search": ("q", "bbox"),
    "static/named/fuzzed/9/9.png": ("zoom", "lon", "lat", "bbox", "layer", "config", "auth_token"),
    "static/center/{id}/1/0/0/9/9.png": ("layer", "auth_token", "callback"),
    "named/fuzzed/jsonp": ("config", "callback", "auth_token"),
    "": ("config", "lzma", "filters", "api_key", "map_key", "callback"),
}


class Line:
    """One connection for all requests; records requests that close it or get a 500."""

    def __init__(self, base_url: str, key: str) -> None:
        split = urlsplit(base_url)
        self._connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=120)
        self._connection.connect()
        self._path, self._key = f"{split.path}/api/v1/map", key
        self._socket = self._connection.sock
        self.slowest_s = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, bytes]:
        """Send a request with the master key; record a 500 or a closed connection."""
        pairs = {"auth_token": "right", "api_key": self._key, **query}
        encoded = "&".join(f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in pairs.items())
        content = None if body is None else json.dumps(body).encode()
        begun = time.monotonic()
        self._connection.request(method, f"{self._path}{path}?{encoded}", content, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        status, found = response.status, response.read()
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        assert status < 500, (method, path, query, body, found)
        assert self._connection.sock is self._socket, "the connection was closed"
        return status, found


@pytest.fixture
def line(carto: LocalCarto, sql: SQLClient) -> Iterator[Line]:
    sql.run(TOWNS + PUBLIC)
    assert carto.credentials.api_key is not None
    with closing(Line(carto.base_url, carto.credentials.api_key)) as line:
        yield line
        assert line.slowest_s < 60


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each member and item."""
    members = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, item in members:
        yield (*path, name)
        yield from places(item, (*path, name))


def at(content: Any, path: tuple[Any, ...]) -> Any:
    """Return the value at a path."""
    for name in path:
        content = content[name]
    return content


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at a path."""
    made = deepcopy(content)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return made


def mutations(content: Any, chance: random.Random, count: int) -> Iterator[Any]:
    """Yield copies with one or two values replaced, or with unusual member names added."""
    paths = list(places(content))
    for path in paths:  # each place once
        yield changed(content, path, chance.choice(ODD))
    texts = [path for path in paths if isinstance(at(content, path), str)]
    for _ in range(count):
        path = chance.choice(texts)
        text = at(content, path)
        place = chance.randrange(len(text) + 1)
        yield changed(content, path, text[:place] + chance.choice(INSERTED) + text[place:])
        made = changed(content, chance.choice(paths), chance.choice(ODD))
        if chance.random() < 0.3:
            path = chance.choice(list(places(made)))
            made = changed(made, path, chance.choice(ODD))
        if chance.random() < 0.1:
            made[chance.choice(["", "x\0", "\ud800", "layers "])] = chance.choice(ODD)
        yield made


def show_all(line: Line, identity: str) -> None:
    """Request everything that a map provides."""
    for path in ("0/0/0.png", "0/0/0.mvt", "0/0/0/0.grid.json", "0/attributes/1", "0/1/cluster/1"):
        line.send("GET", f"/{identity}/{path}")
    for name in ("f", "c", "h", "t"):
        line.send("GET", f"/{identity}/dataview/{name}")
        line.send("GET", f"/{identity}/dataview/{name}", own_filter="1", bbox="-170,-80,170,80")
    line.send("GET", f"/static/center/{identity}/1/0/0/20/20.png")


def instantiated(line: Line, config: Any, **query: str) -> str | None:
    status, body = line.send("POST", "", config, **query)
    return quote(json.loads(body)["layergroupid"]) if status == 200 else None


def test_unmodified_config_is_valid(line: Line) -> None:
    identity = instantiated(line, CONFIG, filters=json.dumps(FILTERS))
    assert identity is not None
    show_all(line, identity)


def test_map_configurations(line: Line, request: pytest.FixtureRequest) -> None:
    made = 0
    count = 3000 if request.config.getoption("--long") else 10
    for config in mutations(CONFIG, random.Random(11), count):
        identity = instantiated(line, config)
        if identity is not None:
            made += 1
            show_all(line, identity)
    assert made > 20


def test_bodies_that_are_not_map_configurations(line: Line) -> None:
    line.send("POST", "/named", TEMPLATE)
    for method, path in (("POST", ""), ("POST", "/named"), ("POST", "/named/fuzzed"), ("PUT", "/named/fuzzed")):
        for value in ODD:
            line.send(method, path, value)


def test_templates_and_their_parameters(line: Line, request: pytest.FixtureRequest) -> None:
    chance = random.Random(12)
    for template in mutations(TEMPLATE, chance, 1000 if request.config.getoption("--long") else 10):
        status, body = line.send("POST", "/named", template)
        name = quote(json.loads(body)["template_id"]) if status == 200 else None
        for path in (f"/named/{name}", "/named/fuzzed") if name else ():
            line.send("POST", path, {"n": chance.choice(ODD), "s": chance.choice(ODD)})
            line.send("POST", path, {"styles": chance.choice(ODD), "styles0": chance.choice(ODD)})
            line.send("POST", path, {"buffersize": chance.choice([*ODD, {"png": chance.choice(ODD)}])})
            line.send("GET", f"/static{path}/9/9.png")
            line.send("GET", f"{path}/all/0/0/0.png")
        if name:
            line.send("PUT", f"/named/{name}", changed(template, ("placeholders",), chance.choice(ODD)))
            line.send("DELETE", f"/named/{name}")


def test_filters_of_dataviews(line: Line, request: pytest.FixtureRequest) -> None:
    chance = random.Random(13)
    for content in [*mutations(FILTERS, chance, 60 if request.config.getoption("--long") else 10), *ODD]:
        identity = instantiated(line, CONFIG, filters=json.dumps(content))
        if identity is not None:
            line.send("GET", f"/{identity}/dataview/f")
    for text in TEXTS:
        instantiated(line, CONFIG, filters=text)


def texts(number: int, request: pytest.FixtureRequest) -> list[str]:
    """Return the texts to try at a place; in the short profile every third one, starting elsewhere at each place."""
    return TEXTS if request.config.getoption("--long") else TEXTS[number % 3 :: 3]


def test_odd_paths_of_maps_are_no_500(line: Line, request: pytest.FixtureRequest) -> None:
    line.send("POST", "/named", TEMPLATE)
    identity = str(instantiated(line, CONFIG))
    for number, path in enumerate(PATHS):
        for text in texts(number, request):
            odd = quote(text, safe="", errors="surrogatepass")
            line.send("GET", f"/{path.replace('{id}', identity).replace('{}', odd)}")


def test_odd_parameters_of_maps_are_no_500(line: Line, request: pytest.FixtureRequest) -> None:
    line.send("POST", "/named", TEMPLATE)
    identity = str(instantiated(line, CONFIG))
    for path, names in QUERIES.items():
        where = f"/{path.replace('{id}', identity)}" if path else ""
        for number, name in enumerate(names):
            other = {"start": "end", "lon": "lat", "zoom": "lon"}.get(name)
            for text in texts(number + len(path), request):
                line.send("GET", where, **{name: text})
                if other:
                    line.send("GET", where, **{name: text, other: "1"})


def test_connection_stays_open_after_rejected_requests(line: Line) -> None:
    for body in ({"layers": 1}, {"layers": [{"options": {"sql": "\0", **STYLED}}]}, {"x": "y" * 150_000}):
        assert line.send("POST", "", body)[0] == 400
        assert line.send("GET", "/named")[0] == 200
