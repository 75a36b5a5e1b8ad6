from __future__ import annotations

import json

import pytest

from cartoframes_lite._client.users import Organization, Users
from cartoframes_lite.errors import PermissionDenied
from tests.http_servers import ScriptedServer, response

ME = {
    "username": "ann",
    "id": "u1",
    "email": "ann@example.com",
    "quota_in_bytes": 1000,
    "db_size_in_bytes": 250,
    "remaining_byte_quota": 750,
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


@pytest.mark.parametrize("wrapped", [True, False])
def test_users_of_an_organization(wrapped: bool, scripted_server: ScriptedServer) -> None:
    users = [{"id": "u1", "username": "ann"}, {"id": "u2", "username": "bob"}]
    answer = {"users": users, "total_entries": 2} if wrapped else users
    found = Users(scripted_server.play(response("200 OK", json.dumps(answer).encode()))).of_organization("acme & co")
    scripted_server.close()
    assert [user.username for user in found] == ["ann", "bob"]
    assert scripted_server.heads[0].startswith(b"GET /user/ann/api/v1/organization/acme%20%26%20co/users ")
