from __future__ import annotations

import json
from typing import Any

import pytest
from maps_client import Call, described, instantiate, mapnik, refusal
from sql_client import SQLClient

PEOPLE = """
    CREATE TABLE people (kind text, weight double precision, age integer, born timestamp,
                         the_geom geometry(Point, 4326));
    INSERT INTO people SELECT chr(97 + least(i % 10, 8)), i, i % 5, timestamp '2024-01-31' + i * interval '1 day',
        ST_SetSRID(ST_MakePoint(i, i), 4326) FROM generate_series(1, 40) i;
    INSERT INTO people VALUES (NULL, 'NaN', NULL, NULL, NULL),
        ('z', 'Infinity', 1, 'infinity', 'SRID=4326;POINT(179 0)');
    SELECT CDB_CartodbfyTable('people');"""
VIEWS = {
    "sum": ("formula", {"operation": "sum", "column": "weight"}),
    "rows": ("formula", {"operation": "count"}),
    "kinds": ("aggregation", {"column": "kind", "aggregation": "count"}),
    "heavy": ("aggregation", {"column": "kind", "aggregation": "max", "aggregationColumn": "weight"}),
    "ages": ("histogram", {"column": "age", "bins": 5}),
    "weights": ("histogram", {"column": "weight"}),
    "months": ("histogram", {"column": "born", "aggregation": "month"}),
    "wrong": ("formula", {"operation": "median", "column": "age"}),
    "unknown": ("pie", {}),
}


@pytest.fixture(autouse=True)
def people(sql: SQLClient) -> None:
    sql.run(PEOPLE)


def view(call: Call, name: str, filters: object = None, **query: str) -> Any:
    dataviews = {
        key: {"type": kind, "source": {"id": "all"}, "options": options} for key, (kind, options) in VIEWS.items()
    }
    nodes = [{"id": "all", "type": "source", "params": {"query": "SELECT * FROM people;"}}]
    config = described(mapnik("SELECT * FROM people"), analyses=nodes, dataviews=dataviews)
    given = {} if filters is None else {"filters": json.dumps({"dataviews": filters})}
    return call("GET", f"{instantiate(call, config, **given)}/dataview/{name}", **query)


def test_formulas(call: Call) -> None:
    total = {"operation": "sum", "result": 820, "nulls": 0, "infinities": 1, "nans": 1, "type": "formula"}
    assert view(call, "sum").json == total
    assert view(call, "rows").json == {"operation": "count", "result": 42, "nulls": 0, "type": "formula"}


@pytest.mark.parametrize(
    ("box", "rows"), [("0.5,0.5,10.5,10.5", 10), ("170,-10,190,10", 1), ("-200,-90,200,90", 41), ("-190,-1,-170,1", 1)]
)
def test_a_box_can_cross_the_edge_of_the_world(call: Call, box: str, rows: int) -> None:
    assert view(call, "rows", bbox=box).json["result"] == rows


def test_small_categories_become_one(call: Call) -> None:
    answer = view(call, "kinds", categories="2").json
    assert answer["categories"] == [
        {"category": "i", "value": 8, "agg": False},
        {"category": "Other", "value": 33, "agg": True},
    ]
    counts = {name: answer[name] for name in ("count", "nulls", "min", "max", "categoriesCount")}
    assert counts == {"count": 42, "nulls": 1, "min": 1, "max": 8, "categoriesCount": 11}


def test_a_category_has_the_aggregate_of_its_rows(call: Call) -> None:
    answer = view(call, "heavy").json
    assert [row["value"] for row in answer["categories"]] == [40, 39, 37, 36, 35, 34]
    assert [row["agg"] for row in answer["categories"]] == [False] * 5 + [True]
    assert (answer["nans"], answer["infinities"]) == (1, 1)


def test_histograms_of_numbers(call: Call) -> None:
    ages = view(call, "ages").json
    assert [(one["bin"], one["min"], one["freq"]) for one in ages["bins"]] == [
        (0, 0, 8),
        (1, 1, 9),
        (2, 2, 8),
        (3, 3, 8),
        (4, 4, 8),
    ]
    assert (ages["bins_count"], ages["bin_width"], ages["nulls"]) == (5, 0.8, 1)
    part = view(call, "ages", start="1", end="2", bins="1").json
    assert [one["freq"] for one in part["bins"]] == [17]
    weights = view(call, "weights").json
    assert (weights["nans"], weights["infinities"], sum(one["freq"] for one in weights["bins"])) == (1, 1, 40)


def test_histograms_of_times(call: Call) -> None:
    months = view(call, "months").json
    assert [(one["bin"], one["freq"]) for one in months["bins"]] == [(0, 29), (1, 11)]
    assert (months["aggregation"], months["bins_count"], months["nulls"]) == ("month", 2, 1)
    assert months["timestamp_start"] == 1706745600
    assert view(call, "months", aggregation="auto").json["aggregation"] == "day"
    assert refusal(view(call, "months", aggregation="fortnight"))[0] == 400


def test_a_filter_holds_for_the_other_dataviews(call: Call) -> None:
    filters = {"kinds": {"accept": ["b", "it's $1"]}, "ages": {"min": 1}}
    assert view(call, "rows", filters).json["result"] == 4
    assert view(call, "kinds", filters).json["categoriesCount"] > 1
    assert view(call, "kinds", filters, own_filter="1").json["categoriesCount"] == 1
    assert view(call, "rows", filters, no_filters="1").json["result"] == 42


def test_categories_are_searched_by_a_part_of_them(call: Call) -> None:
    assert view(call, "kinds/search", q="I").json["categories"] == [{"category": "i", "value": 8}]
    assert view(call, "kinds/search", q="%").json["categories"] == []


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("nope", {}, "Dataview 'nope' does not exist"),
        ("wrong", {}, "Formula does not support 'median' operation"),
        ("unknown", {}, "Invalid dataview type: 'pie'"),
        ("ages", {"bins": "x"}, "Invalid number format for parameter 'bins'"),
        ("rows", {"bbox": "1,2"}, 'Invalid bbox filter, expected format="west,south,east,north"'),
        (
            "rows",
            {"own_filter": "1", "no_filters": "1"},
            "Both own_filter and no_filters cannot be sent in the same request",
        ),
    ],
)
def test_what_cannot_be_answered(call: Call, name: str, query: dict[str, str], message: str) -> None:
    assert refusal(view(call, name, **query)) == (400, message)
