"""Fixtures: an account with tables to protect, and the number of attacks on it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cartoframes_lite.local import LocalCarto
from tests.certificates import OPENSSL, self_signed, server_context
from tests.http_servers import ANYWHERE, FileServer
from tests.security.api_calls import APICalls
from tests.security.db_snapshot import DatabaseSnapshots

_NO_ROWS = b'{"rows":[],"fields":{},"total_rows":0}'
_OBJECTS = """
    CREATE SCHEMA other;
    CREATE TABLE other.bystander (a int); INSERT INTO other.bystander VALUES (1);
    CREATE TABLE bystander (a int UNIQUE, b text, the_geom geometry(Point, 4326));
    INSERT INTO bystander VALUES (1, 'secret'), (2, 'kept');
    SELECT CDB_CartodbfyTable('bystander');
    CREATE TABLE "By""stander; --" (a int); INSERT INTO "By""stander; --" VALUES (1);
    CREATE VIEW looking AS SELECT a, b FROM bystander;
    CREATE FUNCTION counting() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM bystander';
"""
BYSTANDERS = [
    ("public", "bystander"),
    ("other", "bystander"),
    ("public", 'By"stander; --'),
    ("cartodb", "cdb_tablemetadata"),
]


@pytest.fixture
def api_calls(carto: LocalCarto) -> APICalls:
    """Return the API calls of an account whose tables only the owner may access."""
    doors = APICalls.of(carto)
    doors.run(_OBJECTS)
    return doors


@pytest.fixture
def db_snapshots(carto: LocalCarto, api_calls: APICalls) -> Iterator[DatabaseSnapshots]:
    """Return snapshots of the account's whole database."""
    everything = DatabaseSnapshots(carto.dsn, BYSTANDERS)
    yield everything
    everything.connection.close()


@pytest.fixture
def recording_server() -> Iterator[Callable[..., FileServer]]:
    """Start web servers that respond to all requests with an empty result of SQL."""
    started: list[FileServer] = []

    def start(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> FileServer:
        started.append(FileServer(host, tls=tls))
        started[-1].put(ANYWHERE, _NO_ROWS)
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a self-signed certificate for localhost, in a file with its key."""
    if OPENSSL is None:
        pytest.skip("there is no openssl to make a certificate with")
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """Return the SSL context of a server with this certificate."""
    return server_context(certificate)
