from __future__ import annotations

from typing import Any

import pytest

from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map


@pytest.fixture
def tagged(call: Call) -> Call:
    make_dataset(call, "t", tags=["Tag", "Other"])
    change(call, make_map(call, "m", "t"), tags=["tag", "third"])
    return call


def tags(call: Call, **parameters: Any) -> Any:
    return call("GET", "/api/v3/tags", **parameters).json


def test_tags_are_counted_by_type(tagged: Call) -> None:
    found = tags(tagged)
    assert found["result"] == [
        {"tag": "tag", "datasets": 1, "maps": 1, "data_library": 0},
        {"tag": "other", "datasets": 1, "maps": 0, "data_library": 0},
        {"tag": "third", "datasets": 0, "maps": 1, "data_library": 0},
    ]
    assert (found["total"], found["count"]) == (3, 3)
    assert tags(tagged, types="table")["result"] == [{"tag": "other", "datasets": 1}, {"tag": "tag", "datasets": 1}]


def test_tags_are_searched_and_paged(tagged: Call) -> None:
    assert [one["tag"] for one in tags(tagged, q="TH")["result"]] == ["other", "third"]
    assert [one["tag"] for one in tags(tagged, q="oth ird")["result"]] == ["other", "third"]
    page = tags(tagged, page="2", per_page="2")
    assert ([one["tag"] for one in page["result"]], page["total"]) == (["third"], 3)
    assert set(page["_links"]) == {"first", "last", "prev"}
    assert "per_page=6" in tags(tagged)["_links"]["first"]["href"]


def test_tags_need_the_master_key_and_known_types(tagged: Call) -> None:
    refused = tagged("GET", "/api/v3/tags", key=None)
    assert (refused.status, refused.body) == (401, b"")
    refused = tagged("GET", "/api/v3/tags", types="table,wadus")
    assert refused.status == 400
    assert refused.json["errors"].startswith(
        "Wrong 'types' parameter combination. Valid values to combine: [\"table\","
    )
