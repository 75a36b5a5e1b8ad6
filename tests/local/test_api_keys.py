from __future__ import annotations

import re
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


def test_keys_work_from_creation_until_deletion(call: Call) -> None:
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
    assert [section["type"] for section in key["grants"]] == ["apis", "database"]
    assert key["grants"][1]["tables"] == []
    assert {"name": "public", "permissions": ["usage"]} in key["grants"][1]["schemas"]
    for name in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", key[name])


def test_grants_are_those_of_the_database(call: Call) -> None:
    query(call, "CREATE TABLE t (i serial); CREATE TABLE u AS SELECT 1 AS i; CREATE VIEW v AS SELECT 1 AS i")
    tables = [
        {"schema": "public", "name": "t", "permissions": ["select", "insert"]},
        {"schema": "public", "name": "u", "permissions": ["update"]},
        {"schema": "public", "name": "v", "permissions": ["select"]},
    ]
    database = {"type": "database", "tables": tables, "schemas": [{"name": "public", "permissions": ["create"]}]}
    token = create(call, "k", SQL, {**database, "table_metadata": []})
    query(call, "DROP TABLE u")
    query(call, "CREATE TABLE w AS SELECT 1 AS i", key=token)
    [shown] = [section for section in call("GET", f"{KEYS}/k").json["grants"] if section["type"] == "database"]
    assert shown["table_metadata"] == []
    assert {"name": "public", "permissions": ["create", "usage"]} in shown["schemas"]
    every = ["delete", "insert", "references", "select", "trigger", "truncate", "update"]
    assert shown["tables"] == [
        {"schema": "public", "name": "t", "owner": False, "permissions": ["insert", "select"]},
        {"schema": "public", "name": "v", "owner": False, "permissions": ["select"]},
        {"schema": "public", "name": "w", "owner": True, "permissions": every},
    ]


def test_grants_of_the_built_in_keys(call: Call) -> None:
    apis, database = {"type": "apis", "apis": ["sql", "maps"]}, {"type": "database", "tables": [], "schemas": []}
    services = {"type": "dataservices", "services": ["geocoding", "routing", "isolines", "observatory"]}
    assert call("GET", f"{KEYS}/Master").json["grants"] == [apis, database, services]
    assert call("GET", f"{KEYS}/Default%20public").json["grants"] == [apis, database]


@pytest.mark.parametrize(
    "section",
    [
        {"type": "dataservices", "services": ["geocoding"]},
        {"type": "data-observatory", "datasets": ["carto-do.x.y"]},
    ],
)
def test_other_grants_are_shown_as_given(call: Call, section: dict[str, Any]) -> None:
    create(call, "k", SQL, section, {"type": "user", "data": ["profile"]})
    grants = call("GET", f"{KEYS}/k").json["grants"]
    assert [one["type"] for one in grants] == ["apis", "database", section["type"]]
    assert grants[2] == section
    assert call("POST", KEYS, {"name": "no api", "grants": [{"type": "apis", "apis": []}]}).status == 201


def test_keys_are_ordered_by_type_first(call: Call) -> None:
    for name in ("b", "a", "c"):
        create(call, name)

    def names(**parameters: str) -> list[str]:
        return [key["name"] for key in call("GET", KEYS, **parameters).json["result"]]

    assert names() == ["Master", "Default public", "b", "a", "c"]
    assert names(order="name") == names(order="name", order_direction="desc")
    assert names(order="name") == ["Master", "Default public", "a", "b", "c"]
    assert names(type="regular, master") == ["Master", "b", "a", "c"]
    for key, expected in (("default_public", ["Default public"]),):
        shown = call("GET", KEYS, key=key).json
        assert ([one["name"] for one in shown["result"]], shown["total"]) == (expected, 1)
    self_link = call("GET", KEYS, order="name").json["result"][1]["_links"]["self"]
    assert self_link.endswith("/user/tester/api/v3/api_keys/Default%20public")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"order": "x"}, "Wrong 'order' parameter value. Valid values are one of [:type, :name, :updated_at]"),
        ({"type": "x"}, 'Wrong \'type\' parameter value. Valid values are one of ["master", "default", "regular"]'),
        ({"page": "0"}, "Wrong 'page' parameter value."),
        ({"per_page": "-1"}, "Wrong 'per_page' parameter value."),
    ],
)
def test_invalid_list_parameters(call: Call, parameters: dict[str, str], message: str) -> None:
    refused = call("GET", KEYS, **parameters)
    assert (refused.status, refused.json) == (400, {"errors": message, "errors_cause": None})


def table_grant(name: str, *permissions: object, **members: object) -> list[dict[str, Any]]:
    return [
        SQL,
        {"type": "database", "tables": [{"schema": "public", "name": name, "permissions": permissions}], **members},
    ]


@pytest.mark.parametrize(
    ("grants", "message"),
    [
        (None, "Grants grants has to be an array"),
        ("text", "Grants grants has to be an array"),
        ([], "Grants only one apis section is allowed"),
        ([SQL, SQL], "Grants only one apis section is allowed"),
        (table_grant("t") + table_grant("t")[1:], "Grants only one database section is allowed"),
        (table_grant("nope", "select"), "Grants can only grant table permissions you have"),
        (table_grant("nope"), "Grants can only grant table permissions you have"),
        (
            [SQL, {"type": "database", "schemas": [{"name": "nope", "permissions": ["create"]}]}],
            "Grants can only grant schema permissions you have",
        ),
        (
            table_grant("t", "select", "drop"),
            "Grants The property '#/1/tables/0/permissions/1' value \"drop\" did not match one of the following values:"
            " insert, select, update, delete",
        ),
        (
            [{**SQL, "wadus": 1}],
            "Grants The property '#/0' contains additional properties [\"wadus\"] outside of the schema when none"
            " are allowed",
        ),
        (
            [SQL, {"type": "database", "tables": [{"schema": "public", "name": "t"}]}],
            "Grants The property '#/1/tables/0' did not contain a required property of 'permissions'",
        ),
        (
            [SQL, {"type": "database", "tables": {}}],
            "Grants The property '#/1/tables' of type Hash did not match the following type: array",
        ),
    ],
)
def test_invalid_grants(call: Call, grants: object, message: str) -> None:
    query(call, "CREATE TABLE t (i int)")
    refused = call("POST", KEYS, {"name": "k", "grants": grants})
    assert (refused.status, refused.json) == (422, {"errors": f"Validation failed: {message}", "errors_cause": None})
    assert call("GET", KEYS).json["total"] == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taken", "Name has already been taken"),
        (" ", "Name can't be blank"),
        ("Master", "Name has already been taken, Name api_key name cannot be Master nor Default public"),
    ],
)
def test_invalid_names(call: Call, name: str, message: str) -> None:
    create(call, "taken")
    refused = call("POST", KEYS, {"name": name, "grants": [SQL]})
    assert (refused.status, refused.json["errors"]) == (422, f"Validation failed: {message}")


def test_keys_of_other_users(call: Call) -> None:
    assert call("GET", KEYS, target_user="tester").json["total"] == 2
    missing = call("GET", KEYS, target_user="nobody")
    assert (missing.status, missing.json["errors"]) == (404, "User 'nobody' not found in the organization 'local'")


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
    forbidden = {"errors": "You don't have permission to access that resource", "errors_cause": None}
    for name in ("Master", "Default%20public"):
        refused = call("DELETE", f"{KEYS}/{name}")
        assert (refused.status, refused.json) == (403, forbidden)
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
