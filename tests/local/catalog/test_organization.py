from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from cartoframes_lite.local import LocalCarto
from tests.local.catalog.test_permissions import UNKNOWN, add_member, organization_id

Call = Callable[..., Any]
USERS = "/api/v2/organization/local/users"
ANN = {"username": "ann", "email": "ann@example.com", "password": "Kw7x-word", "quota_in_bytes": 1000}
VIEWED = """
all_visualization_count available_for_hire avatar_url base_url company company_employees description disqus_shortname
email google_maps_query_string industry job_role last_name location name org_admin org_user phone
public_visualization_count quota_in_bytes remove_logo role_display table_count twitter_username use_case username
viewer website
"""


def paged(call: Call, **parameters: str) -> Any:
    return call("GET", f"/api/v1/organization/{organization_id(call)}/users", **parameters)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("by", ["name", "id"])
def test_members_are_created_changed_and_deleted(call: Call, version: str, by: str) -> None:
    users = f"/api/{version}/organization/{'local' if by == 'name' else organization_id(call)}/users"
    made = call("POST", users, ANN)
    assert made.status == 200
    assert sorted(made.json) == sorted([*VIEWED.split(), "api_key", "db_size_in_bytes", "soft_geocoding_limit"])
    assert (made.json["username"], made.json["email"], made.json["quota_in_bytes"]) == ("ann", ANN["email"], 1000)
    assert [made.json[name] for name in ("viewer", "org_admin", "table_count", "db_size_in_bytes")] == [
        False,
        False,
        0,
        0,
    ]
    assert b"Kw7x-word" not in made.body
    assert call("GET", f"{users}/ann").json == made.json
    changed = call("PUT", f"{users}/ann", {"quota_in_bytes": 2000, "org_admin": "true", "username": "ignored"}).json
    assert (changed["quota_in_bytes"], changed["org_admin"], changed["username"]) == (2000, True, "ann")
    assert call("PUT", f"{users}/ann", {"password": "another-word"}).status == 200
    deleted = call("DELETE", f"{users}/ann")
    assert (deleted.status, deleted.body) == (200, b"User deleted")
    missing = call("GET", f"{users}/ann")
    assert (missing.status, missing.body) == (404, b"No user with username 'ann' in 'local'")
    assert call("POST", users, ANN).status == 200


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"email": None}, ["email is not present"]),
        ({"email": "nowhere"}, ["email is invalid"]),
        ({"email": "tester@example.com"}, ["email is already taken"]),
        ({"username": None}, ["username is not present"]),
        ({"username": "tester"}, ["username is already taken"]),
        ({"username": "local"}, ["name is taken"]),
        ({"username": "a_b"}, ["username must only contain lowercase letters, numbers and the dash (-) symbol"]),
        ({"username": "-a"}, ["username must start with alphanumeric chars"]),
        ({"username": "a-"}, ["username must end with alphanumeric chars"]),
        ({"username": "a" * 64}, ["username is longer than 63 characters"]),
        ({"password": None}, ["password can't be blank"]),
        ({"password": "galina"}, ["password can't be a common password"]),
        ({"password": "ann"}, ["password must be different than the user name and must be at least 6 characters long"]),
        ({"password": "x" * 64}, ["password must be at most 64 characters long"]),
        ({"quota_in_bytes": "many"}, ["quota_in_bytes is invalid"]),
        ({"quota_in_bytes": 1 << 60}, ["quota_in_bytes not enough disk quota"]),
        ({"soft_geocoding_limit": True}, ["soft_geocoding_limit Organization owner hasn't this soft limit"]),
        (
            {"force_password_change": True},
            ["force_password_change Cannot be set if password expiration is not configured"],
        ),
    ],
)
def test_invalid_member_is_refused(call: Call, changes: dict[str, Any], reasons: list[str]) -> None:
    refused = call("POST", USERS, {**ANN, **changes})
    assert (refused.status, refused.json) == (410, reasons)
    assert [user["username"] for user in call("GET", USERS).json] == ["tester"]


def test_viewers_have_no_storage(call: Call) -> None:
    viewer = add_member(call, "eve", viewer="true")
    assert (viewer["viewer"], viewer["role_display"], viewer["quota_in_bytes"]) == (True, "viewer", 0)


def test_names_and_addresses_are_unique(call: Call) -> None:
    call("POST", USERS, ANN)
    assert call("POST", USERS, {**ANN, "email": "other@example.com"}).json == ["username is already taken"]
    assert call("POST", USERS, {**ANN, "username": "ben"}).json == ["email is already taken"]


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, b"No update params provided"),
        ({"username": "other"}, b"No update params provided"),
        ({"email": "x"}, b'["email is invalid"]'),
        (
            {"password": "ann"},
            b'["password must be different than the user name and must be at least 6 characters long"]',
        ),
        ({"password": "Kw7x-word"}, b'["new_password New password cannot be the same as old password"]'),
        ({"org_admin": True, "viewer": True}, b'["viewer cannot be enabled for organization admin"]'),
    ],
)
def test_invalid_change_of_a_member(call: Call, changes: dict[str, Any], body: bytes) -> None:
    call("POST", USERS, ANN)
    refused = call("PUT", f"{USERS}/ann", changes)
    assert (refused.status, refused.body) == (410, body)


def test_owner_can_be_changed_but_not_deleted(call: Call, carto: LocalCarto) -> None:
    owner = call("GET", f"{USERS}/tester").json
    assert (owner["org_admin"], owner["api_key"]) == (True, carto.credentials.api_key)
    assert call("PUT", f"{USERS}/tester", {"email": "new@example.com"}).json["email"] == "new@example.com"
    refused = call("DELETE", f"{USERS}/tester")
    assert (refused.status, refused.body) == (401, b"Can't delete org owner")


def test_plain_list_has_no_pages(call: Call) -> None:
    for name in ("ben", "ann"):
        add_member(call, name)
    listed = call("GET", USERS, per_page="1").json
    assert [user["username"] for user in listed] == ["tester", "ann", "ben"]
    assert not any("id" in user for user in listed)


def test_list_with_pages_is_by_id(call: Call) -> None:
    for name in ("ben", "anna"):
        add_member(call, name)
    first = paged(call, per_page="2").json
    assert sorted(first) == ["total_entries", "total_user_entries", "users"]
    assert [user["username"] for user in first["users"]] == ["anna", "ben"]
    assert (first["total_entries"], first["total_user_entries"]) == (2, 3)
    assert sorted(first["users"][0]) == sorted([*VIEWED.split(), "id"])
    assert [user["username"] for user in paged(call, page="2", per_page="2").json["users"]] == ["tester"]
    assert [user["username"] for user in paged(call, q="nn").json["users"]] == ["anna"]
    assert [user["username"] for user in paged(call, q="ben@example.com").json["users"]] == ["ben"]
    assert paged(call, q="@example.com").json["users"] == []
    assert [user["username"] for user in paged(call, order="updated_at").json["users"]] == ["tester", "ben", "anna"]
    refused = paged(call, order="invalid")
    message = "Wrong 'order' parameter value. Valid values are one of [:username, :updated_at]"
    assert (refused.status, refused.json) == (400, {"errors": message, "errors_cause": None})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/organization/local/users"),
        ("GET", "/api/v2/organization/other/users"),
        ("POST", "/api/v2/organization/other/users"),
        ("GET", f"/api/v1/organization/{UNKNOWN}/users"),
        ("GET", f"/api/v2/organization/{UNKNOWN}/users/tester"),
    ],
)
def test_unknown_organization(call: Call, method: str, path: str) -> None:
    refused = call(method, path, {} if method == "POST" else None)
    assert (refused.status, refused.json) == (401, {})
    assert (call(method, path, key=None).status, call(method, path, key=None).body) == (401, b"")


def test_organization_itself(call: Call) -> None:
    shown = call("GET", "/api/v1/org/").json
    add_member(call, "ann", quota_in_bytes=1000, org_admin=True)
    changed = call("GET", "/api/v1/org").json
    assert (shown["user_count"], changed["user_count"], len(changed["admins"])) == (1, 2, 1)
    assert shown["unassigned_quota"] - changed["unassigned_quota"] == 1000
    assert changed["owner"]["username"] == "tester"
    user = call("GET", "/api/v3/me").json["user_data"]
    available = changed["unassigned_quota"] + user["quota_in_bytes"]
    assert user["organization"] == {**changed, "available_quota_for_user": available}


def test_groups_are_created_renamed_and_deleted(call: Call) -> None:
    groups = f"/api/v1/organization/{organization_id(call)}/groups"
    made = call("POST", groups, {"display_name": "9 lives & more"})
    assert made.status == 200
    assert (made.json["name"], made.json["display_name"]) == ("g_9 lives _ more", "9 lives & more")
    assert (made.json["organization_id"], made.json["users"]) == (organization_id(call), [])
    assert (made.json["shared_tables_count"], made.json["shared_maps_count"]) == (0, 0)
    taken = call("POST", groups, {"display_name": "9 lives & more"})
    assert (taken.status, taken.json) == (409, {"errors": ["A group with that name already exists"]})
    path = f"{groups}/{made.json['id']}"
    assert call("PUT", path, {"display_name": "Cats"}).json["name"] == "Cats"
    assert sorted(call("GET", path).json) == ["display_name", "id", "name", "organization_id"]
    deleted = call("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    missing = call("GET", path)
    assert (missing.status, missing.json) == (404, {"errors": [f"Group {made.json['id']} not found"]})


def test_users_of_a_group(call: Call) -> None:
    groups = f"/api/v1/organization/{organization_id(call)}/groups"
    group = call("POST", groups, {"display_name": "g"}).json
    add_member(call, "ann")
    ids = {user["username"]: user["id"] for user in paged(call).json["users"]}
    users = f"{groups}/{group['id']}/users"
    added = call("POST", users, {"users": list(ids.values())})
    assert (added.status, added.json) == (200, {})
    listed = call("GET", users).json
    assert ([user["username"] for user in listed["users"]], listed["total_user_entries"]) == (["ann", "tester"], 2)
    shown = call("GET", f"{groups}/{group['id']}", fetch_users="true").json
    assert [user["username"] for user in shown["users"]] == ["tester", "ann"]
    assert call("GET", f"/api/v1/users/{ids['ann']}/groups").json["groups"][0]["name"] == "g"
    assert [one["name"] for one in call("GET", "/api/v3/me").json["user_data"]["groups"]] == ["g"]
    assert call("DELETE", f"{users}/{ids['ann']}").json == {}
    assert call("GET", f"/api/v1/users/{ids['ann']}/groups").json == {"groups": [], "total_entries": 0}
    for given in ([UNKNOWN], [{"id": ids["ann"]}], {"id": ids["ann"]}, 7):
        assert call("POST", users, {"users": given}).status == 404
    wrong = call("POST", users, {"users": [ids["ann"]], "password_confirmation": "wrong"})
    message = "Confirmation password sent does not match your current password"
    assert (wrong.status, wrong.json) == (403, {"message": "Error modifying groups", "errors": [message]})


def test_list_of_groups(call: Call) -> None:
    groups = f"/api/v1/organization/{organization_id(call)}/groups"
    for name in ("b", "ab", "c"):
        call("POST", groups, {"display_name": name})
    listed = call("GET", groups, order="name", per_page="2").json
    assert ([group["name"] for group in listed["groups"]], listed["total_entries"]) == (["ab", "b"], 3)
    assert call("GET", groups, q="B").json["total_entries"] == 2
    assert call("GET", groups, order="size").status == 400
    refused = call("GET", f"/api/v1/organization/{UNKNOWN}/groups")
    assert (refused.status, refused.json) == (404, {"errors": [f"Org. {UNKNOWN} not found"]})


def test_grantables_are_users_and_groups(call: Call) -> None:
    add_member(call, "ann-mate")
    call("POST", f"/api/v1/organization/{organization_id(call)}/groups", {"display_name": "Mates_all"})
    path = f"/api/v1/organization/{organization_id(call)}/grantables"
    listed = call("GET", path).json
    assert listed["total_entries"] == 3
    assert sorted(listed["grantables"][0]) == ["avatar_url", "id", "model", "name", "type"]
    by_name = call("GET", path, order="name").json["grantables"]
    assert [(one["type"], one["name"]) for one in by_name] == [
        ("group", "Mates_all"),
        ("user", "ann-mate"),
        ("user", "tester"),
    ]
    assert [one["name"] for one in call("GET", path, q="MATE", order="type").json["grantables"]] == [
        "Mates_all",
        "ann-mate",
    ]
    assert [one["name"] for one in call("GET", path, q="_").json["grantables"]] == ["Mates_all"]
    assert call("GET", path, order="size").status == 400
    assert call("GET", path, key=None).status == 401


def test_reset_drops_members_groups_and_roles(call: Call, carto: LocalCarto) -> None:
    add_member(call, "ann")
    call("POST", f"/api/v1/organization/{organization_id(call)}/groups", {"display_name": "g"})
    count = "SELECT count(*) FROM pg_roles WHERE rolname ~ '_member_|_organization$|_group_'"
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        assert connection.execute(count).fetchone() == (3,)
        role = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname ~ '_member_'").fetchone()
        assert role == (False,)
        carto.reset()
        assert connection.execute(count).fetchone() == (0,)
        stored = connection.execute("SELECT count(*) FROM cartodb_local.members").fetchone()
    assert stored == (0,)
    assert len(call("GET", USERS).json) == 1
