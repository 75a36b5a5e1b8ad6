"""Responses with any other JSON are read or raise ConnectionFailed, and no other error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cartoframes_lite._client.api_keys import APIKeys
from cartoframes_lite._client.exports import Exports
from cartoframes_lite._client.http import json_fields
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import ImportOptions, Imports
from cartoframes_lite._client.maps import Maps
from cartoframes_lite._client.sql import SQL
from cartoframes_lite._client.sql_batch import Batch
from cartoframes_lite._client.syncs import Syncs
from cartoframes_lite._client.users import Users
from cartoframes_lite._client.visualizations import Visualizations
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, ConnectionFailed
from tests.http_servers import ANYWHERE, FileServer, ScriptedServer, response

SYNC = {"id": "s", "state": "success", "interval": 900, "ran_at": "2020-01-01T00:00:00Z", "error_code": None}
KEY = {
    "name": "k",
    "token": "t",
    "type": "regular",
    "grants": [
        {"type": "apis", "apis": ["sql"]},
        {
            "type": "database",
            "tables": [{"schema": "s", "name": "t", "permissions": ["select"]}],
            "schemas": [{"name": "s", "permissions": ["create"]}],
        },
    ],
    "created_at": "2018-01-01 00:00:00 UTC",
}
VISUALIZATION = {
    "id": "v",
    "type": "table",
    "name": "t",
    "privacy": "PUBLIC",
    "tags": ["a"],
    "table": {"row_count": 1, "size": 8192, "geometry_types": ["ST_Point"]},
    "permission": {
        "id": "p",
        "owner": {"username": "ann"},
        "acl": [{"type": "user", "entity": {"id": "u", "username": "bob"}, "access": "r"}],
    },
    "related_tables": [{"name": "t"}],
    "dependent_visualizations": [{"name": "m"}],
    "dependent_visualizations_count": 1,
    "created_at": "2020-01-01T00:00:00Z",
}
USER = {"id": "u", "username": "ann", "quota_in_bytes": "1000", "db_size_in_bytes": 10, "table_count": 1}
ME = {"user_data": {**USER, "remaining_byte_quota": 990, "organization": {"id": "o", "name": "org"}}}
IMPORT = {
    "id": "i",
    "state": "failure",
    "error_code": 1002,
    "tables_created_count": 0,
    "get_error_text": {"title": "Unsupported", "source": "user"},
}
LAYERGROUP = {
    "layergroupid": "g:0",
    "metadata": {"layers": []},
    "cdn_url": {"templates": {}},
    "last_updated": "2020-01-01T00:00:00Z",
}

CALLS: dict[str, tuple[Any, Callable[[Transport], Any]]] = {
    "sql": ({"rows": [{"a": 1}], "fields": {"a": {"type": "number"}}}, lambda t: SQL(t).rows("SELECT 1")),
    "geojson": ({"type": "FeatureCollection", "features": [{}]}, lambda t: SQL(t).send("SELECT 1", format="geojson")),
    "row": ({"rows": [{"n": 1}]}, lambda t: SQL(t).row("SELECT 1 AS n", "n")),
    "columns": (
        {"rows": [], "fields": {"a": {"type": "number", "pgtype": "int4"}, "g": {"type": "geometry", "srid": 4326}}},
        lambda t: SQL(t).columns("t"),
    ),
    "tables": ({"rows": [{"name": "t"}]}, lambda t: SQL(t).tables()),
    "batch": ({"job_id": "j", "status": "done"}, lambda t: Batch(t).wait("j")),
    "batch create": ({"job_id": "j", "status": "pending"}, lambda t: Batch(t).create("SELECT 1")),
    "import": (IMPORT, lambda t: Imports(t).read("i")),
    "import list": ({"imports": ["i"], "success": True}, lambda t: Imports(t).list()),
    "import create": ({"item_queue_id": "i"}, lambda t: Imports(t).create_from_url("http://h/x.csv", ImportOptions())),
    "sync": ({**SYNC, "state": "failure", "error_code": 1001}, lambda t: Syncs(t).read("s")),
    "sync list": ({"synchronizations": [SYNC]}, lambda t: Syncs(t).list()),
    "sync create": (
        {**SYNC, "data_import": {"item_queue_id": "i"}},
        lambda t: Syncs(t).create("http://h/x.csv", 900, ImportOptions()),
    ),
    "sync force": ({"enqueued": True}, lambda t: Syncs(t).force("s")),
    "key": (KEY, lambda t: APIKeys(t, SQL(t)).get("k")),
    "key list": ({"result": [KEY]}, lambda t: APIKeys(t, SQL(t)).list()),
    "visualization": (VISUALIZATION, lambda t: Visualizations(t).find("v")),
    "visualization list": (
        {"visualizations": [VISUALIZATION], "total_entries": 1, "total_user_entries": 1},
        lambda t: Visualizations(t).list("table"),
    ),
    "tables of a map": ({"related_tables": [{"name": "t"}]}, lambda t: Visualizations(t).tables_of("v")),
    "me": (ME, lambda t: Users(t).me()),
    "user": (ME, lambda t: Users(t).get("ann")),
    "users": (
        {"users": [USER], "total_entries": 1, "total_user_entries": 1},
        lambda t: Users(t).of_organization("00000000-0000-4000-8000-000000000001"),
    ),
    "export": ({"id": "e", "state": "complete", "url": "http://h/x"}, lambda t: Exports(t).wait("e", progress=False)),
    "map": (LAYERGROUP, lambda t: Maps(t).instantiate({})),
    "named map": ({"template": {"name": "n"}}, lambda t: Maps(t).read_template("n")),
    "named map list": ({"template_ids": ["n"]}, lambda t: Maps(t).list_templates()),
    "named map create": ({"template_id": "n"}, lambda t: Maps(t).create_template({})),
}
OTHERS: list[Any] = [None, True, 1.5, -1, "", "text", [], {}, [1], [[]], {"x": 1}, [{}], [None]]


def changed(body: Any) -> Iterator[Any]:
    """Yield copies of a response in which one member is replaced or missing."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield {other: kept for other, kept in body.items() if other != name}
            yield from ({**body, name: other} for other in (*changed(value), *OTHERS))
    elif isinstance(body, list) and body:
        yield from ([other] for other in (*changed(body[0]), *OTHERS))


@pytest.mark.parametrize(("body", "call"), CALLS.values(), ids=CALLS)
def test_documented_responses_are_read(
    scripted_server: ScriptedServer, body: Any, call: Callable[[Transport], Any]
) -> None:
    call(scripted_server.play(response("200 OK", json.dumps(body).encode())))


@pytest.mark.parametrize(("body", "call"), CALLS.values(), ids=CALLS)
def test_any_other_json_is_read_or_refused(
    file_server: FileServer, body: Any, call: Callable[[Transport], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoframes_lite._client.polling.poll", lambda poll, **_: poll())
    transport = Transport(Credentials("ann", "key", base_url=file_server.base_url))
    for other in (*changed(body), *OTHERS):
        file_server.put(ANYWHERE, json.dumps(other).encode())
        with contextlib.suppress(CartoError):
            call(transport)


@pytest.mark.parametrize(("body", "call"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("other", ["text", 1, None], ids=repr)
def test_errors_about_unexpected_json_name_the_base_url(
    scripted_server: ScriptedServer, body: Any, call: Callable[[Transport], Any], other: Any
) -> None:
    with pytest.raises(CartoError, match="base_url"):
        call(scripted_server.play(response("200 OK", json.dumps(other).encode())))


def test_a_missing_member_is_named(scripted_server: ScriptedServer) -> None:
    with pytest.raises(ConnectionFailed, match="'status' is missing"):
        Batch(scripted_server.play(response("200 OK", b'{"job_id": "j"}'))).read("j")


@pytest.mark.parametrize("value", ["2018-01-01 00:00:00 UTC", "2018-01-01T00:00:00.000Z", "2018-01-01T00:00:00"])
def test_times_as_the_apis_write_them(value: str) -> None:
    assert json_fields.parse_datetime(value) == datetime(2018, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value", [True, 1.5, "1.5", "9" * 5000, float("inf"), [], {}, "abc"], ids=lambda v: repr(v)[:9]
)
def test_values_that_are_not_integers_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="expected an integer"):
        json_fields.integer(value)


def test_unserializable_json_is_refused_before_any_request(scripted_server: ScriptedServer) -> None:
    maps = Maps(scripted_server.play())
    endless: dict[str, Any] = {}
    endless["itself"] = endless
    with pytest.raises(ValueError, match=r"Circular|itself"):
        maps.instantiate(endless)
    with pytest.raises(ValueError, match="JSON"):
        maps.instantiate({"a": float("nan")})
    with pytest.raises(TypeError, match="JSON"):
        maps.instantiate({"a": b"bytes"})
