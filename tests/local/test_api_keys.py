from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SQL = {"type": "apis", "apis": ["sql"]}
MAPS = {"type": "apis", "apis": ["maps"]}
Call = Callable[..., Any]
KEYS = "/api/v3/api_keys"


def query(call: Call, q: str, **arguments: Any) -> Any:
    return call("GET", "/api/v2/sql", q=q, **arguments)


def create(call: Call, name: str, *grants: dict[str, Any]) -> str:
    made = call("POST", KEYS, {"name": name, "grants": list(grants or [SQL])})
    assert made.status == 201, made.body
    return str(made.json["token"])


def test_created_key_works_at_once_and_is_gone_once_deleted(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    table = {"schema": "public", "name": "t", "permissions": ["select"]}
    token = create(call, "reader", SQL, {"type": "database", "tables": [table]})
    assert query(call, "SELECT i FROM t", key=token).json["rows"] == [{"i": 1}]
    assert query(call, "DELETE FROM t", key=token).status == 403
    deleted = call("DELETE", f"{KEYS}/reader")
    assert (deleted.status, deleted.body) == (204, b"")
    assert query(call, "SELECT i FROM t", key=token).status == 401
    assert call("DELETE", f"{KEYS}/reader").status == 404


def test_key_without_sql_is_forbidden_there(call: Call) -> None:
    token = create(call, "maps only", MAPS)
    assert query(call, "SELECT 1", key=token).status == 403
    assert call("GET", f"{KEYS}/maps%20only").json["name"] == "maps only"


def test_shape_of_a_key(call: Call) -> None:
    create(call, "k")
    key = call("GET", f"{KEYS}/k").json
    assert sorted(key) == ["created_at", "grants", "name", "token", "type", "updated_at", "user"]
    assert key["user"] == {"username": "tester"}
    assert key["type"] == "regular"
    assert key["grants"] == [SQL]


def test_list_is_paged(call: Call) -> None:
    for number in range(3):
        create(call, f"k{number}")
    everything = call("GET", KEYS).json
    assert [key["name"] for key in everything["result"]] == ["Master", "Default public", "k0", "k1", "k2"]
    assert (everything["total"], everything["count"]) == (5, 5)
    page = call("GET", KEYS + "/", page="2", per_page="2", type="regular").json
    assert [key["name"] for key in page["result"]] == ["k2"]
    assert (page["total"], page["count"]) == (3, 1)
    assert page["_links"]["prev"]["href"].endswith("page=1&per_page=2&type=regular")


def test_regular_key_sees_only_itself_and_changes_nothing(call: Call) -> None:
    token = create(call, "k")
    create(call, "other")
    assert [key["name"] for key in call("GET", KEYS, key=token).json["result"]] == ["k"]
    assert call("GET", f"{KEYS}/k", key=token).status == 200
    assert call("GET", f"{KEYS}/other", key=token).status == 404
    assert call("GET", f"{KEYS}/Master", key=token).status == 404
    assert call("POST", KEYS, {"name": "x", "grants": [SQL]}, key=token).status == 401
    assert call("DELETE", f"{KEYS}/other", key=token).status == 401
    assert call("POST", f"{KEYS}/k/token/regenerate", key=token).status == 401


def test_without_a_key_nothing_is_shown(call: Call) -> None:
    assert call("GET", KEYS, key=None).status == 401
    assert call("GET", KEYS, key="wrong").status == 401
    assert call("POST", KEYS, {"name": "x", "grants": [SQL]}, key=None).status == 401


def test_regenerated_token_replaces_the_old_one(call: Call) -> None:
    old = create(call, "k")
    new = call("POST", f"{KEYS}/k/token/regenerate").json["token"]
    assert query(call, "SELECT 1", key=old).status == 401
    assert query(call, "SELECT 1", key=new).status == 200


def test_built_in_keys_cannot_be_deleted(call: Call) -> None:
    assert call("DELETE", f"{KEYS}/Master").status == 403
    assert call("DELETE", f"{KEYS}/Default%20public").status == 403
    assert call("POST", f"{KEYS}/Default%20public/token/regenerate").status == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "grants": [SQL]},
        {"name": "Master", "grants": [SQL]},
        {"name": "x", "grants": {}},
        {"name": "x", "grants": []},
        {"name": "x", "grants": [SQL, MAPS]},
        {"name": "x", "grants": [{"type": "apis"}]},
        {"name": "x", "grants": [{"type": "apis", "apis": ["imports"]}]},
        {"name": "x", "grants": [SQL, {"type": "nonsense"}]},
        {"name": "x", "grants": [SQL, {"type": []}]},
        {"name": "x", "grants": [{"type": {}}]},
        {"name": "x", "grants": [SQL, {"type": "database", "tables": [{"name": "t"}]}]},
        {
            "name": "x",
            "grants": [
                SQL,
                {"type": "database", "tables": [{"schema": "public", "name": "nope", "permissions": ["select"]}]},
            ],
        },
        {
            "name": "x",
            "grants": [
                SQL,
                {"type": "database", "tables": [{"schema": "public", "name": "t", "permissions": ["drop"]}]},
            ],
        },
        {
            "name": "x",
            "grants": [
                SQL,
                {
                    "type": "database",
                    "tables": [{"schema": "cartodb_local", "name": "api_keys", "permissions": ["select"]}],
                },
            ],
        },
        {
            "name": "x",
            "grants": [SQL, {"type": "database", "schemas": [{"name": "cartodb", "permissions": ["create"]}]}],
        },
        {"name": "x", "grants": [SQL, {"type": "dataservices", "services": ["nonsense"]}]},
    ],
)
def test_bad_keys_are_unprocessable_and_leave_nothing(call: Call, body: dict[str, Any]) -> None:
    refused = call("POST", KEYS, body)
    assert refused.status == 422, refused.body
    assert refused.json["errors"]
    assert call("GET", KEYS).json["total"] == 2


def test_names_are_unique(call: Call) -> None:
    create(call, "k")
    assert call("POST", KEYS, {"name": "k", "grants": [SQL]}).status == 422


def test_key_that_creates_tables(call: Call) -> None:
    schemas = [{"name": "public", "permissions": ["create"]}]
    token = create(call, "maker", SQL, {"type": "database", "tables": [], "schemas": schemas})
    assert query(call, "CREATE TABLE made AS SELECT 1 AS i", key=token).status == 200
    assert query(call, "SELECT i FROM made").json["rows"] == [{"i": 1}]
    assert query(call, "ALTER TABLE made ADD j int; DROP TABLE made").status == 200
