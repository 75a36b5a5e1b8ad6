from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
ME = "/api/v3/me"
USER_DATA = """
account_type account_type_display_name actions all_visualization_count api_key available_for_hire avatar_url base_url
billing_period company company_employees created_at db_size_in_bytes db_size_in_megabytes description disqus_shortname
do_bq_dataset do_bq_project do_enabled email email_notifications failed_import_count feature_flags geocoder_provider
geocoding here_isolines id import_count industry is_enterprise isolines_provider job_role last_name
last_visualization_created_at layers limits link_privacy_map_count location mailchimp map_views map_views_quota
mapzen_routing mfa_configured name needs_password_confirmation next_billing_period notification org_admin organization
owned_visualization_count password_privacy_map_count phone private_map_quota private_privacy_map_count
public_dataset_quota public_map_quota public_privacy_map_count public_visualization_count quota_in_bytes
regular_api_key_quota remaining_byte_quota remaining_table_quota role_display routing_provider salesforce
show_trial_reminder show_upgraded_message state storage success_import_count table_count table_quota trial_ends_at
twitter twitter_username unverified upgraded_at use_case username viewer visualization_count website
"""
ORGANIZATION = """
admin_email admins available_quota_for_user avatar_url created_at description discus_shortname display_name
geocoder_provider geocoding_block_price geocoding_quota here_isolines_block_price here_isolines_quota id
isolines_provider location map_view_block_price map_views_quota mapzen_routing_block_price mapzen_routing_quota name
owner password_expiration_in_d quota_in_bytes random_saml_username routing_provider seats twitter_datasource_quota
twitter_username unassigned_quota updated_at user_count viewer_seats website
"""


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def create_key(call: Call, *grants: dict[str, Any]) -> str:
    body = {"name": "k", "grants": [{"type": "apis", "apis": ["sql"]}, *grants]}
    return str(call("POST", "/api/v3/api_keys", body).json["token"])


def test_owner_sees_the_whole_account(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i; SELECT CDB_CartodbfyTable('t')")
    call("GET", "/api/v1/viz")
    for privacy in ("PUBLIC", "LINK", "LINK", "PRIVATE"):
        a_map = call("POST", "/api/v1/viz", {"name": "m"}).json
        call("PUT", f"/api/v1/viz/{a_map['id']}", {"id": a_map["id"], "privacy": privacy})
    me = call("GET", ME).json
    user = me["user_data"]
    assert set(USER_DATA.split()) <= set(user)
    assert sorted(ORGANIZATION.split()) == sorted(user["organization"])
    [row] = query(call, "SELECT CDB_UserQuotaInBytes() AS quota, CDB_UserDataSize() AS size")["rows"]
    assert user["quota_in_bytes"] == user["storage"]["quota_in_bytes"] == row["quota"]
    assert user["db_size_in_bytes"] == row["size"] > 0
    assert user["remaining_byte_quota"] == row["quota"] - row["size"]
    assert (user["table_count"], user["remaining_table_quota"], user["visualization_count"]) == (1, 1999, 5)
    assert (user["all_visualization_count"], user["public_visualization_count"]) == (4, 1)
    assert [user[f"{privacy}_privacy_map_count"] for privacy in ("public", "link", "password", "private")] == [
        1,
        2,
        0,
        1,
    ]
    assert (user["username"], user["api_key"]) == ("tester", carto.credentials.api_key)
    assert (user["base_url"], user["organization"]["name"]) == (carto.base_url, "local")
    assert user["actions"]["builder_enabled"]
    assert user["limits"]["concurrent_imports"] == 3
    assert me["config"]["user_name"] == "tester"
    assert me["config"]["sql_api_template"].format(user="tester") == carto.base_url


def test_account_and_lists_do_not_wait_for_locks(call: Call, carto: LocalCarto) -> None:
    query(call, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i; SELECT CDB_CartodbfyTable('t'); ANALYZE t")
    call("GET", "/api/v1/viz")
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        user = call("GET", ME).json["user_data"]
        assert (user["table_count"], user["db_size_in_bytes"] > 0) == (1, True)  # 0 after a lock timeout
        listed = call("GET", "/api/v1/viz", types="table").json["visualizations"]
        assert listed[0]["permission"]["owner"]["table_count"] == 1


def test_others_see_the_configuration_only(call: Call) -> None:
    for key in (None, "default_public", "unknown", create_key(call)):
        others = call("GET", ME, key=key)
        assert (others.status, set(others.json)) == (200, {"config", "user_frontend_version"})
        assert others.json["config"]["user_name"] == "tester"


def test_me_at_the_root(call: Call, carto: LocalCarto) -> None:
    root = carto.base_url.partition("/user/")[0]
    key = carto.credentials.api_key
    answer = requests.get(f"{root}{ME}", {"api_key": key}, timeout=10)
    assert answer.json() == call("GET", ME).json
    assert requests.get(f"{root}{ME}", auth=("tester", key or ""), timeout=10).json() == answer.json()


def test_user_is_the_owner_whatever_the_id(call: Call) -> None:
    user = call("GET", ME).json["user_data"]
    for which in (user["id"], "tester", "ann", "00000000-0000-4000-8000-00000000dead"):
        assert call("GET", f"/api/v1/users/{which}").json == user
    for key in (None, "unknown", create_key(call)):
        assert (call("GET", "/api/v1/users/tester", key=key).status, call("GET", "/api/v1/users/x", key=key).body) == (
            401,
            b"",
        )


def test_public_profile_by_any_key(call: Call, carto: LocalCarto) -> None:
    plain = create_key(call)
    for key in (plain, "default_public"):
        shown = call("GET", "/api/v4/me", key=key).json
        assert sorted(shown) == ["api_endpoints", "organization", "username"]
        assert (shown["username"], shown["organization"]) == ("tester", {"name": "local"})
        assert sorted(shown["api_endpoints"]) == ["auth", "builder", "import", "maps", "sql"]
        assert set(shown["api_endpoints"].values()) == {carto.base_url}
    for key in (None, "unknown"):
        refused = call("GET", "/api/v4/me", key=key)
        assert (refused.status, refused.body) == (401, b"")


def test_profile_needs_its_grant(call: Call, carto: LocalCarto) -> None:
    token = create_key(call, {"type": "user", "data": ["profile"]})
    change = {"user": {"name": "Ada", "last_name": "L", "password_confirmation": carto.credentials.api_key}}
    assert call("PUT", ME, change).status == 200
    for key in (token, carto.credentials.api_key):
        shown = call("GET", "/api/v4/me", key=key).json
        assert (shown["first_name"], shown["last_name"], shown["groups"]) == ("Ada", "L", [])
        assert shown["organization"] == {"name": "local", "owner": {"username": "tester"}}


def test_account_is_changed_with_the_password(call: Call, carto: LocalCarto) -> None:
    key = carto.credentials.api_key
    changes = {"name": "Ada", "email": "ada@carto.com", "available_for_hire": True, "username": "ignored"}
    changed = call("PUT", ME, {"user": {**changes, "password_confirmation": key}})
    assert (changed.status, changed.json["name"], changed.json["email"]) == (200, "Ada", "ada@carto.com")
    user = call("GET", ME).json["user_data"]
    assert (user["name"], user["username"], user["available_for_hire"]) == ("Ada", "tester", True)
    new = {"new_password": "Kw7x-word", "confirm_password": "Kw7x-word", "password_confirmation": key}
    assert call("PUT", ME, {"user": new}).status == 200
    assert call("PUT", ME, {"user": {"name": "B", "password_confirmation": key}}).status == 403
    assert call("PUT", ME, {"user": {"name": "B", "password_confirmation": "Kw7x-word"}}).json["name"] == "B"
    carto.reset()
    assert call("GET", ME).json["user_data"]["name"] is None


@pytest.mark.parametrize("body", [{}, {"user": {}}, {"user": None}])
def test_change_of_nothing_needs_no_password(call: Call, body: dict[str, Any]) -> None:
    unchanged = call("PUT", ME, body)
    assert (unchanged.status, unchanged.json["username"]) == (200, "tester")


@pytest.mark.parametrize("password", [{}, {"password_confirmation": "wrong"}, {"password_confirmation": None}])
def test_wrong_password_changes_nothing(call: Call, password: dict[str, Any]) -> None:
    refused = call("PUT", ME, {"user": {"name": "Ada", **password}})
    errors = {"password": ["Confirmation password sent does not match your current password"]}
    assert (refused.status, refused.json) == (403, {"message": "Error updating your account details", "errors": errors})
    assert call("GET", ME).json["user_data"]["name"] is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "ada@"}, "email"),
        ({"name": 7}, "name"),
        ({"available_for_hire": "yes"}, "available_for_hire"),
        ({"new_password": "barbaz", "confirm_password": "other"}, "new_password"),
        ({"new_password": "short", "confirm_password": "short"}, "new_password"),
        ({"confirm_password": "barbaz"}, "new_password"),
        ({"new_password": "tester", "confirm_password": "tester"}, "new_password"),
    ],
)
def test_invalid_account_is_refused(call: Call, carto: LocalCarto, changes: dict[str, Any], field: str) -> None:
    refused = call("PUT", ME, {"user": {**changes, "password_confirmation": carto.credentials.api_key}})
    assert (refused.status, refused.json["message"]) == (400, "Error updating your account details")
    assert list(refused.json["errors"]) == [field]


def test_owner_of_the_organization_cannot_be_deleted(call: Call, carto: LocalCarto) -> None:
    wrong = call("DELETE", ME, {"deletion_password_confirmation": "wrong"})
    assert (wrong.status, wrong.json) == (400, {"message": "Error deleting user: Password does not match"})
    right = call("DELETE", ME, {"deletion_password_confirmation": carto.credentials.api_key})
    assert (right.status, sorted(right.json)) == (400, ["errors", "message"])
    me = call("GET", ME).json
    assert (me["can_be_deleted"], "admin of an organization" in me["cant_be_deleted_reason"]) == (False, True)
    assert call("PUT", ME, {"user": {"name": "x"}}, key=None).status == 401
    assert call("DELETE", ME, key=None).status == 401
