from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
USERS = "/api/v2/organization/local/users"
UNKNOWN = "00000000-0000-4000-8000-00000000dead"
USER = """
avatar_url base_url disqus_shortname google_maps_query_string groups id last_name name org_admin org_user remove_logo
username viewer
"""


def organization_id(call: Call) -> str:
    return str(call("GET", "/api/v3/me").json["user_data"]["organization"]["id"])


@pytest.fixture
def members(call: Call) -> dict[str, str]:
    for name in ("ann", "ben"):
        add_member(call, name)
    listed = call("GET", f"/api/v1/organization/{organization_id(call)}/users").json["users"]
    return {user["username"]: user["id"] for user in listed if user["username"] != "tester"}


def add_member(call: Call, name: str, **details: Any) -> Any:
    body = {"username": name, "email": f"{name}@example.com", "password": "Kw7x-word", **details}
    made = call("POST", USERS, body)
    assert made.status == 200, made.body
    return made.json


def may(carto: LocalCarto, username: str, statement: str) -> bool:
    """Run a statement as a member, and undo it."""
    with psycopg.connect(carto.dsn) as connection:
        row = connection.execute("SELECT role FROM cartodb_local.members WHERE username = %s", (username,)).fetchone()
        assert row is not None
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(row[0])))
        try:
            connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
        finally:
            connection.rollback()
        return True


def make_dataset(call: Call) -> str:
    """Create a dataset and return the path of its permission."""
    query = "CREATE TABLE t (v int); SELECT CDB_CartodbfyTable('t')"
    assert call("POST", "/api/v2/sql", {"q": query}).status == 200
    return f"/api/v1/perm/{permission(call, 't')['id']}"


def permission(call: Call, which: str) -> Any:
    return call("GET", f"/api/v1/viz/{which}", show_permission="true").json["permission"]


def entry(kind: str, identity: str, access: str) -> dict[str, Any]:
    return {"type": kind, "entity": {"id": identity}, "access": access}


def accesses(acl: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["type"], one["entity"]["id"], one["access"]) for one in acl]


def test_sharing_grants_and_revokes(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    path = make_dataset(call)
    assert not may(carto, "ann", "SELECT * FROM t")
    shared = call("PUT", path, {"acl": [entry("user", members["ann"], "r"), entry("user", members["ben"], "rw")]})
    assert shared.status == 200
    assert sorted(shared.json) == ["acl", "created_at", "entity", "id", "owner", "updated_at"]
    assert accesses(shared.json["acl"]) == [("user", members["ann"], "r"), ("user", members["ben"], "rw")]
    ann = shared.json["acl"][0]["entity"]
    assert sorted(ann) == USER.split()
    assert (ann["username"], ann["base_url"]) == ("ann", carto.base_url.replace("/tester", "/ann"))
    assert shared.json["entity"]["type"] == "vis"
    assert shared.json["owner"]["username"] == "tester"
    assert accesses(permission(call, "t")["acl"]) == accesses(shared.json["acl"])
    assert may(carto, "ann", "SELECT * FROM t")
    assert not may(carto, "ann", "INSERT INTO t (v) VALUES (1)")
    for statement in ("INSERT INTO t (v) VALUES (1)", "UPDATE t SET v = 2", "DELETE FROM t", "SELECT * FROM t"):
        assert may(carto, "ben", statement)
    none = call("PUT", path, {"acl": [entry("user", members["ben"], "n")]}).json["acl"]
    assert accesses(none) == [("user", members["ben"], "n")]
    assert not may(carto, "ann", "SELECT * FROM t")
    assert not may(carto, "ben", "SELECT * FROM t")
    assert not may(carto, "ben", "SELECT nextval(pg_get_serial_sequence('t', 'cartodb_id'))")
    assert call("PUT", path, {}).json["acl"] == []


def test_sharing_changes_the_time_of_the_permission_only(call: Call, members: dict[str, str]) -> None:
    path = make_dataset(call)
    before = call("GET", "/api/v1/viz/t").json["updated_at"]
    first = call("PUT", path, {"acl": [entry("user", members["ann"], "r")]}).json
    second = call("PUT", path, {"acl": []}).json
    assert second["updated_at"] > first["updated_at"]
    assert second["created_at"] == first["created_at"]
    assert call("GET", "/api/v1/viz/t").json["updated_at"] == before


def test_organization_is_all_members_also_later_ones(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    path = make_dataset(call)
    shared = call("PUT", path, {"acl": [entry("org", organization_id(call), "r")]})
    assert shared.json["acl"][0]["entity"] == {"id": organization_id(call), "name": "local", "avatar_url": None}
    add_member(call, "eve")
    for name in (*members, "eve"):
        assert may(carto, name, "SELECT * FROM t")
        assert not may(carto, name, "DELETE FROM t")


def test_group_is_its_members_also_later_ones(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    path = make_dataset(call)
    groups = f"/api/v1/organization/{organization_id(call)}/groups"
    group = call("POST", groups, {"display_name": "Readers"}).json
    call("POST", f"{groups}/{group['id']}/users", {"users": [members["ann"]]})
    shared = call("PUT", path, {"acl": [entry("group", group["id"], "r")]})
    assert shared.json["acl"] == [
        {"type": "group", "entity": {"id": group["id"], "name": "Readers"}, "access": "r"},
    ]
    assert (may(carto, "ann", "SELECT * FROM t"), may(carto, "ben", "SELECT * FROM t")) == (True, False)
    call("POST", f"{groups}/{group['id']}/users", {"users": [members["ben"]]})
    assert call("DELETE", f"{groups}/{group['id']}/users", {"users": [members["ann"]]}).json == {}
    assert (may(carto, "ann", "SELECT * FROM t"), may(carto, "ben", "SELECT * FROM t")) == (False, True)
    shown = call("GET", f"{groups}/{group['id']}", fetch_shared_tables_count="true").json
    assert shown["shared_tables_count"] == 1
    assert call("DELETE", f"{groups}/{group['id']}").status == 204
    assert permission(call, "t")["acl"] == []
    assert not may(carto, "ben", "SELECT * FROM t")


def test_table_made_again_stays_shared(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    call("PUT", make_dataset(call), {"acl": [entry("user", members["ann"], "r")]})
    call("POST", "/api/v2/sql", {"q": "DROP TABLE t; CREATE TABLE t (v int); SELECT CDB_CartodbfyTable('t')"})
    assert permission(call, "t")["acl"][0]["access"] == "r"
    assert may(carto, "ann", "SELECT * FROM t")


def test_entries_of_deleted_members_are_gone(call: Call, members: dict[str, str]) -> None:
    path = make_dataset(call)
    call("PUT", path, {"acl": [entry("user", identity, "rw") for identity in members.values()]})
    assert call("DELETE", f"{USERS}/ann").status == 200
    [left] = permission(call, "t")["acl"]
    assert left["entity"]["username"] == "ben"
    assert call("PUT", path, {"acl": [entry("user", UNKNOWN, "r")]}).json["acl"] == []


def test_maps_are_shared_for_reading(call: Call, members: dict[str, str]) -> None:
    a_map = call("POST", "/api/v1/viz", {"name": "m"}).json
    path = f"/api/v1/perm/{a_map['permission']['id']}"
    assert call("PUT", path, {"acl": [entry("user", members["ann"], "r")]}).status == 200
    assert permission(call, a_map["id"])["acl"][0]["entity"]["username"] == "ann"
    assert call("PUT", path, {"acl": [entry("user", members["ann"], "rw")]}).status == 400


@pytest.mark.parametrize(
    "acl",
    [
        [entry("user", UNKNOWN, "w")],
        [entry("robot", UNKNOWN, "r")],
        [entry("user", "no id", "r")],
        [{"type": "user", "access": "r"}],
        [{"type": "user", "entity": {}, "access": "r"}],
        [{"entity": {"id": UNKNOWN}, "access": "r"}],
        [{"type": "user", "entity": {"id": UNKNOWN}}],
        [{"type": "user", "entity": {"id": UNKNOWN, "base_url": "x"}, "access": "r"}],
        ["everybody"],
        "everybody",
        {"type": "user"},
    ],
)
def test_invalid_access_list_is_refused(call: Call, acl: object) -> None:
    refused = call("PUT", make_dataset(call), {"acl": acl})
    assert (refused.status, refused.body) == (400, b"")
    assert permission(call, "t")["acl"] == []


def test_viewers_cannot_write(call: Call) -> None:
    add_member(call, "eve", viewer=True)
    users = call("GET", f"/api/v1/organization/{organization_id(call)}/users", q="eve").json["users"]
    path = make_dataset(call)
    assert call("PUT", path, {"acl": [entry("user", users[0]["id"], "rw")]}).status == 400
    assert call("PUT", path, {"acl": [entry("user", users[0]["id"], "r")]}).status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_permissions_are_only_replaced(call: Call, method: str) -> None:
    path = make_dataset(call)
    assert call(method, path, {} if method == "POST" else None).status == 404


def test_permissions_need_the_master_key(call: Call) -> None:
    path = make_dataset(call)
    for refused, status in (
        (call("PUT", path, {"acl": []}, key=None), 401),
        (call("PUT", path, {"acl": []}, key="unknown"), 401),
        (call("PUT", f"/api/v1/perm/{UNKNOWN}", {"acl": []}), 404),
        (call("PUT", "/api/v1/perm/missing", {"acl": []}), 404),
    ):
        assert (refused.status, refused.body) == (status, b"")
