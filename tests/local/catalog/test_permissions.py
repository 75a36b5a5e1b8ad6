from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
USERS = "/api/v1/organization/local/users"


@pytest.fixture
def members(call: Call) -> dict[str, str]:
    ids = {}
    for name in ("ann", "ben"):
        body = {"username": name, "email": f"{name}@example.com", "password": "secret-word"}
        made = call("POST", USERS, body)
        assert made.status == 201, made.body
        ids[name] = made.json["id"]
    return ids


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


def table(call: Call) -> Any:
    call("POST", "/api/v2/sql", {"q": "CREATE TABLE t (id serial, v int)"})
    return call("GET", "/api/v1/viz/t").json


def entry(kind: str, identity: str, access: str) -> dict[str, Any]:
    return {"type": kind, "entity": {"id": identity}, "access": access}


def test_sharing_is_a_grant_and_taking_back_revokes_it(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    path = f"/api/v1/perm/{table(call)['permission']['id']}"
    assert not may(carto, "ann", "SELECT * FROM t")
    shared = call("PUT", path, {"acl": [entry("user", members["ann"], "r"), entry("user", members["ben"], "rw")]})
    assert shared.status == 200
    assert shared.json["acl"] == [
        {"type": "user", "entity": {"id": members["ann"], "username": "ann"}, "access": "r"},
        {"type": "user", "entity": {"id": members["ben"], "username": "ben"}, "access": "rw"},
    ]
    assert call("GET", path).json == shared.json
    assert call("GET", "/api/v1/viz/t").json["permission"] == shared.json
    assert may(carto, "ann", "SELECT * FROM t")
    assert not may(carto, "ann", "INSERT INTO t (v) VALUES (1)")
    for statement in ("INSERT INTO t (v) VALUES (1)", "UPDATE t SET v = 2", "DELETE FROM t", "SELECT * FROM t"):
        assert may(carto, "ben", statement)
    assert call("PUT", path, {"acl": [entry("user", members["ben"], "n")]}).json["acl"] == []
    assert not may(carto, "ann", "SELECT * FROM t")
    assert not may(carto, "ben", "SELECT * FROM t")
    assert not may(carto, "ben", "SELECT nextval('t_id_seq')")


def test_the_organization_is_all_members_also_later_ones(
    call: Call, carto: LocalCarto, members: dict[str, str]
) -> None:
    shown = table(call)
    organization = call("GET", "/api/v3/me").json["user_data"]["organization"]
    path = f"/api/v1/perm/{shown['permission']['id']}"
    shared = call("PUT", path, {"acl": [entry("org", organization["id"], "r")]})
    assert shared.json["acl"][0]["entity"] == {"id": organization["id"], "name": "local"}
    call("POST", USERS, {"username": "eve", "email": "eve@example.com", "password": "secret-word"})
    for name in (*members, "eve"):
        assert may(carto, name, "SELECT * FROM t")
        assert not may(carto, name, "DELETE FROM t")


def test_a_table_made_again_stays_shared(call: Call, carto: LocalCarto, members: dict[str, str]) -> None:
    path = f"/api/v1/perm/{table(call)['permission']['id']}"
    call("PUT", path, {"acl": [entry("user", members["ann"], "r")]})
    call("POST", "/api/v2/sql", {"q": "SELECT CDB_CartodbfyTable('t')"})
    assert call("GET", "/api/v1/viz/t").json["permission"]["acl"][0]["access"] == "r"
    assert may(carto, "ann", "SELECT * FROM t")


def test_a_removed_member_loses_access(call: Call, members: dict[str, str]) -> None:
    path = f"/api/v1/perm/{table(call)['permission']['id']}"
    call("PUT", path, {"acl": [entry("user", identity, "rw") for identity in members.values()]})
    assert call("DELETE", f"{USERS}/ann").status == 204
    [left] = call("GET", path).json["acl"]
    assert left["entity"]["username"] == "ben"


def test_maps_are_shared_too(call: Call, members: dict[str, str]) -> None:
    a_map = call("POST", "/api/v1/viz", {"name": "m"}).json
    path = f"/api/v1/perm/{a_map['permission']['id']}"
    assert call("PUT", path, {"acl": [entry("user", members["ann"], "r")]}).status == 200
    assert call("GET", f"/api/v1/viz/{a_map['id']}").json["permission"]["acl"][0]["entity"]["username"] == "ann"


def test_what_cannot_be_shared_is_said(call: Call, members: dict[str, str]) -> None:
    path = f"/api/v1/perm/{table(call)['permission']['id']}"
    nobody = "00000000-0000-4000-8000-00000000dead"
    owner = call("GET", "/api/v3/me").json["user_data"]["id"]
    for acl, status in (
        ([entry("user", nobody, "r")], 404),
        ([entry("group", nobody, "r")], 404),
        ([entry("org", nobody, "r")], 404),
        ([entry("user", owner, "r")], 400),
        ([entry("user", members["ann"], "w")], 400),
        ([entry("robot", members["ann"], "r")], 400),
        ([{"type": "user"}], 400),
        ("everybody", 400),
    ):
        refused = call("PUT", path, {"acl": acl})
        assert refused.status == status, acl
        assert refused.json["errors"]
    assert call("GET", path).json["acl"] == []
    assert call("GET", f"/api/v1/perm/{nobody}").status == 404
    assert call("PUT", path, {"acl": []}, key=None).status == 401
