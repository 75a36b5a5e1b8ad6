from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
MEMBERS = """
all_visualization_count avatar_url base_url db_size_in_bytes email id org_admin public_visualization_count
quota_in_bytes table_count username viewer
"""
USERS = "/api/v1/organization/local/users"
ANN = {"username": "ann", "email": "ann@example.com", "password": "secret-word", "quota_in_bytes": 1000}


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def test_me_tells_the_owner_all_and_others_nothing(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i; GRANT SELECT ON t TO publicuser")
    call("POST", "/api/v1/viz", {"name": "m"})
    me = call("GET", "/api/v3/me").json
    user = me["user_data"]
    [row] = query(call, "SELECT CDB_UserQuotaInBytes() AS quota, CDB_UserDataSize() AS size")["rows"]
    assert user["quota_in_bytes"] == row["quota"]
    assert user["db_size_in_bytes"] == row["size"] > 0
    assert user["remaining_byte_quota"] == row["quota"] - row["size"]
    assert (user["table_count"], user["remaining_table_quota"]) == (1, 1999)
    assert (user["public_visualization_count"], user["all_visualization_count"]) == (1, 2)
    assert (user["username"], user["api_key"]) == ("tester", carto.credentials.api_key)
    assert (user["base_url"], user["organization"]["name"]) == (carto.base_url, "local")
    assert me["config"]["user_name"] == "tester"
    grants = [{"type": "apis", "apis": ["sql"]}]
    token = call("POST", "/api/v3/api_keys", {"name": "k", "grants": grants}).json["token"]
    for key in (None, token):
        others = call("GET", "/api/v3/me", key=key)
        assert (others.status, set(others.json)) == (200, {"config"})
    assert set(call("GET", "/api/v3/me", key="wrong").json) == {"config"}


def test_me_answers_at_the_root_too(call: Call, carto: LocalCarto) -> None:
    root = carto.base_url.partition("/user/")[0]
    key = carto.credentials.api_key
    answer = requests.get(f"{root}/api/v3/me", {"api_key": key}, timeout=10)
    assert answer.json() == call("GET", "/api/v3/me").json
    assert requests.get(f"{root}/api/v3/me", auth=("tester", key or ""), timeout=10).json() == answer.json()


def test_public_part(call: Call) -> None:
    for key in (None, "default_public"):
        shown = call("GET", "/api/v4/me", key=key).json["user_data"]
        assert shown["username"] == "tester"
        assert not {"email", "api_key", "quota_in_bytes"} & set(shown)


def test_user_by_name_or_id(call: Call) -> None:
    shown = call("GET", "/api/v1/users/tester").json
    for name in MEMBERS.split():
        assert name in shown
    assert "api_key" not in shown
    assert call("GET", f"/api/v1/users/{shown['id']}").json == shown
    assert call("GET", "/api/v1/users/ann").status == 404
    assert call("GET", "/api/v1/users/tester", key=None).status == 401


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_members_come_change_and_go(call: Call, version: str) -> None:
    users = f"/api/{version}/organization/local/users"
    made = call("POST", users, ANN)
    assert made.status == 201
    assert (made.json["username"], made.json["email"], made.json["quota_in_bytes"]) == ("ann", ANN["email"], 1000)
    assert b"secret-word" not in made.body
    assert call("GET", f"{users}/ann").json == made.json
    listed = call("GET", f"{users}/").json
    assert [user["username"] for user in listed["users"]] == ["tester", "ann"]
    assert listed["total_entries"] == 2
    changed = call("PUT", f"{users}/ann", {"quota_in_bytes": 2000, "viewer": True, "username": "ignored"}).json
    assert (changed["quota_in_bytes"], changed["viewer"], changed["username"]) == (2000, True, "ann")
    assert call("PUT", f"{users}/ann", {"password": "another-word"}).status == 200
    assert call("DELETE", f"{users}/ann").status == 204
    assert call("GET", f"{users}/ann").status == 404
    assert call("POST", users, ANN).status == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "tester"},
        {"username": "Ann"},
        {"username": None},
        {"email": "nowhere"},
        {"email": "tester@example.com"},
        {"password": "short"},
        {"password": None},
        {"quota_in_bytes": 0},
        {"quota_in_bytes": "many"},
        {"quota_in_bytes": True},
        {"viewer": 1},
    ],
)
def test_a_member_that_makes_no_sense(call: Call, changes: dict[str, Any]) -> None:
    refused = call("POST", USERS, {**ANN, **changes})
    assert (refused.status, len(refused.json["errors"])) == (422, 1)
    assert call("GET", USERS).json["total_entries"] == 1


def test_names_and_addresses_are_unique(call: Call) -> None:
    call("POST", USERS, ANN)
    assert call("POST", USERS, {**ANN, "email": "other@example.com"}).json["errors"] == [
        "username has already been taken"
    ]
    assert call("POST", USERS, {**ANN, "username": "ben"}).json["errors"] == ["email has already been taken"]


def test_only_the_owner_looks_after_the_organization(call: Call) -> None:
    assert call("GET", USERS, key=None).status == 401
    assert call("POST", USERS, ANN, key=None).status == 401
    assert call("GET", "/api/v1/organization/other/users").status == 404
    assert call("GET", f"{USERS}/tester").json["username"] == "tester"
    assert call("DELETE", f"{USERS}/tester").status == 403
    assert call("PUT", f"{USERS}/nobody", {}).status == 404


def test_a_reset_drops_members_and_their_roles(call: Call, carto: LocalCarto) -> None:
    call("POST", USERS, ANN)
    count = "SELECT count(*) FROM pg_roles WHERE rolname ~ '_member_|_organization$'"
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        assert connection.execute(count).fetchone() == (2,)
        role = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname ~ '_member_'").fetchone()
        assert role == (False,)
        carto.reset()
        assert connection.execute(count).fetchone() == (0,)
        stored = connection.execute("SELECT count(*) FROM cartodb_local.members").fetchone()
    assert stored == (0,)
    assert call("GET", USERS).json["total_entries"] == 1
