from __future__ import annotations

import json

import pytest

from cartoframes_lite._client.users import Organization, Users
from cartoframes_lite.errors import APIError, CartoError, NotFound, PermissionDenied
from tests.http_servers import ScriptedServer, response

ME = {
    "username": "ann",
    "id": "u1",
    "email": "ann@example.com",
    "quota_in_bytes": 1000,
    "db_size_in_bytes": 250,
    "remaining_byte_quota": 750.0,
    "remaining_table_quota": None,
    "table_count": 3,
    "account_type": "FREE",
    "organization": {"id": "o1", "name": "acme"},
    "api_key": "the-master-key",
}


def test_the_key_in_the_response_is_discarded(scripted_server: ScriptedServer) -> None:
    account = Users(scripted_server.play(response("200 OK", json.dumps({"user_data": ME, "config": {}}).encode()))).me()
    assert (account.used_bytes, account.remaining_bytes, account.remaining_tables) == (250, 750, None)
    assert account.organization == Organization("o1", "acme")
    for shown in (repr(account), account._repr_html_()):
        assert "the-master-key" not in shown
        assert "acme" in shown
    assert "250 B of 1 kB" in account._repr_html_()
    assert "value='0.2500'" in account._repr_html_()


def test_me_without_a_user_is_denied(scripted_server: ScriptedServer) -> None:
    anonymous = response("200 OK", b'{"config": {"user_name": "ann"}}')
    with pytest.raises(PermissionDenied, match="reading the account requires the master key"):
        Users(scripted_server.play(anonymous, response("200 OK", b'{"result": []}'))).me()


def me(**members: object) -> bytes:
    return response("200 OK", json.dumps({"user_data": {**ME, **members}, "config": {}}).encode())


def page(*names: str, total: int) -> bytes:
    # As in CARTO, total_entries is the number of users in the page.
    users = [{"id": f"id-{name}", "username": name} for name in names]
    content = {"users": users, "total_entries": len(users), "total_user_entries": total}
    return response("200 OK", json.dumps(content).encode())


def test_users_of_an_organization_by_its_id(scripted_server: ScriptedServer) -> None:
    pages = [page("bob", "carol", total=3), page("dave", total=3)]
    found = Users(scripted_server.play(me(), *pages)).of_organization("acme")
    scripted_server.close()
    assert [user.username for user in found] == ["bob", "carol", "dave"]
    assert scripted_server.heads[1].startswith(b"GET /user/ann/api/v1/organization/o1/users?order=username&page=1")
    assert b"page=2" in scripted_server.heads[2]


def test_a_list_of_users_that_shrinks_ends(scripted_server: ScriptedServer) -> None:
    pages = [page("bob", total=3), page("carol", total=2), page(total=1)]
    service = Users(scripted_server.play(*pages))
    found = service.of_organization("00000000-0000-4000-8000-000000000001")
    assert [user.username for user in found] == ["bob", "carol"]


def test_users_of_another_organization(scripted_server: ScriptedServer) -> None:
    with pytest.raises(CartoError, match="'other', but to 'acme'"):
        Users(scripted_server.play(me())).of_organization("other")


def test_sharing_finds_users_on_later_pages(scripted_server: ScriptedServer) -> None:
    service = Users(scripted_server.play(me(), page("bob", total=2), page("zoe", total=2)))
    assert service.find_entity("zoe") == ("user", "id-zoe")


def test_get_returns_the_requested_user(scripted_server: ScriptedServer) -> None:
    # api/v1/users/:id would return the account itself, whatever the id.
    service = Users(scripted_server.play(me(), me(), page("bob", total=1), me(), page("bob", total=1)))
    assert service.get("u1").username == "ann"
    assert service.get("bob").id == "id-bob"
    with pytest.raises(NotFound, match=r"no user 'eve'.*has the users \['bob'\]"):
        service.get("eve")


def test_get_without_an_organization(scripted_server: ScriptedServer) -> None:
    with pytest.raises(NotFound, match="'bob': the account 'ann' does not belong to an organization"):
        Users(scripted_server.play(me(organization=None))).get("bob")


MASTER = response("200 OK", b'{"result": [{"type": "master"}]}')
TEXT = "Content-Type: application/json; charset=utf-8"


def test_only_administrators_create_users(scripted_server: ScriptedServer) -> None:
    service = Users(scripted_server.play(response("401 Unauthorized", b"{}"), MASTER))
    with pytest.raises(PermissionDenied, match=r"(?s)creating a user of the organization was denied.*a role"):
        service.add_to_organization("acme", username="bob", email="bob@example.com", password="pa55-word")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'["username is not present", "email is not present"]', "username is not present; email"),
        (b"No update", "No update"),
    ],
)
def test_texts_of_the_organization_api(body: bytes, message: str, scripted_server: ScriptedServer) -> None:
    service = Users(scripted_server.play(response("410 Gone", body, TEXT)))
    with pytest.raises(APIError, match=message):
        service.add_to_organization("acme", username="", email="", password="")


def test_a_created_user_has_no_id(scripted_server: ScriptedServer) -> None:
    service = Users(scripted_server.play(response("200 OK", b'{"username": "bob", "email": "bob@example.com"}')))
    user = service.add_to_organization("acme", username="bob", email="bob@example.com", password="pa55-word")
    assert (user.id, user.username) == (None, "bob")


def test_a_user_is_deleted_with_a_text(scripted_server: ScriptedServer) -> None:
    Users(scripted_server.play(response("200 OK", b"User deleted", TEXT))).remove_from_organization("acme & co", "bob")
    scripted_server.close()
    assert scripted_server.heads[0].startswith(b"DELETE /user/ann/api/v2/organization/acme%20%26%20co/users/bob ")
