"""Fixtures for tests of the embedded server, over HTTP and below it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.postgres.cluster import Cluster, open_cluster
from cartoframes_lite.local.state import State
from tests.cluster_template import make_template
from tests.local.sql_client import SQLClient


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a private PostgreSQL that the tests of this directory share."""
    make_template()
    started = open_cluster()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def shared_state(cluster: Cluster) -> Iterator[State]:
    """Prepare an account in it."""
    opened = State(cluster, "tester", api_key="master-key")
    yield opened
    opened.close()


@pytest.fixture
def state(shared_state: State) -> State:
    """Return the shared account, emptied."""
    shared_state.reset()
    return shared_state


@pytest.fixture
def connect(state: State) -> Iterator[Callable[[str | None], psycopg.Connection[Any]]]:
    """Log in as the role of a key."""
    opened: list[psycopg.Connection[Any]] = []

    def log_in(token: str | None) -> psycopg.Connection[Any]:
        key = state.key(token)
        assert key is not None
        opened.append(psycopg.connect(state.conninfo(key.role), autocommit=True))
        return opened[-1]

    yield log_in
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def server_in_process() -> Iterator[LocalCarto]:
    """Start a server in this process, so that tests can replace its functions and see its log records."""
    make_template()
    with cartoframes_lite.local.start(user="tester", in_process=True) as server:
        yield server


@pytest.fixture
def carto_in_process(server_in_process: LocalCarto) -> LocalCarto:
    """Return the server in this process, with an empty account."""
    server_in_process.reset()
    return server_in_process


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture
def call(carto: LocalCarto) -> Callable[..., Response]:
    """Send a request to the server, with the master key unless told otherwise."""

    def send(
        method: str, path: str, body: object = None, *, key: str | None = carto.credentials.api_key, **query: str
    ) -> Response:
        if key is not None:
            query["api_key"] = key
        url = f"{carto.base_url}{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Response(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, error.read())

    return send


@pytest.fixture
def sql(carto: LocalCarto) -> SQLClient:
    """Send SQL to the server with the master key."""
    key = carto.credentials.api_key
    assert key is not None
    return SQLClient(carto.base_url, key)
