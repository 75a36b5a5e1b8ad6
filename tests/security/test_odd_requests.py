"""Unusual values in every parameter of every route: a status below 500 in bounded time, on an open connection."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
import requests
from starlette.routing import Route

from cartoframes_lite.local.app import create_app
from cartoframes_lite.local.postgres.cluster import open_cluster
from cartoframes_lite.local.server import Server
from cartoframes_lite.local.state import State
from tests.security.odd_values import GOOD, HEADERS, IDENTITY, NAMES, RAW, TEXTS, TYPES, VALUES

_KEY = "master"
_SLOW_S = 60.0  # of one request, on a machine that does other work, too
_PER_ROUTE, _PER_ROUTE_LONG = 5, 400


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[Server, list[Route]]]:
    """Start a server whose routes are known."""
    cluster = open_cluster()
    state = State(cluster, "tester", api_key=_KEY, statement_timeout_s=3)
    app = create_app(state)
    server = Server(app)
    with state.admin() as connection:
        connection.execute("CREATE TABLE public.t AS SELECT 1 AS a")
    yield server, [route for route in app.routes if isinstance(route, Route)]
    server.stop()
    state.close()
    cluster.stop()


def requests_to(route: Route, number: int, seed: int) -> Iterator[tuple[str, str, bytes | None, dict[str, str]]]:
    """Yield valid requests to a route: method, path, body, headers."""
    chosen = random.Random(f"{route.path} {sorted(route.methods or ())} {seed}")
    for _ in range(number):
        path = route.path
        for name in route.param_convertors:
            value = chosen.choice([*TEXTS, "v2", "v2", "t", IDENTITY, "local"])
            path = path.replace(f"{{{name}}}", quote(value, safe="", errors="replace") or "x")
            for suffix in (":str", ":int", ":path"):
                path = path.replace(f"{{{name}{suffix}}}", quote(value, safe="", errors="replace") or "x")
        odd = {chosen.choice(NAMES): chosen.choice(TEXTS) for _ in range(chosen.randrange(4))}
        if chosen.random() < 0.9:
            odd = {"api_key": _KEY, **odd}  # first: what is too long for a URL is cut off
        method = chosen.choice(sorted(route.methods or {"GET"}))
        body, headers = None, {}
        if chosen.random() < 0.2:
            name = chosen.choice(sorted(HEADERS))
            headers[name] = chosen.choice(HEADERS[name])
        if method not in ("GET", "HEAD") or chosen.random() < 0.1:
            body, headers["Content-Type"] = _body(chosen)
        yield method, f"{path}?{urlencode(odd, errors='replace')}"[:7000], body, headers


def spoilt(number: int) -> Iterator[tuple[str, str, bytes | None, dict[str, str]]]:
    """Yield requests with one unusual value: method, path, body, headers."""
    chosen = random.Random(number)
    for method, path, members in GOOD:
        kinds = ["query", "form"] if method == "GET" else ["json", "form"]
        every = [(name, value) for name in members for value in [*TEXTS, *VALUES]]
        for name, value in chosen.sample(every, min(number, len(every))):
            odd = {**members, name: value}
            kind = chosen.choice(kinds)
            url = f"{path}?api_key={_KEY}"
            if kind == "query":
                yield method, f"{url}&{urlencode(odd, errors='replace')}"[:7000], None, {}
            elif kind == "form":
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                yield method, url, urlencode(odd, errors="replace").encode(), headers
            else:
                yield method, url, json.dumps(odd).encode(), {"Content-Type": "application/json"}


def _body(chosen: random.Random) -> tuple[bytes, str]:
    """Make a body and its type."""
    members = {chosen.choice(NAMES): chosen.choice([*VALUES, *TEXTS]) for _ in range(1 + chosen.randrange(4))}
    kind = chosen.randrange(4)
    if kind == 0:
        return chosen.choice(RAW), chosen.choice(TYPES)
    if kind == 1:
        return urlencode(members, errors="replace").encode(), "application/x-www-form-urlencoded"
    return json.dumps(members).encode(), "application/json"


def test_odd_values_are_no_500(serving: tuple[Server, list[Route]], request: pytest.FixtureRequest) -> None:
    """The requests create and drop tables and maps: only their responses are checked."""
    server, routes = serving
    number = _PER_ROUTE_LONG if request.config.getoption("--long") else _PER_ROUTE
    odd = [one for route in routes for one in requests_to(route, number, seed=1)]
    assert len(odd) > len(routes)
    assert failures_of(server, odd) == []


def test_odd_values_in_valid_requests_are_no_500(
    serving: tuple[Server, list[Route]], request: pytest.FixtureRequest
) -> None:
    number = _PER_ROUTE_LONG if request.config.getoption("--long") else _PER_ROUTE
    assert failures_of(serving[0], list(spoilt(number))) == []


def failures_of(server: Server, odd: list[tuple[str, str, bytes | None, dict[str, str]]]) -> list[object]:
    """Send requests over one connection; return those that fail, take long or lose the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_SLOW_S)
    failures: list[object] = []
    for method, path, body, headers in odd:
        begun = time.monotonic()
        told = (method, path[:500], (body or b"")[:300], headers)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
        except (http.client.HTTPException, OSError) as error:
            failures.append((*told, repr(error)))
            connection.close()
            continue
        taken = time.monotonic() - begun
        closed = response.headers.get("connection", "").lower() == "close"
        # 431 comes before a body is read, and 413 in the middle of one.
        if response.status >= 500 or taken > _SLOW_S or (closed and response.status not in (413, 431)):
            failures.append((*told, response.status, round(taken, 1), closed))
    connection.close()
    return failures


@pytest.mark.parametrize("sql", ["/**/" * 100_000 + "select 1", ";" * 900_000, "$ " * 400_000, "''" * 400_000])
def test_no_query_blocks_other_requests(carto, sql):
    """PostgreSQL's own scanner would take minutes for the first, and cannot be interrupted."""
    began = time.monotonic()
    response = requests.post(f"{carto.base_url}/api/v2/sql", data={"q": sql}, timeout=300)
    assert response.status_code in (200, 400)
    assert time.monotonic() - began < 200


def test_queries_have_a_length(carto):
    response = requests.post(f"{carto.base_url}/api/v2/sql", data={"q": "select 1" + " " * 1_000_000}, timeout=60)
    assert response.status_code == 413
