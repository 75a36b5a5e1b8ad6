from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def listed(call: Call, **parameters: Any) -> Any:
    answer = call("GET", "/api/v1/viz", **{"type": "table", **parameters})
    assert answer.status == 200, answer.body
    return answer.json


def names(call: Call, **parameters: Any) -> list[str]:
    return [one["name"] for one in listed(call, **parameters)["visualizations"]]


def change(call: Call, name: str, **changes: Any) -> None:
    identity = call("GET", f"/api/v1/viz/{name}").json["id"]
    assert call("PUT", f"/api/v1/viz/{identity}", {"id": identity, **changes}).status == 200


@pytest.fixture
def abc(call: Call) -> Call:
    for name, rows in (("a", 1), ("b", 3000), ("c", 100)):
        query(call, f"CREATE TABLE {name} AS SELECT generate_series(1, {rows}) AS i; ANALYZE {name}")
        call("GET", f"/api/v1/viz/{name}")  # registered in this order
    return call


def test_maps_are_listed_unless_datasets_are_asked_for(abc: Call) -> None:
    abc("POST", "/api/v1/viz", {"tables": ["a"], "name": "m"})
    assert [one["name"] for one in abc("GET", "/api/v1/viz/").json["visualizations"]] == ["m"]
    assert names(abc, order="name") == ["c", "b", "a"]
    assert names(abc, types="table,derived", order="name", order_direction="asc") == ["a", "b", "c", "m"]
    assert names(abc, type="kuviz") == names(abc, type="remote") == []


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
    change(abc, "b", privacy="public")
    change(abc, "c", title="now")
    abc("POST", "/api/v1/viz", {"tables": ["c"], "name": "m"})
    assert names(abc, order=order, order_direction="asc") == list(expected)
    if order not in ("mapviews", "favorited"):
        down = names(abc, order=order)
        assert down[0] == expected[-1]
        assert down[0] == names(abc, order=order, order_direction="desc")[0]


def test_pages(abc: Call) -> None:
    pages = [listed(abc, order="name", order_direction="asc", page=page, per_page=2) for page in (1, 2, 3)]
    assert [[one["name"] for one in page["visualizations"]] for page in pages] == [["a", "b"], ["c"], []]
    assert {page["total_entries"] for page in pages} == {3}


@pytest.mark.parametrize(
    "parameters",
    [
        {"order": "nonsense"},
        {"order_direction": "up"},
        {"page": "0"},
        {"page": "x"},
        {"per_page": "-1"},
        {"type": "nonsense"},
        {"privacy": "nonsense"},
        {"bbox": "1,2,3"},
        {"bbox": "a,b,c,d"},
    ],
)
def test_parameters_that_make_no_sense(call: Call, parameters: dict[str, str]) -> None:
    refused = call("GET", "/api/v1/viz", **parameters)
    assert (refused.status, list(refused.json)) == (400, ["error"])


def test_words_are_looked_for_in_name_description_and_tags(abc: Call) -> None:
    change(abc, "b", description="Trees of the City", tags=["green 100%"])
    change(abc, "c", tags=["city"])
    assert names(abc, q="city", order="name") == ["c", "b"]
    assert names(abc, q="TREE city") == ["b"]
    assert names(abc, q="100%") == ["b"]
    assert names(abc, q="%") == ["b"]
    assert names(abc, q="nothing") == []


def test_filters(abc: Call) -> None:
    change(abc, "a", tags=["x", "y"], privacy="public")
    change(abc, "b", tags=["y"], privacy="link")
    change(abc, "c", locked=True)
    assert names(abc, tags="x,z") == ["a"]
    assert names(abc, tags="y", order="name") == ["b", "a"]
    assert [names(abc, privacy=privacy) for privacy in ("public", "link", "PRIVATE")] == [["a"], ["b"], ["c"]]
    assert names(abc, locked="true") == ["c"]
    assert names(abc, locked="false", order="name") == ["b", "a"]
    for mine in ({"exclude_shared": "true"}, {"shared": "no"}, {"shared": "yes"}, {"exclude_raster": "true"}):
        assert len(names(abc, **mine)) == 3
    for none in ({"shared": "only"}, {"only_shared": "true"}, {"only_liked": "true"}):
        assert names(abc, **none) == []
    for name, privacy in (("hidden", "private"), ("shown", "public")):
        abc("POST", "/api/v1/viz", {"tables": ["a"], "name": name, "privacy": privacy})
    assert names(abc, types="table,derived", only_published="true") == ["shown"]


def test_a_box_finds_what_has_geometry_there(call: Call) -> None:
    for name, point in (("north", "POINT(10 60)"), ("south", "POINT(10 -60)")):
        query(call, f"CREATE TABLE {name} AS SELECT 'SRID=4326;{point}'::geometry AS the_geom")
        query(call, f"SELECT CDB_CartodbfyTable('{name}')")
    query(call, "CREATE TABLE plain AS SELECT 1 AS i")
    call("POST", "/api/v1/viz", {"tables": ["north"], "name": "m"})
    assert names(call, types="table,derived", bbox="0,50,20,70", order="name") == ["north", "m"]
    assert names(call, bbox="0,-70,20,-50") == ["south"]


def test_totals(abc: Call) -> None:
    change(abc, "a", locked=True)
    totals = {"total_user_entries": 3, "total_locked": 1, "total_likes": 0, "total_shared": 0}
    found = listed(abc, q="b")
    assert found["total_entries"] == 1
    assert {name: found[name] for name in totals} == totals
    assert set(listed(abc, load_totals="false")) == {"visualizations", "total_entries"}
    assert listed(abc, only_liked="true")["total_entries"] == 0


def test_parts_can_be_left_out(abc: Call) -> None:
    parts = "stats likes liked permission synchronization uses_builder_features auth_tokens table"
    [full] = listed(abc, q="a")["visualizations"]
    for part in parts.split():
        assert part in full
        [less] = listed(abc, q="a", **{f"show_{part}": "false"})["visualizations"]
        assert part not in less
    [less] = listed(abc, q="a", show_table_size_and_row_count="false")["visualizations"]
    assert not {"size", "row_count"} & set(less["table"])
    assert full["table"]["row_count"] == 1


def test_number_of_dependent_maps(abc: Call) -> None:
    for name in ("m", "n"):
        abc("POST", "/api/v1/viz", {"tables": ["a"], "name": name})
    for asked, shown in (("0", []), ("1", ["n"]), ("5", ["n", "m"])):
        [one] = listed(abc, q="a", with_dependent_visualizations=asked)["visualizations"]
        assert [a_map["name"] for a_map in one["dependent_visualizations"]] == shown
        assert one["dependent_visualizations_count"] == 2


def test_others_see_what_is_public_and_nothing_else(abc: Call) -> None:
    change(abc, "a", privacy="public")
    change(abc, "b", privacy="link")
    abc("POST", "/api/v1/viz", {"tables": ["a"], "name": "m", "privacy": "private"})
    grants = [{"type": "apis", "apis": ["sql"]}]
    token = abc("POST", "/api/v3/api_keys", {"name": "k", "grants": grants}).json["token"]
    for key in (None, token):
        found = listed(abc, key=key, types="table,derived")
        assert set(found) == {"visualizations", "total_entries"}
        [one] = found["visualizations"]
        assert (one["name"], one["dependent_visualizations"], one["synchronization"]) == ("a", [], None)
        assert "email" not in one["user"]
        assert abc("GET", "/api/v1/viz/b", key=key).status == 200
        assert abc("GET", "/api/v1/viz/c", key=key).status == 404
        assert abc("GET", "/api/v1/viz/m", key=key).status == 404
    assert listed(abc, key="wrong", types="table,derived")["total_entries"] == 1


def test_five_hundred_tables_are_listed_about_as_quickly_as_twenty(call: Call) -> None:
    def seconds(first: int, last: int) -> float:
        create = "CREATE TABLE t%s (cartodb_id serial PRIMARY KEY, the_geom geometry(Geometry,4326))"
        query(call, f"DO $$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE format('{create}', i); END LOOP; END $$")
        assert listed(call)["total_entries"] == last  # registers them
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            assert len(listed(call, order="size")["visualizations"]) == 20
            took.append(time.perf_counter() - begin)
        return min(took)

    assert seconds(1, 20) * 8 > seconds(21, 500)  # the same page of twenty; 25 times the tables
