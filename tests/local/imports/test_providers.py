"""``/api/v1/connectors`` over a real socket, with another PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.postgres.cluster import open_cluster
from tests.local.imports.import_client import Importer


@pytest.fixture
def importer(carto: LocalCarto) -> Importer:
    return Importer(carto)


@pytest.fixture(scope="module")
def connection() -> Iterator[dict[str, str]]:
    """Start another PostgreSQL and return the parameters of a connection to it."""
    started = open_cluster()
    known = {key: str(value) for key, value in conninfo_to_dict(started.dsn).items()}
    with psycopg.connect(started.dsn) as session:
        session.execute("CREATE SCHEMA s; CREATE TABLE s.cities (name text); CREATE VIEW s.towns AS TABLE s.cities")
    yield {
        "server": known["host"],
        "port": known["port"],
        "database": known["dbname"],
        "username": known["user"],
        "password": "secret",
    }
    started.stop()


def test_providers(importer: Importer) -> None:
    listed = importer.send("GET", "connectors").json()
    assert listed == {"postgres": {"name": "PostgreSQL", "description": None, "enabled": True}}
    shown = importer.send("GET", "connectors/postgres").json()
    assert shown["features"] == {
        **dict.fromkeys(("sql_queries", "list_tables"), True),
        **dict.fromkeys(("list_databases", "preview_table", "dry_run", "list_projects"), False),
    }
    assert shown["parameters"]["connection"]["server"]["required"] is True
    assert (shown["parameters"]["table"]["required"], shown["parameters"]["schema"]["required"]) == (True, False)


def test_connection(importer: Importer, connection: dict[str, str]) -> None:
    response = importer.send("GET", "connectors/postgres/connect", params=connection)
    assert (response.status_code, response.json()) == (200, {"connected": True})
    refused = importer.send("GET", "connectors/postgres/connect", params={**connection, "database": "nope"})
    assert (refused.status_code, refused.json()["connected"]) == (400, False)
    assert "secret" not in refused.text
    invalid = importer.send("GET", "connectors/postgres/connect", params={"server": "h"})
    assert (invalid.status_code, invalid.json()) == (
        422,
        {"connected": False, "errors": "missing in connection: database, username"},
    )


def test_tables(importer: Importer, connection: dict[str, str]) -> None:
    listed = importer.send("GET", "connectors/postgres/tables", params=connection).json()
    assert {"schema": "s", "name": "cities"} in listed
    assert {"schema": "s", "name": "towns"} in listed
    refused = importer.send("GET", "connectors/postgres/tables", params={**connection, "database": "nope"})
    assert refused.status_code == 400
    assert refused.json()["errors"].startswith("Error connecting to provider postgres, ")
    assert importer.send("GET", "connectors/postgres/tables", params={}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "oracle", {"errors": "Provider oracle unknown"}),
        ("GET", "oracle/tables", {"errors": "Invalid provider Provider: oracle"}),
        ("GET", "oracle/connect", {"connected": False, "errors": "Invalid provider Provider: oracle"}),
        ("GET", "oracle/projects", {"errors": "Invalid provider Provider: oracle"}),
        ("GET", "postgres/projects", {"errors": "Provider postgres doesn't support list projects"}),
        ("POST", "postgres/dryrun", {"errors": "Provider postgres doesn't support dry runs"}),
    ],
)
def test_what_is_not_offered(importer: Importer, method: str, path: str, body: dict[str, Any]) -> None:
    response = importer.send(method, f"connectors/{path}")
    assert (response.status_code, response.json()) == (422, body)


@pytest.mark.parametrize("path", ["", "/postgres", "/postgres/connect", "/postgres/tables", "/postgres/projects"])
def test_connectors_need_the_master_key(importer: Importer, path: str) -> None:
    for key in (None, "default_public", "wrong"):
        response = importer.send("GET", f"connectors{path}", key=key)
        assert (response.status_code, response.content) == (401, b"")
