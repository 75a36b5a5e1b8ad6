from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local.maps.maps_client import Call, described, instantiate, mapnik, refusal
from tests.local.sql_client import SQLClient

PEOPLE = """
    CREATE TABLE people (kind text, weight double precision, age integer, born timestamp,
                         the_geom geometry(Point, 4326), nothing integer);
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
    "ages": ("histogram", {"column": "age", "bins": 5}),  # bins count in a request alone
    "nothing": ("histogram", {"column": "nothing"}),
    "totals": ("aggregation", {"column": "kind", "aggregation": "sum", "aggregationColumn": "age"}),
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
    nodes = [{"id": "all", "type": "source", "params": {"query": "SELECT * FROM people"}}]
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
def test_bbox_across_the_180th_meridian(call: Call, box: str, rows: int) -> None:
    assert view(call, "rows", bbox=box).json["result"] == rows


def test_small_categories_are_combined(call: Call) -> None:
    response = view(call, "kinds", categories="2").json
    assert response["categories"] == [
        {"category": "i", "value": 8, "agg": False},
        {"category": "Other", "value": 33, "agg": True},
    ]
    counts = {name: response[name] for name in ("count", "nulls", "min", "max", "categoriesCount")}
    assert counts == {"count": 42, "nulls": 1, "min": 1, "max": 8, "categoriesCount": 11}


def test_null_category_with_the_own_filter(call: Call) -> None:
    response = view(call, "kinds", own_filter="1").json
    assert {"category": None, "value": 1, "agg": False} in response["categories"]
    assert len(response["categories"]) == response["categoriesCount"] == 11
    totals = view(call, "totals", own_filter="1").json["categories"]
    assert totals[0] == {"category": None, "value": None, "agg": False}  # PostgreSQL sorts NULL as the largest
    assert None not in [row["category"] for row in view(call, "totals").json["categories"]]


def test_categories_aggregate_their_rows(call: Call) -> None:
    response = view(call, "heavy").json
    assert [row["value"] for row in response["categories"]] == [40, 39, 37, 36, 35, 34]
    assert [row["agg"] for row in response["categories"]] == [False] * 5 + [True]
    assert (response["nans"], response["infinities"]) == (1, 1)


def test_histograms_of_numbers(call: Call) -> None:
    for query, places in (({"bins": "5"}, (0, 1, 2, 3, 4)), ({}, (0, 1, 3, 4, 5))):
        ages = view(call, "ages", **query).json
        found = [(one["bin"], one["min"], one["freq"]) for one in ages["bins"]]
        assert found == list(zip(places, range(5), (8, 9, 8, 8, 8), strict=True))
        count = int(query.get("bins", 6))
        assert (ages["bins_count"], ages["bin_width"], ages["nulls"]) == (count, 4 / count, 1)
    part = view(call, "ages", start="1", end="2", bins="1").json
    assert [one["freq"] for one in part["bins"]] == [17]
    weights = view(call, "weights").json
    assert (weights["nans"], weights["infinities"], sum(one["freq"] for one in weights["bins"])) == (1, 1, 40)


@pytest.mark.parametrize(
    ("query", "count", "width"),
    [
        # How often twice the distance of the quartiles goes into the range, from 6 (or the rows, if there are fewer)
        # to 48; of equal values there is one bin.
        ("SELECT i AS n FROM generate_series(1, 1000) i", 6, 999 / 6),
        ("SELECT power(i, 3)::float8 AS n FROM generate_series(1, 1000) i", 6, (1000**3 - 1) / 6),
        ("SELECT CASE WHEN i = 1000 THEN 100000 ELSE i END AS n FROM generate_series(1, 1000) i", 48, 99999 / 48),
        ("SELECT CASE WHEN i = 100 THEN 2000 ELSE i END AS n FROM generate_series(1, 100) i", 20, 1999 / 20),
        ("SELECT i AS n FROM generate_series(1, 3) i", 3, 2 / 3),
        ("SELECT 7 AS n FROM generate_series(1, 9)", 1, 0),
        ("SELECT timestamp '2024-01-01' + i * interval '1 second' AS n FROM generate_series(1, 1000) i", 6, 999 / 6),
        ("SELECT NULL::int AS n", 1, None),
    ],
)
def test_default_number_of_histogram_bins(call: Call, query: str, count: int, width: float | None) -> None:
    source = f"SELECT 1 AS cartodb_id, NULL::geometry AS the_geom_webmercator, * FROM ({query}) AS q"
    nodes = [{"id": "all", "type": "source", "params": {"query": source}}]
    dataviews = {"n": {"type": "histogram", "source": {"id": "all"}, "options": {"column": "n"}}}
    path = instantiate(call, described(mapnik(source), analyses=nodes, dataviews=dataviews))
    found = call("GET", f"{path}/dataview/n").json
    assert (found["bins_count"], found["bin_width"]) == (count, width if width is None else pytest.approx(width))


def test_histogram_of_many_rows_within_limits_and_bbox(call: Call, sql: SQLClient) -> None:
    sql.run("ALTER TABLE people DISABLE TRIGGER USER")  # 40,000 times slow
    sql.run(
        "INSERT INTO people (cartodb_id, age, the_geom_webmercator)"
        " SELECT i, i % 1000, ST_SetSRID(ST_MakePoint(i, i), 3857) FROM generate_series(100, 40099) i"
    )
    response = view(call, "ages", bins="20", start="0", end="999", bbox="-170,-80,170,80")
    assert response.status == 200  # and not 429, after the time limit of statements
    assert sum(bucket["freq"] for bucket in response.json["bins"]) == 40_040


def test_histogram_without_rows(call: Call) -> None:
    empty = {"bin": 0, "min": None, "max": None, "avg": None, "freq": 0}
    found = {"bin_width": None, "bins_count": 1, "bins_start": None, "nulls": 42, "infinities": 0, "nans": 0, "avg": 0}
    assert view(call, "nothing").json == {**found, "bins": [empty], "type": "histogram"}
    nowhere = {"nulls": 0, "infinities": 0, "nans": 0, "avg": 0, "bins": [], "type": "histogram"}
    assert view(call, "nothing", bbox="-170,-80,-160,-70").json == nowhere
    assert view(call, "ages", start="100", end="200").json == {**nowhere, "bins_start": 100}


def test_histograms_of_times(call: Call) -> None:
    months = view(call, "months").json
    assert [(one["bin"], one["freq"]) for one in months["bins"]] == [(0, 29), (1, 11), (None, 1)]  # that without time
    assert (months["aggregation"], months["bins_count"], months["nulls"]) == ("month", 2, 0)
    assert months["timestamp_start"] == 1706745600
    assert view(call, "months", aggregation="auto").json["aggregation"] == "day"
    assert refusal(view(call, "months", aggregation="fortnight"))[0] == 400
    part = view(call, "months", start="1707000000", end="1711000000", aggregation="quarter").json
    assert (part["timestamp_start"], part["bins_count"]) == (1704067200, 1)
    assert [one["freq"] for one in part["bins"]] == [37]
    shifted = view(call, "months", aggregation="day", offset="5400").json  # as two hours: whole ones count
    assert (shifted["timestamp_start"], shifted["bins_count"]) == (1706738400, 40)
    nowhere = view(call, "months", offset="360000").json
    assert (nowhere["bins"], nowhere["bins_count"]) == ([], 0)
    assert refusal(view(call, "ages", aggregation="day"))[1].startswith("cannot cast type integer")


def test_filters_apply_to_other_dataviews(call: Call) -> None:
    filters = {"kinds": {"accept": ["b", "it's $1"]}, "ages": {"min": 1}}
    assert view(call, "rows", filters).json["result"] == 4
    assert view(call, "kinds", filters).json["categoriesCount"] > 1
    assert view(call, "kinds", filters, own_filter="1").json["categoriesCount"] == 1
    assert view(call, "rows", filters, no_filters="1").json["result"] == 42


def test_category_search_matches_substrings(call: Call) -> None:
    assert view(call, "kinds/search", q="I").json["categories"] == [{"category": "i", "value": 8}]
    every = view(call, "kinds/search", q="").json["categories"]
    assert view(call, "kinds/search", q="%").json["categories"] == every  # wildcards, as CARTO leaves them
    assert view(call, "kinds/search", q="_").json["categories"] == every
    assert view(call, "kinds/search", q="\\%").json["categories"] == []


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
def test_invalid_dataview_requests_are_rejected(call: Call, name: str, query: dict[str, str], message: str) -> None:
    assert refusal(view(call, name, **query)) == (400, message)


def test_whole_numbers_are_json_integers(call: Call) -> None:
    text = view(call, "ages", start="0", end="10", bins="2").body.decode()
    assert '"bins_start":0,' in text
    assert ".0," not in text
