from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from cartoframes_lite.local import LocalCarto, start

MEMBER = {"username": "ann", "email": "ann@example.com", "password": "secret-word"}


def send(server: LocalCarto, method: str, path: str, **body: Any) -> Any:
    answer = requests.request(method, server.base_url + path, json={"api_key": "key", **body}, timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    def look(server: LocalCarto) -> list[Any]:
        urls = [send(server, "GET", path) for path in ("/api/v1/viz/t", "/api/v1/viz/u", f"/api/v1/viz/{a_map['id']}")]
        users = send(server, "GET", "/api/v1/organization/local/users")
        return [strip(one, server) for one in (*urls, users)]

    def strip(shown: Any, server: LocalCarto) -> str:
        return str(shown).replace(server.base_url.partition("/user/")[0], "")

    with start(user="kept", api_key="key", data_dir=tmp_path / "data") as server:
        for name in ("t", "u"):
            create = f"CREATE TABLE {name} AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('{name}'); ANALYZE"
            send(server, "POST", "/api/v2/sql", q=create)
        one = send(server, "GET", "/api/v1/viz/t?show_permission=true")
        details = {"privacy": "link", "description": "d", "tags": ["x"], "license": "cc0"}
        send(server, "PUT", f"/api/v1/viz/{one['id']}", id=one["id"], **details)
        member = send(server, "POST", "/api/v1/organization/local/users", **MEMBER)
        acl = [{"type": "user", "entity": {"id": member["id"]}, "access": "rw"}]
        send(server, "PUT", f"/api/v1/perm/{one['permission']['id']}", acl=acl)
        a_map = send(server, "POST", "/api/v1/viz", tables=["t", "u"], name="m")
        send(server, "POST", f"/api/v3/viz/{a_map['id']}/mapcaps")
        before = look(server)
    with start(user="kept", api_key="key", data_dir=tmp_path / "data") as server:
        assert look(server) == before
        again = send(server, "GET", "/api/v1/viz/t?show_permission=true&with_dependent_visualizations=9")
        assert (again["privacy"], again["description"], again["tags"]) == ("LINK", "d", ["x"])
        assert again["permission"]["acl"][0]["entity"]["username"] == "ann"
        assert [a_map["name"] for a_map in again["dependent_visualizations"]] == ["m"]
        server.reset()
        assert send(server, "GET", "/api/v1/viz?types=table,derived")["total_entries"] == 0
