from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
PATH = "/api/v4/datasets"


@pytest.fixture
def tables(call: Call) -> Call:
    statements = (
        "CREATE TABLE a (i int); CREATE TABLE b (i int); GRANT SELECT ON b TO publicuser; CREATE TABLE c (i int)"
    )
    assert call("POST", "/api/v2/sql", {"q": statements}).status == 200
    call("POST", "/api/v2/sql", {"q": "SELECT CDB_CartodbfyTable('c')"})
    return call


def key(call: Call, name: str, **database: Any) -> str:
    grants = [{"type": "apis", "apis": ["sql"]}, {"type": "database", **database}]
    return str(call("POST", "/api/v3/api_keys", {"name": name, "grants": grants}).json["token"])


def test_all_tables_page_by_page(tables: Call) -> None:
    found = tables("GET", PATH).json
    assert (found["total"], found["count"]) == (3, 3)
    shown = [(one["name"], one["table_schema"], one["privacy"], one["cartodbfied"]) for one in found["result"]]
    assert shown == [
        ("a", "public", "private", False),
        ("b", "public", "public", False),
        ("c", "public", "private", True),
    ]
    assert all(one["updated_at"] for one in found["result"])
    page = tables("GET", PATH, per_page="2", page="2", order_direction="desc").json
    assert ([one["name"] for one in page["result"]], page["total"], page["count"]) == (["a"], 3, 1)
    assert set(page["_links"]) == {"first", "last", "prev"}
    for wrong in ({"page": "0"}, {"order": "size"}, {"order_direction": "up"}):
        assert tables("GET", PATH, **wrong).status == 400


def test_a_key_needs_the_grant_and_the_parameter(tables: Call, carto: LocalCarto) -> None:
    assert tables("GET", PATH, key=key(tables, "may", table_metadata=[])).json["total"] == 3
    assert tables("GET", PATH, key=key(tables, "may not")).status == 403
    assert tables("GET", PATH, key="default_public").status == 403
    assert tables("GET", PATH, key=None).status == 401
    assert tables("GET", PATH, key="wrong").status == 401
    basic = requests.get(carto.base_url + PATH, auth=("tester", carto.credentials.api_key or ""), timeout=10)
    assert basic.status_code == 401
