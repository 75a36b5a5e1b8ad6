from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
PATH = "/api/v4/datasets"


ITEM = ["cartodbfied", "mode", "name", "privacy", "shared", "table_schema", "updated_at"]


@pytest.fixture
def tables(call: Call) -> Call:
    statements = """
        CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE TABLE c (i int); CREATE VIEW v AS SELECT 5 AS five;
        SELECT CDB_CartodbfyTable('b'), CDB_CartodbfyTable('c'); GRANT SELECT ON b TO publicuser
    """
    assert call("POST", "/api/v2/sql", {"q": statements}).status == 200
    return call


def key(call: Call, name: str, **database: Any) -> str:
    grants = [{"type": "apis", "apis": ["sql"]}, {"type": "database", **database}]
    return str(call("POST", "/api/v3/api_keys", {"name": name, "grants": grants}).json["token"])


def test_all_tables_and_views_are_listed(tables: Call) -> None:
    found = tables("GET", PATH).json
    assert (found["total"], found["count"]) == (4, 4)
    assert all(sorted(one) == ITEM for one in found["result"])
    columns = ("name", "table_schema", "mode", "privacy", "cartodbfied", "shared")
    assert [tuple(one[column] for column in columns) for one in found["result"]] == [
        ("a", "public", "rw", None, False, False),
        ("b", "public", "rw", "public", True, False),
        ("c", "public", "rw", "private", True, False),
        ("v", "public", "rw", None, False, False),
    ]
    assert [one["updated_at"] is None for one in found["result"]] == [True, False, False, True]


def test_pages_of_tables(tables: Call, carto: LocalCarto) -> None:
    page = tables("GET", PATH, per_page="3", page="2", order_direction="desc").json
    assert ([one["name"] for one in page["result"]], page["total"], page["count"]) == (["a"], 4, 1)
    assert set(page["_links"]) == {"first", "last", "prev"}
    first = tables("GET", PATH, per_page="1").json["_links"]
    expected = f"{carto.base_url}{PATH}?api_key={carto.credentials.api_key}&format=json&page=2&per_page=1"
    assert first["next"]["href"] == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"page": "0"}, "Wrong 'page' parameter value."),
        ({"order": "size"}, "Wrong 'order' parameter value. Valid values are one of [:name]"),
        ({"order_direction": "up"}, "Wrong 'order_direction' parameter value. Valid values are one of [:asc, :desc]"),
    ],
)
def test_invalid_parameters(tables: Call, parameters: dict[str, str], message: str) -> None:
    refused = tables("GET", PATH, **parameters)
    assert (refused.status, refused.json) == (400, {"errors": message, "errors_cause": None})


def test_key_needs_the_grant_and_the_parameter(tables: Call, carto: LocalCarto) -> None:
    forbidden = {"errors": "You don't have permission to access that resource", "errors_cause": None}
    assert tables("GET", PATH, key=key(tables, "may", table_metadata=[])).json["total"] == 4
    for refused_key in (key(tables, "may not"), "default_public"):
        refused = tables("GET", PATH, key=refused_key)
        assert (refused.status, refused.json) == (403, forbidden)
    assert tables("GET", PATH, key=None).status == 401
    assert tables("GET", PATH, key="wrong").status == 401
    basic = requests.get(carto.base_url + PATH, auth=("tester", carto.credentials.api_key or ""), timeout=10)
    assert basic.status_code == 403
