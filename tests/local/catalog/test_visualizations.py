from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto, Plan, start

Call = Callable[..., Any]
MEMBERS = """
active_child active_layer_id attributions auth_tokens children connector created_at dependent_visualizations
dependent_visualizations_count description display_name external_source id kind license liked likes locked map_id name
next_id parent_id permission prev_id privacy related_tables source stats synchronization table tags title
transition_options type updated_at url user uses_builder_features version
"""
TABLE_MEMBERS = """
description geometry_types id map_id name permission privacy row_count rows_counted schema size synchronization
table_size table_visualization updated_at
"""


def query(call: Call, q: str, **arguments: Any) -> Any:
    return call("GET", "/api/v2/sql", q=q, **arguments)


def test_table_made_by_sql_is_found_at_once_and_gone_once_dropped(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    by_name = call("GET", "/api/v1/viz/t").json
    assert uuid.UUID(by_name["id"])
    assert (by_name["name"], by_name["type"], by_name["privacy"]) == ("t", "table", "PRIVATE")
    assert call("GET", f"/api/v1/viz/{by_name['id']}").json == by_name
    assert call("GET", "/api/v1/viz/public.t/").json["id"] == by_name["id"]
    query(call, "ALTER TABLE t RENAME TO u")
    assert call("GET", "/api/v1/viz/u").json["id"] == by_name["id"]
    query(call, "DROP TABLE u")
    gone = call("GET", f"/api/v1/viz/{by_name['id']}")
    assert (gone.status, gone.body) == (404, b"")


def test_privacy_is_a_grant_to_the_public_role(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    assert query(call, "SELECT * FROM t", key=None).status == 403
    for privacy, status in (("public", 200), ("LINK", 200), ("private", 403)):
        changed = call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": privacy})
        assert (changed.status, changed.json["privacy"]) == (200, privacy.upper())
        assert query(call, "SELECT * FROM t", key=None).status == status
        assert call("GET", "/api/v1/viz/t").json["privacy"] == privacy.upper()


def test_privacy_tells_what_sql_granted(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i; GRANT SELECT ON t TO publicuser")
    assert call("GET", "/api/v1/viz/t").json["privacy"] == "PUBLIC"
    query(call, "REVOKE SELECT ON t FROM publicuser; GRANT SELECT ON t TO PUBLIC")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "private"})
    assert query(call, "SELECT * FROM t", key=None).status == 403


def test_update_needs_the_same_id_and_a_known_privacy(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    assert call("PUT", f"/api/v1/viz/{identity}", {"privacy": "public"}).status == 403
    assert call("PUT", f"/api/v1/viz/{identity}", {"id": "other", "privacy": "public"}).status == 403
    refused = call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "secret"})
    assert refused.status == 400
    assert "secret" in refused.json["errors"][0]


def test_only_the_master_key_sees_private_tables_and_changes_them(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    assert call("GET", "/api/v1/viz/t", key=None).status == 404
    assert call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "public"}, key=None).status == 401
    call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "public"})
    assert call("GET", "/api/v1/viz/t", key=None).status == 200
    assert call("GET", "/api/v1/viz/t", key="wrong").status == 200


def test_views_and_the_servers_own_tables_are_not_datasets(call: Call) -> None:
    query(call, "CREATE VIEW v AS SELECT 1 AS i")
    for name in ("v", "spatial_ref_sys", "cdb_tablemetadata", "cartodb_local.api_keys", "pg_class"):
        assert call("GET", f"/api/v1/viz/{name}").status == 404


def make(call: Call, name: str) -> Any:
    assert query(call, f"CREATE TABLE {name} AS SELECT 1 AS i").status == 200
    return call("GET", f"/api/v1/viz/{name}").json


def put(call: Call, one: Any, **changes: Any) -> Any:
    return call("PUT", f"/api/v1/viz/{one['id']}", {"id": one["id"], **changes})


def test_everything_that_the_sdk_reads_is_there(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i, 'SRID=4326;POINT(1 2)'::geometry AS the_geom")
    query(call, "SELECT CDB_CartodbfyTable('t')")
    shown = call("GET", "/api/v1/viz/t").json
    for name in MEMBERS.split():
        assert name in shown, name
    for name in TABLE_MEMBERS.split():
        assert name in shown["table"], name
    assert shown["url"].endswith("/user/tester/dataset/t")
    assert shown["table"]["geometry_types"] == ["ST_Point"]
    assert shown["table"]["size"] > 0
    assert datetime.fromisoformat(shown["created_at"]).tzinfo is not None
    assert datetime.fromisoformat(shown["updated_at"]).tzinfo is not None


def test_details_are_changed_and_kept(call: Call) -> None:
    one = make(call, "t")
    details = {
        "description": "Löcher",
        "display_name": "My t",
        "tags": ["a", "b c"],
        "license": "cc0",
        "attributions": "me",
        "title": "T",
        "source": "there",
        "locked": True,
        "kind": "raster",
        "transition_options": {"time": 1},
    }
    changed = put(call, one, **details)
    assert changed.status == 200
    assert {name: changed.json[name] for name in details} == details
    assert call("GET", "/api/v1/viz/t").json == changed.json
    assert changed.json["updated_at"] > one["updated_at"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": "a"},
        {"tags": [1]},
        {"locked": "true"},
        {"description": 1},
        {"kind": None},
        {"transition_options": []},
        {"name": " "},
        {"name": 7},
        {"privacy": "password"},
        {"description": "nul \x00"},
    ],
)
def test_changes_that_make_no_sense_change_nothing(call: Call, changes: dict[str, Any]) -> None:
    one = make(call, "t")
    refused = put(call, one, title="changed", **changes)
    assert (refused.status, len(refused.json["errors"])) == (400, 1)
    assert call("GET", "/api/v1/viz/t").json == one


def test_another_name_renames_the_table(call: Call) -> None:
    one = make(call, "t")
    renamed = put(call, one, name="u").json
    assert (renamed["id"], renamed["name"], renamed["table"]["name"]) == (one["id"], "u", "u")
    assert query(call, "SELECT i FROM u").json["rows"] == [{"i": 1}]


@pytest.mark.parametrize("name", ["taken", "select", "layergroup", "with space", "Upper", "x" * 64])
def test_a_name_that_is_refused_is_silently_undone(call: Call, name: str) -> None:
    make(call, "taken")
    one = make(call, "t")
    answer = put(call, one, name=name, description="kept")
    assert (answer.status, answer.json["name"], answer.json["description"]) == (200, "t", "kept")


def test_a_table_made_again_keeps_id_and_details_but_not_its_grants(call: Call) -> None:
    one = make(call, "t")
    put(call, one, tags=["a"], privacy="link")
    query(call, "DROP TABLE t; CREATE TABLE t AS SELECT 2 AS j")
    again = call("GET", "/api/v1/viz/t").json
    assert (again["id"], again["tags"], again["privacy"]) == (one["id"], ["a"], "PRIVATE")
    query(call, "GRANT SELECT ON t TO publicuser")
    assert call("GET", "/api/v1/viz/t").json["privacy"] == "LINK"
    query(call, "SELECT CDB_CartodbfyTable('t')")
    assert call("GET", "/api/v1/viz/t").json["id"] == one["id"]


def test_a_table_that_takes_the_place_of_another_becomes_it(call: Call) -> None:
    old, new = make(call, "old"), make(call, "new")
    shown = call("POST", "/api/v1/viz", {"tables": ["new"], "name": "m"}).json
    query(call, "BEGIN; DROP TABLE old; ALTER TABLE new RENAME TO old; COMMIT")
    assert call("GET", "/api/v1/viz/old").json["id"] == old["id"]
    assert call("GET", f"/api/v1/viz/{new['id']}").status == 404
    tables = call("GET", f"/api/v1/viz/{shown['id']}").json["related_tables"]
    assert [table["name"] for table in tables] == ["old"]


def test_tables_that_swap_their_names_keep_their_ids(call: Call) -> None:
    a, b = make(call, "a"), make(call, "b")
    query(call, "BEGIN; ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b; COMMIT")
    assert call("GET", "/api/v1/viz/a").json["id"] == b["id"]
    assert call("GET", "/api/v1/viz/b").json["id"] == a["id"]


def test_delete_drops_the_table_and_all_maps_that_show_it(call: Call) -> None:
    one, _ = make(call, "t"), make(call, "u")
    alone = call("POST", "/api/v1/viz", {"tables": ["t"], "name": "alone"}).json
    both = call("POST", "/api/v1/viz", {"tables": ["t", "u"], "name": "both"}).json
    shown = call("GET", "/api/v1/viz/t").json
    assert shown["dependent_visualizations_count"] == 2
    assert {a_map["id"] for a_map in shown["dependent_visualizations"]} == {alone["id"], both["id"]}
    gone = call("DELETE", f"/api/v1/viz/{one['id']}")
    assert (gone.status, gone.body) == (204, b"")
    assert query(call, "SELECT * FROM t").status == 400
    assert call("GET", f"/api/v1/viz/{alone['id']}").status == 404
    assert call("GET", f"/api/v1/viz/{both['id']}").status == 404
    assert call("DELETE", f"/api/v1/viz/{one['id']}").status == 404


def test_a_map_loses_a_table_that_sql_drops_and_goes_with_the_last_one(call: Call) -> None:
    make(call, "t"), make(call, "u")
    both = call("POST", "/api/v1/viz", {"tables": ["t", "u"], "name": "both"}).json
    query(call, "DROP TABLE t")
    left = call("GET", f"/api/v1/viz/{both['id']}").json["related_tables"]
    assert [table["name"] for table in left] == ["u"]
    query(call, "DROP TABLE u")
    assert call("GET", f"/api/v1/viz/{both['id']}").status == 404


def test_a_table_that_a_view_needs_is_not_deleted(call: Call) -> None:
    one = make(call, "t")
    query(call, "CREATE VIEW v AS SELECT * FROM t")
    refused = call("DELETE", f"/api/v1/viz/{one['id']}")
    assert refused.status == 400
    assert "depend" in refused.json["errors"][0]
    assert call("GET", "/api/v1/viz/t").json["id"] == one["id"]


def test_maps_are_made_changed_and_deleted(call: Call) -> None:
    make(call, "t")
    made = call("POST", "/api/v1/viz", {"type": "derived", "tables": ["t"], "name": "My map", "privacy": "PUBLIC"})
    assert (made.status, made.json["type"], made.json["privacy"], made.json["table"]) == (
        200,
        "derived",
        "PUBLIC",
        None,
    )
    assert made.json["url"].endswith(f"/user/tester/map/{made.json['id']}")
    assert [table["name"] for table in made.json["related_tables"]] == ["t"]
    changed = put(call, made.json, name="Other", tags=["x"], privacy="link").json
    assert (changed["name"], changed["tags"], changed["privacy"]) == ("Other", ["x"], "LINK")
    assert put(call, made.json, privacy="password").status == 400
    assert put(call, made.json, privacy="password", password="open").json["privacy"] == "PASSWORD"
    assert b"open" not in call("GET", f"/api/v1/viz/{made.json['id']}").body
    assert call("DELETE", f"/api/v1/viz/{made.json['id']}").status == 204
    assert query(call, "SELECT * FROM t").status == 200
    assert call("GET", f"/api/v1/viz/{made.json['id']}").status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tables": ["missing"]}, 400),
        ({"tables": "t"}, 400),
        ({"type": "table"}, 400),
        ({"tables": [], "privacy": "secret"}, 400),
        ({"tables": [], "name": "empty"}, 200),
    ],
)
def test_a_map_needs_tables_that_exist(call: Call, body: Any, status: int) -> None:
    assert call("POST", "/api/v1/viz", body).status == status
    assert call("POST", "/api/v1/viz", body, key=None).status == 401


def test_passwords_are_stored_hashed(call: Call, carto: LocalCarto) -> None:
    made = call("POST", "/api/v1/viz", {"name": "m", "privacy": "password", "password": "open sesame"}).json
    assert made["privacy"] == "PASSWORD"
    with psycopg.connect(carto.dsn) as connection:
        row = connection.execute("SELECT password_hash FROM cartodb_local.visualizations").fetchone()
    assert row is not None
    assert row[0]
    assert "sesame" not in row[0]


def test_a_locked_table_does_not_hold_up_the_catalogue(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t AS SELECT 'SRID=4326;POINT(1 2)'::geometry AS the_geom")
    query(call, "SELECT CDB_CartodbfyTable('t')")
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        assert call("GET", "/api/v1/viz/t").json["table"]["geometry_types"] == []
        assert time.monotonic() - begin < 50  # the call gives up after a minute


def test_a_plan_without_private_datasets_has_none() -> None:
    with start(user="free", api_key="key", plan=Plan(private_datasets=False)) as server:

        def send(method: str, path: str, **body: Any) -> requests.Response:
            return requests.request(method, server.base_url + path, json={"api_key": "key", **body}, timeout=10)

        send("POST", "/api/v2/sql", q="CREATE TABLE t AS SELECT 1 AS i")
        one = requests.get(f"{server.base_url}/api/v1/viz/t", timeout=10).json()
        assert one["privacy"] == "PUBLIC"
        assert send("PUT", f"/api/v1/viz/{one['id']}", id=one["id"], privacy="private").status_code == 403
        assert send("POST", "/api/v1/viz", tables=["t"], privacy="private").status_code == 403
        assert send("POST", "/api/v1/viz", tables=["t"]).json()["privacy"] == "PUBLIC"


def test_a_table_that_somebody_alters_is_not_waited_for_long(call: Call, carto: LocalCarto) -> None:
    one = make(call, "t")
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("ALTER TABLE t ADD j int")
        refused = put(call, one, privacy="public")
        assert refused.status == 503
    assert put(call, one, privacy="public").json["privacy"] == "PUBLIC"


def test_a_synchronized_table_tells_of_it(call: Call, carto: LocalCarto) -> None:
    one = make(call, "t")
    assert one["synchronization"] is None
    with psycopg.connect(carto.dsn) as connection:
        connection.execute(
            "INSERT INTO cartodb_local.synchronizations (id, name, table_oid, interval_s, url, state, created_at,"
            " updated_at, run_at, ran_at, log_id, type_guessing, quoted_fields_guessing, content_guessing)"
            " SELECT gen_random_uuid(), 't', 't'::regclass, 3600, 'http://ann:secret@localhost/t.csv', 'success',"
            " now(), now(), now() + interval '1h', now(), gen_random_uuid(), true, true, false"
        )
    shown = call("GET", "/api/v1/viz/t")
    assert b"secret" not in shown.body
    for synchronization in (shown.json["synchronization"], shown.json["table"]["synchronization"]):
        assert (synchronization["name"], synchronization["interval"], synchronization["state"]) == (
            "t",
            3600,
            "success",
        )
    assert call("GET", "/api/v1/tables/t").json["synchronization"] == shown.json["synchronization"]
