"""Fixtures for tests with injected faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto
from cartoframes_lite.write import staging
from tests.fault_proxy import FaultProxy
from tests.faults.write_trials import Trial
from tests.faults.written_tables import Database, Mode


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for milliseconds where the client waits for seconds."""
    monkeypatch.setattr("cartoframes_lite._client.http.retry._FIRST_DELAY_S", 0.0005)


@pytest.fixture
def proxy(carto: LocalCarto, quick: None) -> Iterator[FaultProxy]:
    """Stand in front of the server."""
    proxy = FaultProxy(carto.base_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy: FaultProxy, carto: LocalCarto) -> cfl.Credentials:
    """Give credentials that lead through the proxy."""
    return cfl.Credentials(api_key=carto.credentials.api_key, base_url=proxy.base_url)


@pytest.fixture
def database(carto: LocalCarto) -> Iterator[Database]:
    """Look at the tables directly."""
    opened = Database(carto)
    yield opened
    opened.close()


@pytest.fixture
def trial(
    request: pytest.FixtureRequest,
    database: Database,
    through: cfl.Credentials,
    carto: LocalCarto,
    monkeypatch: pytest.MonkeyPatch,
) -> Trial:
    """Prepare writes of a mode, the parameter of this fixture."""
    mode: Mode = request.param
    if mode.pieces > 1:
        monkeypatch.setattr(staging, "CHUNK_BYTES", 1)  # each batch of rows is a piece
    return Trial(mode, database, through, carto.credentials)
