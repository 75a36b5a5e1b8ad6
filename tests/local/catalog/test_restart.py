from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import requests

from cartoframes_lite.local import LocalCarto, Plan, start

MEMBER = {"username": "ann", "email": "ann@example.com", "password": "Kw7x-word"}
HTML = base64.b64encode(b"<html>page</html>").decode()


def send(server: LocalCarto, method: str, path: str, **body: Any) -> Any:
    answer = requests.request(method, server.base_url + path, json={"api_key": "key", **body}, timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def test_restart_changes_nothing(tmp_path: Path) -> None:
    def look(server: LocalCarto) -> list[Any]:
        visualizations = [
            send(server, "GET", f"/api/v1/viz/{one}?show_permission=true") for one in ("t", "u", a_map["id"])
        ]
        parts = (
            *visualizations,
            send(server, "GET", "/api/v2/organization/local/users"),
            send(server, "GET", f"{organization}/groups?fetch_users=true"),
            send(server, "GET", "/api/v1/tables/t")["description"],
            send(server, "GET", "/api/v4/kuviz?api_key=key"),
            send(server, "GET", "/api/v3/me")["user_data"]["name"],
            requests.get(f"{server.base_url}/kuviz/{page['id']}", timeout=10).text,
        )
        root = server.base_url.partition("/user/")[0]
        return [str(part).replace(root, "") for part in parts]

    with start(user="kept", api_key="key", data_dir=tmp_path / "data") as server:
        cartodbfied = "SELECT CDB_CartodbfyTable('t'), CDB_CartodbfyTable('u'); ANALYZE"
        send(server, "POST", "/api/v2/sql", q=f"CREATE TABLE t (i int); CREATE TABLE u (i int); {cartodbfied}")
        send(server, "GET", "/api/v1/viz")
        one = send(server, "GET", "/api/v1/viz/t?show_permission=true")
        details = {"privacy": "link", "description": "d", "tags": ["x"], "license": "cc0"}
        send(server, "PUT", f"/api/v1/viz/{one['id']}", id=one["id"], **details)
        send(server, "PUT", "/api/v1/tables/t", description="of the table")
        send(server, "POST", "/api/v2/organization/local/users", **MEMBER)
        me = send(server, "PUT", "/api/v3/me", user={"name": "Ada", "password_confirmation": "key"})
        organization = f"/api/v1/organization/{send(server, 'GET', '/api/v1/org')['id']}"
        [member, _] = send(server, "GET", f"{organization}/users")["users"]
        group = send(server, "POST", f"{organization}/groups", display_name="Readers")
        send(server, "POST", f"{organization}/groups/{group['id']}/users", users=[member["id"], me["id"]])
        acl = [{"type": "user", "entity": {"id": member["id"]}, "access": "rw"}]
        send(server, "PUT", f"/api/v1/perm/{one['permission']['id']}", acl=acl)
        a_map = send(server, "POST", "/api/v1/viz", tables=["t", "u"], name="m")
        page = send(server, "POST", "/api/v4/kuviz?api_key=key", name="p", data=HTML)
        before = look(server)
    with start(user="kept", api_key="key", data_dir=tmp_path / "data") as server:
        assert look(server) == before
        again = send(server, "GET", "/api/v1/viz/t?show_permission=true&with_dependent_visualizations=9")
        assert (again["privacy"], again["description"], again["tags"]) == ("LINK", "d", ["x"])
        assert again["permission"]["acl"][0]["entity"]["username"] == "ann"
        assert [a_map["name"] for a_map in again["dependent_visualizations"]] == ["m"]
        server.reset()
        assert send(server, "GET", "/api/v1/viz?types=table,derived,kuviz")["total_entries"] == 0


def test_quotas_of_keys_and_maps() -> None:
    with start(user="small", api_key="key", plan=Plan(api_keys=1, public_maps=1, tables=1)) as server:
        url = server.base_url
        parameters = {"api_key": "key"}

        def post(path: str, **body: Any) -> tuple[int, Any]:
            answer = requests.post(url + path, params=parameters, json=body, timeout=10)
            return answer.status_code, answer.json().get("errors")

        grants = [{"type": "apis", "apis": ["sql"]}]
        assert post("/api/v3/api_keys", name="a", grants=grants)[0] == 201
        message = "You have reached the limit of API keys for your plan"
        assert post("/api/v3/api_keys", name="b", grants=grants) == (403, message)
        assert post("/api/v4/kuviz", name="a", data=HTML)[0] == 200
        assert post("/api/v4/kuviz", name="b", data=HTML) == (402, "Public map quota exceeded")
        assert post("/api/v1/tables", name="a")[0] == 200
        assert post("/api/v1/tables", name="b") == (400, ["You have reached your table quota"])
        user = send(server, "GET", "/api/v3/me")["user_data"]
        assert (user["regular_api_key_quota"], user["public_map_quota"]) == (1, 1)
