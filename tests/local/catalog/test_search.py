from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map, query


def listed(call: Call, **parameters: Any) -> Any:
    answer = call("GET", "/api/v1/viz", **{"type": "table", **parameters})
    assert answer.status == 200, answer.body
    return answer.json


def names(call: Call, **parameters: Any) -> list[str]:
    return [one["name"] for one in listed(call, **parameters)["visualizations"]]


@pytest.fixture
def abc(call: Call) -> Call:
    for name, rows in (("a", 1), ("b", 3000), ("c", 100)):
        make_dataset(call, name, f"SELECT generate_series(1, {rows}) AS i")  # registered in this order
        query(call, f"ANALYZE {name}")
    return call


def by_name(call: Call, name: str) -> Any:
    return call("GET", f"/api/v1/viz/{name}").json


def test_types(abc: Call) -> None:
    make_map(abc, "m", "a")
    assert [one["name"] for one in abc("GET", "/api/v1/viz/").json["visualizations"]] == ["m"]
    assert names(abc, order="name") == ["c", "b", "a"]
    assert names(abc, types="table,derived", order="name", order_direction="asc") == ["a", "b", "c", "m"]
    assert names(abc, types="table,", type="derived", order="name", order_direction="asc") == ["a", "b", "c"]
    for unknown in ("kuviz", "remote", "wadus", "table, derived"):
        assert names(abc, type=unknown) == []
    assert names(abc, types="derived, table") == ["m"]  # blanks are part of a type


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", "abc"),
        ("updated_at", "abc"),
        ("size", "acb"),
        ("mapviews", "abc"),
        ("favorited", "abc"),
        ("estimated_row_count", "acb"),
        ("privacy", "acb"),
        ("dependent_visualizations", "abc"),
    ],
)
def test_orders(abc: Call, order: str, expected: str) -> None:
    change(abc, by_name(abc, "b"), privacy="public")
    change(abc, by_name(abc, "c"), title="now")
    abc("POST", f"/api/v1/viz/{by_name(abc, 'c')['id']}/like")
    make_map(abc, "m", "c")
    assert names(abc, order=order, order_direction="asc") == list(expected)
    if order != "mapviews":
        assert names(abc, order=order)[0] == names(abc, order=order, order_direction="desc")[0] == expected[-1]


def test_combined_orders(abc: Call) -> None:
    change(abc, by_name(abc, "a"), privacy="public")
    assert names(abc, order="privacy,name", order_direction="desc,asc") == ["a", "b", "c"]
    assert names(abc, order="privacy,name", order_direction="asc") == ["b", "c", "a"]
    assert names(abc, order="privacy,name") == ["a", "c", "b"]


def test_pages(abc: Call) -> None:
    pages = [listed(abc, order="name", order_direction="asc", page=page, per_page=2) for page in (1, 2, 3)]
    assert [[one["name"] for one in page["visualizations"]] for page in pages] == [["a", "b"], ["c"], []]
    assert {page["total_entries"] for page in pages} == {3}
    assert len(listed(abc, page="", per_page="")["visualizations"]) == 3


ORDERS = "[:name, :updated_at, :size, :mapviews, :favorited, :estimated_row_count, :privacy, :dependent_visualizations]"
COMBINED = "[:name, :updated_at, :favorited, :privacy, :dependent_visualizations]"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"order": "nonsense"}, f"Wrong 'order' parameter value. Valid values are one of {ORDERS}"),
        (
            {"order": "size,name"},
            f"Wrong 'order' parameter combination. Valid values to combine: {COMBINED}",
        ),
        ({"order_direction": "up"}, "Wrong 'order_direction' parameter value. Valid values are one of [:asc, :desc]"),
        ({"page": "0"}, "Wrong 'page' parameter value."),
        ({"page": "x"}, "Wrong 'page' parameter value."),
        ({"per_page": "-1"}, "Wrong 'per_page' parameter value."),
        ({"bbox": "1,2,3"}, "bounding box must have 4 coordinates: minx, miny, maxx, maxy"),
        ({"bbox": "a,b,c,d"}, "all bounding box parameters must be floats"),
        ({"bbox": "1,2,3,4", "type": "derived"}, "Filter by bbox is only supported for type table"),
        ({"bbox": "1,2,3,4", "types": "table,derived"}, "Filter by bbox is only supported for type table"),
    ],
)
def test_messages_of_invalid_parameters(call: Call, parameters: dict[str, str], message: str) -> None:
    refused = call("GET", "/api/v1/viz", **{"type": "table", **parameters})
    assert (refused.status, refused.json) == (400, {"error": message})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("city", ["c", "b"]),  # the tag ranks before the description
        ("TREE city", ["b"]),  # all words, stemmed
        ("the cit", ["b"]),  # a part of the text
        ("100%", ["b"]),
        ("%", ["b"]),
        ("_", []),
        ("nothing", []),
        ("  ", ["b", "c", "a"]),
    ],
)
def test_text_in_name_tags_and_description(abc: Call, text: str, expected: list[str]) -> None:
    change(abc, by_name(abc, "c"), tags=["city"])
    change(abc, by_name(abc, "b"), description="Trees of the City", tags=["green 100%"])
    assert names(abc, q=text) == expected


def test_rank_comes_before_the_order(abc: Call) -> None:
    for name, details in (("rank", {}), ("tagged", {"tags": ["rank"]}), ("described", {"description": "rank"})):
        make_map(abc, name, "a", **details)
    for parameters in ({}, {"order": "name"}, {"order": "updated_at", "order_direction": "asc"}):
        assert names(abc, type="derived", q="rank", **parameters) == ["rank", "tagged", "described"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [("x", ["a"]), ("Y", ["a", "b"]), ("x,y", ["a"]), ("y,x", []), ("x,z", []), ("gre", ["c"]), ("green,", ["c"])],
)
def test_tags_are_a_part_of_the_joined_tags(abc: Call, tags: str, expected: list[str]) -> None:
    for name, given in (("a", ["x", "y"]), ("b", ["y"]), ("c", ["Greens"])):
        change(abc, by_name(abc, name), tags=given)
    assert names(abc, tags=tags, order="name", order_direction="asc") == expected


def test_filters_of_the_owner(abc: Call) -> None:
    change(abc, by_name(abc, "a"), privacy="public", display_name="A")
    change(abc, by_name(abc, "b"), privacy="link", kind="raster")
    change(abc, by_name(abc, "c"), locked=True)
    found = {privacy: names(abc, privacy=privacy) for privacy in ("public", "link", "private", "PUBLIC", "wadus")}
    assert found == {"public": ["a"], "link": ["b"], "private": ["c"], "PUBLIC": [], "wadus": []}
    assert names(abc, locked="true") == ["c"]
    assert names(abc, locked="false", order="name") == ["b", "a"]
    assert names(abc, only_with_display_name="true") == ["a"]
    assert names(abc, exclude_raster="true", order="name") == ["c", "a"]
    for mine in ({"exclude_shared": "true"}, {"shared": "no"}, {"shared": "yes", "only_shared": "true"}):
        assert len(names(abc, **mine)) == 3
    for none in ({"shared": "only"}, {"only_shared": "true"}, {"subscribed": "true"}, {"sample": "true"}):
        assert names(abc, **none) == []
    for ignored in ({"locked": "true"}, {"privacy": "private"}, {"shared": "only"}, {"only_liked": "true"}):
        assert names(abc, key=None, **ignored) == ["a"]


def test_only_published(abc: Call) -> None:
    change(abc, by_name(abc, "a"), privacy="public")
    published, unpublished, of_editor = (make_map(abc, name, "a") for name in ("m", "n", "o"))
    abc("POST", f"/api/v3/viz/{published['id']}/mapcaps")
    change(abc, of_editor, version=2)
    assert unpublished["privacy"] == "PUBLIC"
    parameters = {"only_published": "true", "order": "name", "order_direction": "asc"}
    assert names(abc, types="table,derived", **parameters) == ["a", "m", "o"]
    change(abc, of_editor, privacy="private")
    assert names(abc, type="derived", **parameters) == ["m"]


def test_box_finds_imported_datasets(call: Call, carto: LocalCarto) -> None:
    for name, latitude in (("north", 60), ("south", -60)):
        content = f"name,longitude,latitude\nx,10,{latitude}\n"
        sent = requests.post(
            f"{carto.base_url}/api/v1/imports",
            params={"api_key": carto.credentials.api_key},
            files={"file": (f"{name}.csv", content)},
            timeout=60,
        )
        item = sent.json()["item_queue_id"]
        while call("GET", f"/api/v1/imports/{item}").json["state"] not in ("complete", "failure"):
            time.sleep(0.05)
    make_dataset(call, "by_sql", "SELECT 'SRID=4326;POINT(10 60)'::geometry AS the_geom")
    assert names(call, bbox="0,50,20,70") == ["north"]
    assert names(call, bbox="0,-70,20,-50") == ["south"]
    assert names(call, bbox="20,-90,30,90") == []
    assert len(names(call, bbox="")) == 3


def test_totals(abc: Call) -> None:
    change(abc, by_name(abc, "a"), locked=True)
    for name in ("a", "b"):
        abc("POST", f"/api/v1/viz/{by_name(abc, name)['id']}/like")
    totals = {"total_user_entries": 3, "total_locked": 1, "total_likes": 1, "total_shared": 0}
    found = listed(abc, q="b")
    assert found["total_entries"] == 1
    assert {name: found[name] for name in totals} == totals
    assert set(listed(abc, load_totals="false")) == {"visualizations", "total_entries"}
    counted = listed(abc, load_do_totals="true")
    assert (counted["total_subscriptions"], counted["total_samples"]) == (0, 0)


def test_number_of_dependent_maps(abc: Call) -> None:
    for name in ("m", "n"):
        make_map(abc, name, "a")
    for asked, shown in (("1", ["n"]), ("5", ["n", "m"])):
        [one] = listed(abc, q="a", with_dependent_visualizations=asked)["visualizations"]
        assert [a_map["name"] for a_map in one["dependent_visualizations"]] == shown
        assert set(one["dependent_visualizations"][0]) == {"id", "name", "updated_at", "permission", "auth_tokens"}
        assert set(one["dependent_visualizations"][0]["permission"]) == {"id", "owner"}
        assert one["dependent_visualizations_count"] == 2
    for none in ({}, {"with_dependent_visualizations": "0"}, {"with_dependent_visualizations": "x"}):
        [one] = listed(abc, q="a", **none)["visualizations"]
        assert not {"dependent_visualizations", "dependent_visualizations_count"} & set(one)


@pytest.mark.parametrize("key", [None, "wrong", "regular"])
def test_others_see_what_is_public(abc: Call, key: str | None) -> None:
    change(abc, by_name(abc, "a"), privacy="public")
    change(abc, by_name(abc, "b"), privacy="link")
    make_map(abc, "private", "c")
    make_map(abc, "public", "a")
    if key == "regular":
        grants = [{"type": "apis", "apis": ["sql"]}]
        key = abc("POST", "/api/v3/api_keys", {"name": "k", "grants": grants}).json["token"]
    found = listed(abc, key=key, types="table,derived", order="name", order_direction="asc")
    assert set(found) == {"visualizations", "total_entries"}
    assert [one["name"] for one in found["visualizations"]] == ["a", "public"]
    assert found["total_entries"] == 2


def test_listing_time_does_not_grow_with_the_tables(call: Call) -> None:
    def seconds(first: int, last: int) -> float:
        columns = "cartodb_id serial PRIMARY KEY, the_geom geometry, the_geom_webmercator geometry"
        trigger = "CREATE TRIGGER test_quota_per_row BEFORE INSERT ON t%1$s FOR EACH ROW EXECUTE FUNCTION nothing()"
        create = f"CREATE TABLE t%1$s ({columns}); {trigger}"
        query(
            call,
            "CREATE OR REPLACE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            f" DO $do$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE format('{create}', i); END LOOP; END $do$",
        )
        assert listed(call)["total_entries"] == last  # registers them
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            assert len(listed(call, order="size")["visualizations"]) == 20
            took.append(time.perf_counter() - begin)
        return min(took)

    assert seconds(1, 20) * 8 > seconds(21, 500)  # the same page of twenty; 25 times the tables
