from __future__ import annotations

import base64
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto, Plan, start
from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map, put, query

NOT_FOUND = {"errors": "Visualization does not exist", "errors_cause": None}


def parse_time(text: str) -> datetime:
    """Parse a time of a single dataset or map, which CARTO writes without fractions."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)


def test_tables_created_by_sql_appear_until_dropped(call: Call) -> None:
    make_dataset(call, "t")
    by_name = call("GET", "/api/v1/viz/t").json
    assert uuid.UUID(by_name["id"])
    assert (by_name["name"], by_name["type"], by_name["privacy"]) == ("t", "table", "PRIVATE")
    assert call("GET", f"/api/v1/viz/{by_name['id']}").json == by_name
    assert call("GET", "/api/v1/viz/public.t/").json["id"] == by_name["id"]
    query(call, "ALTER TABLE t RENAME TO u")
    assert call("GET", "/api/v1/viz/u").json["id"] == by_name["id"]
    query(call, "DROP TABLE u")
    gone = call("GET", f"/api/v1/viz/{by_name['id']}")
    assert (gone.status, gone.json) == (404, NOT_FOUND)


def test_privacy_is_a_grant_to_the_public_role(call: Call) -> None:
    identity = make_dataset(call, "t")["id"]
    assert query(call, "SELECT * FROM t", key=None).status == 403
    for privacy, status in (("public", 200), ("LINK", 200), ("private", 403)):
        changed = call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": privacy})
        assert (changed.status, changed.json["privacy"]) == (200, privacy.upper())
        assert query(call, "SELECT * FROM t", key=None).status == status
        assert call("GET", "/api/v1/viz/t").json["privacy"] == privacy.upper()


def test_privacy_tells_what_sql_granted(call: Call) -> None:
    make_dataset(call, "t")
    query(call, "GRANT SELECT ON t TO publicuser")
    assert call("GET", "/api/v1/viz/t").json["privacy"] == "PUBLIC"
    query(call, "REVOKE SELECT ON t FROM publicuser; GRANT SELECT ON t TO PUBLIC")
    identity = call("GET", "/api/v1/viz/t").json["id"]
    call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "private"})
    assert query(call, "SELECT * FROM t", key=None).status == 403


def test_update_needs_the_same_id_in_the_body(call: Call) -> None:
    identity = make_dataset(call, "t")["id"]
    assert call("PUT", f"/api/v1/viz/{identity}", {"privacy": "public"}).status == 403
    assert call("PUT", f"/api/v1/viz/{identity}", {"id": "other", "privacy": "public"}).status == 403


def test_only_the_master_key_manages_private_tables(call: Call) -> None:
    identity = make_dataset(call, "t")["id"]
    assert call("GET", "/api/v1/viz/t", key=None).status == 403
    assert call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "public"}, key=None).status == 401
    call("PUT", f"/api/v1/viz/{identity}", {"id": identity, "privacy": "public"})
    assert call("GET", "/api/v1/viz/t", key=None).status == 200
    assert call("GET", "/api/v1/viz/t", key="wrong").status == 200


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t (i int)",
        "CREATE VIEW t AS SELECT 1 AS i",
        "CREATE TABLE t (cartodb_id int, the_geom geometry, the_geom_webmercator geometry)",
        "CREATE TABLE s AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('s'); ALTER TABLE s DROP COLUMN the_geom;"
        " ALTER TABLE s RENAME TO t",
        "CREATE TABLE t AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('t'); DROP TRIGGER test_quota_per_row ON t",
    ],
)
def test_only_cartodbfied_tables_are_datasets(call: Call, statement: str) -> None:
    assert query(call, statement).status == 200
    assert call("GET", "/api/v1/viz/t").status == 404
    assert call("GET", "/api/v1/viz", type="table").json["total_entries"] == 0


def test_tables_of_other_schemas_are_not_datasets(call: Call) -> None:
    query(call, "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('s', 's.t')")
    for name in ("t", "s.t", "spatial_ref_sys", "cdb_tablemetadata", "cartodb_local.api_keys", "pg_class"):
        assert call("GET", f"/api/v1/viz/{name}").status == 404


def test_table_that_is_cartodbfied_becomes_a_dataset(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    assert call("GET", "/api/v1/viz/t").status == 404
    query(call, "SELECT CDB_CartodbfyTable('t')")
    assert call("GET", "/api/v1/viz/t").status == 200


def test_details_are_changed_and_kept(call: Call) -> None:
    one = make_dataset(call, "t")
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
    shown = call("GET", "/api/v1/viz/t", show_liked="true", show_permission="true", show_stats="true").json
    assert {name: shown[name] for name in details} == details
    assert set(shown) == set(changed.json)
    assert datetime.fromisoformat(changed.json["updated_at"]) > parse_time(one["updated_at"])


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": "a"},
        {"tags": [1]},
        {"locked": "true"},
        {"description": 1},
        {"kind": None},
        {"transition_options": []},
        {"version": "3"},
        {"active_layer_id": "t"},
        {"name": 7},
        {"description": "nul \x00"},
    ],
)
def test_changes_that_make_no_sense_change_nothing(call: Call, changes: dict[str, Any]) -> None:
    one = make_dataset(call, "t")
    refused = put(call, one, title="changed", **changes)
    assert (refused.status, len(refused.json["errors"])) == (400, 1)
    assert call("GET", "/api/v1/viz/t", show_permission="true").json == one


@pytest.mark.parametrize(
    ("changes", "status", "errors"),
    [
        ({"name": ""}, 400, ["Name can't be blank"]),
        ({"name": None}, 400, ["Name can't be blank"]),
        ({"privacy": "secret"}, 403, ["Privacy is not included in the list"]),
        ({"privacy": None}, 403, ["Privacy can't be blank", "Privacy is not included in the list"]),
        ({"privacy": "password"}, 400, ["Password required for protected visualization"]),
        ({"privacy": "wadus", "name": ""}, 403, ["Name can't be blank", "Privacy is not included in the list"]),
    ],
)
@pytest.mark.parametrize("kind", ["dataset", "map"])
def test_messages_of_refused_changes(
    call: Call, kind: str, changes: dict[str, Any], status: int, errors: list[str]
) -> None:
    one = make_dataset(call, "t")
    changed = one if kind == "dataset" else make_map(call, "m", "t")
    refused = put(call, changed, title="changed", **changes)
    assert (refused.status, refused.json) == (status, {"errors": errors})
    assert call("GET", f"/api/v1/viz/{changed['id']}").json["title"] is None


def test_another_name_renames_the_table(call: Call) -> None:
    one = make_dataset(call, "t")
    renamed = put(call, one, name="u").json
    assert (renamed["id"], renamed["name"], renamed["table"]["name"]) == (one["id"], "u", "u")
    assert query(call, "SELECT i FROM u").json["rows"] == [{"i": 1}]


@pytest.mark.parametrize(
    ("requested", "name"),
    [
        ("changed name", "changed_name"),
        ("CHANGED", "changed"),
        ("taken", "taken_1"),
        ("select", "select_t"),
        ("layergroup", "layergroup_t"),
        ("_x", "table_x"),
        ("x" * 64, "x" * 63),
        ("T", "t"),
        (" t ", "t"),
    ],
)
def test_new_name_of_a_dataset_is_sanitized(call: Call, requested: str, name: str) -> None:
    make_dataset(call, "taken")
    changed = put(call, make_dataset(call, "t"), name=requested, description="kept")
    assert (changed.status, changed.json["name"], changed.json["description"]) == (200, name, "kept")
    assert query(call, f"SELECT i FROM {name}").json["rows"] == [{"i": 1}]


def test_rename_that_the_database_refuses_is_undone(call: Call) -> None:
    query(call, "CREATE TABLE plain (i int)")  # not a dataset, so CARTO does not see that the name is taken
    changed = put(call, make_dataset(call, "t"), name="plain", description="kept")
    assert (changed.status, changed.json["name"], changed.json["description"]) == (200, "t", "kept")


def test_maps_follow_a_renamed_dataset(call: Call) -> None:
    one = make_dataset(call, "t")
    a_map = make_map(call, "m", "t")
    change(call, one, name="u")
    layers = call("GET", f"/api/v1/maps/{a_map['map_id']}/layers").json["layers"]
    assert [layer["options"].get("table_name") for layer in layers] == [None, "u", None]


def test_a_recreated_table_keeps_id_but_no_grants(call: Call) -> None:
    one = make_dataset(call, "t")
    put(call, one, tags=["a"], privacy="link")
    query(call, "DROP TABLE t; CREATE TABLE t AS SELECT 2 AS j; SELECT CDB_CartodbfyTable('t')")
    again = call("GET", "/api/v1/viz/t").json
    assert (again["id"], again["tags"], again["privacy"]) == (one["id"], ["a"], "PRIVATE")
    query(call, "GRANT SELECT ON t TO publicuser")
    assert call("GET", "/api/v1/viz/t").json["privacy"] == "LINK"
    query(call, "SELECT CDB_CartodbfyTable('t')")
    assert call("GET", "/api/v1/viz/t").json["id"] == one["id"]


def test_a_table_renamed_over_another_takes_its_id(call: Call) -> None:
    old, new = make_dataset(call, "old"), make_dataset(call, "new")
    shown = make_map(call, "m", "new")
    query(call, "BEGIN; DROP TABLE old; ALTER TABLE new RENAME TO old; COMMIT")
    assert call("GET", "/api/v1/viz/old").json["id"] == old["id"]
    assert call("GET", f"/api/v1/viz/{new['id']}").status == 404
    tables = call("GET", f"/api/v1/viz/{shown['id']}").json["related_tables"]
    assert [table["name"] for table in tables] == ["old"]


def test_tables_that_swap_their_names_keep_their_ids(call: Call) -> None:
    a, b = make_dataset(call, "a"), make_dataset(call, "b")
    query(call, "BEGIN; ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b; COMMIT")
    assert call("GET", "/api/v1/viz/a").json["id"] == b["id"]
    assert call("GET", "/api/v1/viz/b").json["id"] == a["id"]


def test_delete_of_a_dataset_deletes_maps_of_it_alone(call: Call) -> None:
    one, _ = make_dataset(call, "t"), make_dataset(call, "u")
    alone, both = make_map(call, "alone", "t"), make_map(call, "both", "t", "u")
    gone = call("DELETE", f"/api/v1/viz/{one['id']}")
    assert (gone.status, gone.body) == (204, b"")
    assert query(call, "SELECT * FROM t").status == 400
    assert call("GET", f"/api/v1/viz/{alone['id']}").status == 404
    left = call("GET", f"/api/v1/viz/{both['id']}").json
    assert [table["name"] for table in left["related_tables"]] == ["u"]
    layers = call("GET", f"/api/v1/maps/{both['map_id']}/layers").json["layers"]
    assert [layer["kind"] for layer in layers] == ["tiled", "carto", "tiled"]
    again = call("DELETE", f"/api/v1/viz/{one['id']}")
    assert (again.status, again.json) == (404, NOT_FOUND)


def test_maps_are_found_and_deleted_by_name(call: Call) -> None:
    dataset = make_dataset(call, "t")
    make_map(call, "My map", "t")
    shadowed = make_map(call, "another", "t")
    change(call, shadowed, name="t")
    assert call("GET", "/api/v1/viz/t").json["id"] == dataset["id"]
    assert call("GET", "/api/v1/viz/public.My%20map").status == 200
    assert call("DELETE", "/api/v1/viz/My%20map").status == 204
    assert call("GET", "/api/v1/viz/My%20map").status == 404


def test_a_map_is_deleted_with_its_last_table(call: Call) -> None:
    make_dataset(call, "t"), make_dataset(call, "u")
    both = make_map(call, "both", "t", "u")
    query(call, "DROP TABLE t")
    left = call("GET", f"/api/v1/viz/{both['id']}").json["related_tables"]
    assert [table["name"] for table in left] == ["u"]
    query(call, "DROP TABLE u")
    assert call("GET", f"/api/v1/viz/{both['id']}").status == 404


def test_a_table_that_a_view_needs_is_not_deleted(call: Call) -> None:
    one = make_dataset(call, "t")
    query(call, "CREATE VIEW v AS SELECT * FROM t")
    refused = call("DELETE", f"/api/v1/viz/{one['id']}")
    assert refused.status == 400
    assert "depend" in refused.json["errors"][0]
    assert call("GET", "/api/v1/viz/t").json["id"] == one["id"]


def test_maps_are_made_changed_and_deleted(call: Call) -> None:
    make_dataset(call, "t")
    made = make_map(call, "My map", "t", type="derived", description="d", tags=["a"], locked=True)
    assert (made["type"], made["table"], made["description"], made["tags"]) == ("derived", {}, "d", ["a"])
    assert made["locked"]
    assert [table["name"] for table in made["related_tables"]] == ["t"]
    changed = change(call, made, name="Other", tags=["x", " "], privacy="link")
    assert (changed["name"], changed["tags"], changed["privacy"]) == ("Other", ["x"], "LINK")
    assert change(call, made, privacy="password", password="open")["privacy"] == "PASSWORD"
    assert b"open" not in call("GET", f"/api/v1/viz/{made['id']}").body
    assert call("DELETE", f"/api/v1/viz/{made['id']}").status == 204
    assert query(call, "SELECT * FROM t").status == 200
    assert call("GET", f"/api/v1/viz/{made['id']}").status == 404


@pytest.mark.parametrize(
    ("privacies", "expected"),
    [
        (("public", "public"), "PUBLIC"),
        (("public", "link"), "LINK"),
        (("link", "private"), "PRIVATE"),
        (("public", "password"), "PRIVATE"),
    ],
)
def test_privacy_of_a_map_is_that_of_its_tables(call: Call, privacies: tuple[str, str], expected: str) -> None:
    for name, privacy in zip("tu", privacies, strict=True):
        make_dataset(call, name, privacy=privacy, password="open")
    for requested in ("public", "private", "no such privacy"):
        assert make_map(call, "m", "t", "u", privacy=requested)["privacy"] == expected


def test_names_of_new_maps(call: Call) -> None:
    make_dataset(call, "t")
    names = [make_map(call, "m", "t")["name"] for _ in range(3)] + [make_map(call, " t ", "t")["name"]]
    assert names == ["m", "m 1", "m 2", "t 1"]
    unnamed = [call("POST", "/api/v1/viz", {"tables": ["t"]}).json["name"] for _ in range(2)]
    assert unnamed == ["Untitled map", "Untitled map 1"]
    kept = make_map(call, "n", "t")
    assert change(call, kept, name="m")["name"] == "m"  # renaming does not look for taken names


def test_map_of_a_dataset_and_copy_of_a_map(call: Call) -> None:
    one = make_dataset(call, "t", privacy="public")
    of_dataset = make_map(call, "of dataset", source_visualization_id=one["id"])
    assert ([table["name"] for table in of_dataset["related_tables"]], of_dataset["privacy"]) == (["t"], "PUBLIC")
    source = change(call, of_dataset, description="d", tags=["a"], privacy="password", password="open")
    copied = make_map(call, "copy", source_visualization_id=source["id"])
    for name in ("description", "tags", "privacy", "type"):
        assert copied[name] == source[name]
    assert copied["id"] != source["id"]
    assert [table["name"] for table in copied["related_tables"]] == ["t"]
    assert call("GET", f"/api/v1/viz/{copied['id']}", key=None, password="open").status == 200
    for source_id in (str(uuid.uuid4()), "t", 5):
        unknown = call("POST", "/api/v1/viz", {"source_visualization_id": source_id})
        assert (unknown.status, unknown.body) == (403, b"")
    page = call("POST", "/api/v4/kuviz", {"name": "page", "data": base64.b64encode(b"<html>").decode()}).json
    refused = call("POST", "/api/v1/viz", {"source_visualization_id": page["id"]})
    assert (refused.status, refused.json) == (400, {"errors": None})


def test_empty_map_has_no_map_and_the_requested_privacy(call: Call) -> None:
    empty = make_map(call, "empty")
    assert (empty["privacy"], empty["map_id"], empty["related_tables"]) == ("LINK", None, [])
    assert make_map(call, "public", privacy="PUBLIC")["privacy"] == "PUBLIC"
    assert make_map(call, "secret", privacy="password", password="open")["privacy"] == "PASSWORD"
    refused = call("POST", "/api/v1/viz", {"name": "m", "privacy": "secret"})
    assert refused.json == {"errors": ["Privacy is not included in the list"]}


@pytest.mark.parametrize("tables", [["missing"], ["t", "missing"], [], "t", [1]])
def test_map_needs_tables_that_exist(call: Call, tables: Any) -> None:
    make_dataset(call, "t")
    refused = call("POST", "/api/v1/viz", {"tables": tables})
    assert (refused.status, refused.json) == (400, {"errors": None})
    assert call("GET", "/api/v1/viz").json["total_entries"] == 0


@pytest.mark.parametrize("key", [None, "wrong", "default_public"])
def test_changes_need_the_master_key(call: Call, key: str | None) -> None:
    one = make_dataset(call, "t", privacy="public")
    for method, path in (("POST", ""), ("PUT", f"/{one['id']}"), ("DELETE", f"/{one['id']}")):
        refused = call(method, f"/api/v1/viz{path}", {"id": one["id"], "tables": ["t"], "title": "x"}, key=key)
        assert (refused.status, refused.body) == (401, b"")
    assert call("GET", "/api/v1/viz/t").json["title"] is None


def test_time_of_the_last_change_can_be_set(call: Call) -> None:
    one = make_dataset(call, "t")
    changed = change(call, one, updated_at="2030-01-02T03:04:05Z")
    assert datetime.fromisoformat(changed["updated_at"]) == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert call("GET", "/api/v1/viz/t").json["updated_at"] == "2030-01-02 03:04:05 UTC"
    assert change(call, one, updated_at="soon")["updated_at"] == changed["updated_at"]


def test_passwords_are_stored_hashed(call: Call, carto: LocalCarto) -> None:
    made = call("POST", "/api/v1/viz", {"name": "m", "privacy": "password", "password": "open sesame"}).json
    assert made["privacy"] == "PASSWORD"
    with psycopg.connect(carto.dsn) as connection:
        row = connection.execute("SELECT password_hash FROM cartodb_local.visualizations").fetchone()
    assert row is not None
    assert row[0]
    assert "sesame" not in row[0]


def test_a_locked_table_does_not_hold_up_the_catalogue(call: Call, carto: LocalCarto) -> None:
    make_dataset(call, "t", "SELECT 'SRID=4326;POINT(1 2)'::geometry AS the_geom")
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        assert call("GET", "/api/v1/viz/t").json["table"]["geometry_types"] == []
        assert time.monotonic() - begin < 50  # the call gives up after a minute


def test_a_plan_without_private_datasets_has_none() -> None:
    with start(user="free", api_key="key", plan=Plan(private_datasets=False)) as server:

        def send(method: str, path: str, **body: Any) -> requests.Response:
            return requests.request(method, server.base_url + path, json={"api_key": "key", **body}, timeout=10)

        send("POST", "/api/v2/sql", q="CREATE TABLE t AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('t')")
        one = requests.get(f"{server.base_url}/api/v1/viz/t", timeout=10).json()
        assert one["privacy"] == "PUBLIC"
        refused = send("PUT", f"/api/v1/viz/{one['id']}", id=one["id"], privacy="private")
        assert (refused.status_code, refused.json()) == (403, {"errors": ["Privacy cannot be set to private"]})
        assert send("POST", "/api/v1/viz", name="empty").json()["privacy"] == "PUBLIC"
        assert send("POST", "/api/v1/viz", tables=["t"]).json()["privacy"] == "PUBLIC"


def test_updates_give_up_on_locked_tables(call: Call, carto: LocalCarto) -> None:
    one = make_dataset(call, "t")
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("ALTER TABLE t ADD j int")
        refused = put(call, one, privacy="public")
        assert refused.status == 503
    assert put(call, one, privacy="public").json["privacy"] == "PUBLIC"


def test_a_synchronized_table_shows_its_synchronization(call: Call, carto: LocalCarto) -> None:
    one = make_dataset(call, "t")
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
    assert call("GET", "/api/v1/tables/t").json["synchronization"]["id"] == shown.json["synchronization"]["id"]
