from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]


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
    assert call("GET", "/api/v1/viz/t", key="wrong").status == 401


def test_views_and_the_servers_own_tables_are_not_datasets(call: Call) -> None:
    query(call, "CREATE VIEW v AS SELECT 1 AS i")
    for name in ("v", "spatial_ref_sys", "cdb_tablemetadata", "cartodb_local.api_keys", "pg_class"):
        assert call("GET", f"/api/v1/viz/{name}").status == 404
