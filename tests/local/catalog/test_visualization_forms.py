"""Members of datasets and maps in responses, by caller and parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map, query

PUBLIC = {
    "id",
    "name",
    "display_name",
    "attributions",
    "source",
    "license",
    "type",
    "tags",
    "description",
    "created_at",
    "updated_at",
    "title",
    "kind",
    "privacy",
}
PRIVATE = PUBLIC | {
    "map_id",
    "active_layer_id",
    "locked",
    "external_source",
    "url",
    "version",
    "prev_id",
    "next_id",
    "parent_id",
    "transition_options",
    "active_child",
    "children",
    "synchronization",
    "uses_builder_features",
}
ALWAYS = {"stats", "auth_tokens", "table"}
TABLE = {"id", "name", "geometry_types", "privacy", "updated_at", "synchronization", "size", "row_count"}


def listed(call: Call, one: Any, **parameters: Any) -> Any:
    found = call("GET", "/api/v1/viz", types="table,derived", **parameters).json["visualizations"]
    return next(item for item in found if item["id"] == one["id"])


@pytest.fixture
def dataset(call: Call) -> Any:
    return make_dataset(call, "t", "SELECT 'SRID=4326;POINT(1 2)'::geometry AS the_geom", privacy="public")


def test_members_in_a_list(call: Call, dataset: Any) -> None:
    a_map = make_map(call, "m", "t")
    for one in (dataset, a_map):
        assert set(listed(call, one)) == PRIVATE | ALWAYS | {"liked", "permission"}
    assert set(listed(call, dataset)["table"]) == TABLE | {"permission"}
    assert listed(call, a_map)["table"] == {}


def test_members_of_a_single_item(call: Call, dataset: Any) -> None:
    path = f"/api/v1/viz/{dataset['id']}"
    shown = call("GET", path).json
    assert set(shown) == PRIVATE | ALWAYS | {"related_tables"}
    assert (shown["stats"], set(shown["table"])) == ({}, TABLE)
    asked = call("GET", path, show_liked="true", show_permission="true", show_stats="true", fetch_user="true").json
    assert set(asked) == set(shown) | {"liked", "permission", "user"}
    assert set(asked["table"]) == TABLE | {"permission"}
    assert len(asked["stats"]) == 30


def test_members_after_a_change(call: Call, dataset: Any) -> None:
    expected = PRIVATE | ALWAYS | {"liked", "permission", "related_tables"}
    assert set(make_map(call, "m", "t")) == expected
    assert set(change(call, dataset, title="T")) == expected


@pytest.mark.parametrize("key", [None, "wrong"])
def test_members_for_others(call: Call, dataset: Any, key: str | None) -> None:
    shown = call("GET", "/api/v1/viz/t", key=key).json
    assert set(shown) == PUBLIC | ALWAYS
    assert set(shown["table"]) == TABLE - {"synchronization"}
    assert shown["table"]["name"] == '"public".t'
    assert listed(call, dataset, key=key)["liked"] is False


@pytest.mark.parametrize("part", ["table", "liked", "permission", "synchronization", "uses_builder_features"])
def test_parts_that_a_list_leaves_out(call: Call, dataset: Any, part: str) -> None:
    assert part in listed(call, dataset, **{f"show_{part}": "true"})
    assert part not in listed(call, dataset, **{f"show_{part}": "false"})


def test_stats_and_sizes_that_a_list_leaves_out(call: Call, dataset: Any) -> None:
    assert listed(call, dataset, show_stats="false")["stats"] == {}
    table = listed(call, dataset, show_table_size_and_row_count="false", show_permission="false")["table"]
    assert set(table) == TABLE - {"size", "row_count"}


def test_values_of_a_dataset(call: Call, dataset: Any) -> None:
    shown = call("GET", "/api/v1/viz/t").json
    assert shown["url"].endswith("/user/tester/tables/t")
    assert shown["table"]["geometry_types"] == ["ST_Point"]
    assert shown["related_tables"] == []
    [row] = query(call, "SELECT pg_total_relation_size('t') / 2 AS size FROM t").json["rows"]
    assert shown["table"]["size"] == row["size"]
    constants = {"active_child": None, "children": [], "external_source": {}, "transition_options": {}, "version": 3}
    assert {name: shown[name] for name in constants} == constants
    assert shown["uses_builder_features"] is True
    assert change(call, dataset, version=2)["uses_builder_features"] is False


def test_link_is_public_for_the_table(call: Call, dataset: Any) -> None:
    shown = change(call, dataset, privacy="link")
    assert (shown["privacy"], shown["table"]["privacy"]) == ("LINK", "PUBLIC")
    shown = call("GET", "/api/v1/viz/t", key=None).json
    assert (shown["privacy"], shown["table"]["privacy"]) == ("LINK", "PUBLIC")


def test_values_of_a_map(call: Call, dataset: Any) -> None:
    a_map = make_map(call, "m", "t")
    shown = call("GET", f"/api/v1/viz/{a_map['id']}").json
    assert shown["url"].endswith(f"/user/tester/viz/{a_map['id']}/map")
    assert [table["name"] for table in shown["related_tables"]] == ["t"]
    assert set(shown["related_tables"][0]) == TABLE | {"permission"}


def test_related_canonical_visualizations(call: Call, dataset: Any) -> None:
    secret = make_dataset(call, "u")
    a_map = make_map(call, "m", "t", "u")
    change(call, a_map, privacy="link", version=2)
    path, asked = f"/api/v1/viz/{a_map['id']}", {"fetch_related_canonical_visualizations": "true"}
    for key, expected in (({}, {dataset["id"], secret["id"]}), ({"key": None}, {dataset["id"]})):
        shown = call("GET", path, **asked, **key).json
        assert {one["id"] for one in shown["related_canonical_visualizations"]} == expected
        assert shown["related_canonical_visualizations_count"] == 2


def test_auth_tokens_by_privacy_and_caller(call: Call, dataset: Any) -> None:
    def tokens(**parameters: Any) -> Any:
        return call("GET", "/api/v1/viz/t", **parameters).json["auth_tokens"]

    assert tokens() == tokens(key=None) == []
    change(call, dataset, privacy="private")
    of_account = tokens()
    change(call, dataset, privacy="password", password="open")
    of_dataset = tokens()
    assert tokens(key=None, password="open") == of_dataset
    assert len(of_account) == len(of_dataset) == 1
    assert of_account != of_dataset


def test_dependents_for_others_are_the_visible_ones(call: Call, dataset: Any) -> None:
    make_map(call, "unpublished", "t")
    published = make_map(call, "published", "t")
    call("POST", f"/api/v3/viz/{published['id']}/mapcaps")
    shown = call("GET", "/api/v1/viz/t", key=None, with_dependent_visualizations="5").json
    assert shown["dependent_visualizations_count"] == 2
    assert [one["name"] for one in shown["dependent_visualizations"]] == ["published"]
