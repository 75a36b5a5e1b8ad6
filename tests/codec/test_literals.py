"""Literals of parameters: each value comes back from the database, and none of them is taken for SQL."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections import namedtuple
from decimal import Decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import psycopg
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

import cartoframes_lite as cfl
from cartoframes_lite._codec.literals import render
from cartoframes_lite._codec.placeholders import fill
from cartoframes_lite.errors import ConversionWarning

PARIS = dt.timezone(dt.timedelta(hours=1))
HOSTILE = [
    "'",
    "''",
    "\\",
    "\\'",
    "'; DROP TABLE t; --",
    "\\'; DROP TABLE t; --",
    "E'",
    "$$",
    "$a$",
    "/*",
    "*/ --",
    "%s",
    "%(a)s",
    "%%",
    "\n'",
    '"',
    "U&'\\0041'",
    "\u2019\uff07",
    "\U0010ffff",
    "?",
    ":a",
    "$1",
    "{}",
]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
DATETIMES = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXTS,
    st.binary(),
    st.dates(),
    st.times(),
    DATETIMES,
    st.builds(lambda value, zone: value.replace(tzinfo=zone), DATETIMES, OFFSETS),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, places=6),
)
LISTS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(TEXTS | st.none(), min_size=1).filter(lambda found: any(item is not None for item in found)),
    st.lists(st.floats(allow_nan=False), min_size=1),
    st.lists(st.booleans(), min_size=1),
    st.lists(st.uuids(), min_size=1),
    st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(st.integers(), min_size=size, max_size=size), min_size=1, max_size=4)
    ),
)
JSON = st.dictionaries(
    TEXTS, st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS, st.lists), max_size=4
)


@pytest.fixture(scope="module")
def connection(carto_server):
    with psycopg.connect(carto_server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=["on", "off"])
def database(connection, request):
    """Connect with both meanings of backslashes, and settings that change how values are read."""
    for name, value in {
        "standard_conforming_strings": request.param,
        "escape_string_warning": "off",
        "backslash_quote": "off",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "sql_standard",
        "TimeZone": "Asia/Kathmandu",
    }.items():
        connection.execute(f"SET {name} = '{value}'")
    yield connection
    connection.execute("RESET ALL")


def ask(database, query):
    """Return the value of a query in binary format, which does not depend on settings."""
    return database.execute(query, binary=True).fetchone()[0]


@pytest.fixture
def echo(database):
    def echo(value):
        (query,) = fill(["SELECT %s AS value"], [value])
        return ask(database, query)

    return echo


def test_scalars_come_back(echo):
    @given(SCALARS)
    @example(-(2**63))
    @example(2**31)
    @example(-(2**31))
    @example(float("inf"))
    @example(-0.0)
    @example(dt.timedelta(days=-1, microseconds=1))
    def comes_back(value):
        back = echo(value)
        assert back == value
        assert isinstance(value, float) is isinstance(back, float)

    comes_back()


def test_lists_come_back(echo):
    given(LISTS)(lambda value: _same(echo(value), value))()


def test_dicts_come_back(echo):
    given(JSON)(lambda value: _same(echo(value), value))()


def _same(back, value):
    assert back == value


def test_values_of_a_condition_are_only_values(database):
    """Whatever the text is, the query has one row with one column, and the table is still there."""
    database.execute("CREATE TEMP TABLE IF NOT EXISTS target (name text)")

    @given(TEXTS, TEXTS)
    def is_a_value(first, second):
        query = (
            "/* 100%% */ SELECT count(*)::int AS n, %(b)s::text || '%%' || $$%%$$ AS t FROM target"
            " WHERE name = %(a)s OR name = ANY(%(c)s) -- 50%%\n"
        )
        (filled,) = fill([query], {"a": first, "b": second, "c": [first, second]})
        cursor = database.execute(filled)
        assert (cursor.fetchall(), len(cursor.description)) == ([(0, f"{second}%%")], 2)

    is_a_value()
    database.execute("DROP TABLE target")


class Color(enum.IntEnum):
    RED = 3


class Loud(str):
    def __str__(self):
        return "'; DROP TABLE t"

    def replace(self, *args):
        return self


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bool_(True), True),
        (np.int64(-7), -7),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.str_("a'b"), "a'b"),
        (np.datetime64("2020-01-02T03:04:05.000006"), dt.datetime(2020, 1, 2, 3, 4, 5, 6)),
        (np.timedelta64(90, "s"), dt.timedelta(seconds=90)),
        (np.datetime64("NaT"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2020-01-02", tz="Europe/Paris"), dt.datetime(2020, 1, 2, tzinfo=PARIS)),
        (pd.Timedelta(days=-2, seconds=3), dt.timedelta(days=-2, seconds=3)),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(5), 5),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series([1.5, -2.0]), [1.5, -2.0]),
        (pd.Series([pd.Timestamp("2020-01-02"), pd.NaT]), [dt.datetime(2020, 1, 2), None]),
        (pd.Categorical(["a", None]), ["a", None]),
        (pd.array(["a", None], dtype="string"), ["a", None]),
        (Color.RED, 3),
        (Loud("a\\'"), "a\\'"),
        (bytearray(b"\x00'"), b"\x00'"),
        (dt.time(12, 30, tzinfo=PARIS), dt.time(12, 30, tzinfo=PARIS)),
        ([{"a": 1}, {"b": None}], [{"a": 1}, {"b": None}]),
        (2**70, Decimal(2**70)),
        (Decimal("Infinity"), Decimal("Infinity")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_of_values(value, expected, echo):
    assert echo(value) == expected


def test_the_first_and_last_moments(database):
    west, east = (dt.timezone(dt.timedelta(hours=hours)) for hours in (-15, 15))
    for moment in (dt.datetime.max.replace(tzinfo=west), dt.datetime.min.replace(tzinfo=east)):
        (query,) = fill(["SELECT extract(epoch FROM %s)::text"], [moment])
        seconds = (moment.replace(tzinfo=None) - dt.datetime(1970, 1, 1)).total_seconds()
        assert float(ask(database, query)) == pytest.approx(seconds - moment.utcoffset().total_seconds(), abs=1e-3)


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("sNaN"), np.float64("nan")], ids=str)
def test_nan_is_not_null(value, echo):
    assert echo(value) != echo(value)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (shapely.Point(1, 2), "SRID=4326;POINT(1 2)"),
        (shapely.set_srid(shapely.Point(1, 2, 3), 3857), "SRID=3857;POINT(1 2 3)"),
        (shapely.Polygon(), "SRID=4326;POLYGON EMPTY"),
    ],
    ids=["plain", "srid", "empty"],
)
def test_geometries(geometry, expected, database):
    (query,) = fill(["SELECT ST_AsEWKT(%s) AS t"], [geometry])
    assert ask(database, query) == expected


def test_geometries_of_a_series_keep_their_crs(database):
    points = gpd.GeoSeries([shapely.Point(1, 2), None])
    for crs, srid in ((None, 4326), (4326, 4326), ("OGC:CRS84", 4326), (3857, 3857)):
        (query,) = fill(["SELECT ARRAY(SELECT ST_SRID(g) FROM unnest(%s) AS g)"], [points.set_crs(crs)])
        assert ask(database, query) == [srid, None]
    with pytest.raises(ValueError, match="no EPSG code"):
        render(points.set_crs("+proj=laea +lat_0=12 +lon_0=7"))


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT 3 IN %s", [(1, 2, 3)]),
        ("SELECT (1, 'a') = %s", [Pair(1, "a")]),
        ("SELECT 'b' = ANY(%s)", [["a", "b"]]),
        ("SELECT 1 <> ALL(%s)", [[]]),
        ("SELECT 5-%s = 8", [-3]),
        ("SELECT 'x%%' LIKE%s", ["x%"]),
        ("SELECT '7d9f8a2e-0000-4000-8000-000000000000'::uuid = %s", ["7d9f8a2e-0000-4000-8000-000000000000"]),
        ("SELECT %s::uuid[] IS NOT NULL", [["7d9f8a2e-0000-4000-8000-000000000000"]]),
        ("SELECT 7 %% 4 = %(n)s AND %(n)s = 3", {"n": 3, "unused": object()}),
        ("SELECT %(a b)s ->> 'k' = 'v'", {"a b": {"k": "v"}}),
    ],
)
def test_conditions_that_hold(query, params, database):
    (filled,) = fill([query], params)
    assert ask(database, filled) is True


def test_without_params_a_percent_sign_is_itself():
    assert fill(["SELECT 'a%s' %% 5 -- %(b)s"], None) == ["SELECT 'a%s' %% 5 -- %(b)s"]


def test_queries_share_their_parameters():
    assert fill(["a = %s", "b = %s"], [1, 2]) == ["a =  1 ", "b =  2 "]


def test_nanoseconds_are_truncated_with_a_warning():
    with pytest.warns(ConversionWarning, match="nanoseconds"):
        assert render(pd.Timestamp("2020-01-01 00:00:00.000001999")) == "'2020-01-01T00:00:00.000001'::timestamp"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("a\0b", ValueError, r"U\+0000"),
        ("\ud800", ValueError, "lone surrogate"),
        ({"a": "\0"}, ValueError, r"U\+0000"),
        ({1: 2}, ValueError, "JSON"),
        ([[1], [2, 3]], ValueError, "different lengths"),
        ([[1], 2], ValueError, "different lengths"),
        ((), ValueError, "ANY"),
        ([1, "a"], TypeError, "int and str"),
        ([True, 1], TypeError, "bool and int"),
        ([[1, 2], ["a", None]], TypeError, "int and str"),
        ([b"a", "a"], TypeError, "bytes and str"),
        ([{"a": 1}, 1], TypeError, "dict and int"),
        ([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], TypeError, "with and without time zone"),
        ([dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], TypeError, "date and datetime"),
        ([dt.time(1), dt.time(1, tzinfo=dt.UTC)], TypeError, "with and without time zone"),
        (pd.Series([1, "a"], dtype=object), TypeError, "int and str"),
        (np.array([1, "a"], dtype=object), TypeError, "int and str"),
        (object(), TypeError, "no SQL literal"),
        ({1, 2}, TypeError, "no SQL literal"),
        (1j, TypeError, "no SQL literal"),
        (np.array([(1, 2)], dtype="i4,i4"), TypeError, "field names"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_values_without_a_literal(value, error, message):
    with pytest.raises(error, match=message):
        render(value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5, None], "float8"),
        ([1, Decimal("2.5"), np.int64(3)], "numeric"),
        ([dt.date(2020, 1, 1), dt.datetime(2020, 1, 2)], "timestamp"),
        ([[1, None], [2.5, 3]], "float8"),
        ([None, None], "text"),
    ],
    ids=["float", "decimal", "timestamp", "nested", "missing"],
)
def test_lists_of_compatible_types(values, kind, database):
    (query,) = fill(["SELECT pg_typeof(%s) = %s::regtype"], [values, f"{kind}[]"])
    assert ask(database, query)


def test_a_list_of_mixed_types_is_refused_by_name():
    for params in ({"ids": [1, "a"]}, [["a", 1]]):
        where = "cartodb_id = ANY(%(ids)s)" if isinstance(params, dict) else "cartodb_id = ANY(%s)"
        unreachable = cfl.Credentials("ann", "key", base_url="http://127.0.0.1:9/user/ann")
        name = "ids" if isinstance(params, dict) else 0
        with pytest.raises(TypeError, match=rf"params\[{name!r}\].*different types, int and str"):
            cfl.read_carto("t", unreachable, where=where, params=params)
        with pytest.raises(TypeError, match="different types"):
            cfl.execute(f"DELETE FROM t WHERE {where}", params, unreachable)


def test_a_list_that_contains_itself():
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="levels"):
        render(endless)


@pytest.mark.parametrize(
    ("query", "params", "error", "message"),
    [
        ("SELECT %s", "abc", TypeError, "a mapping .* or a sequence"),
        ("SELECT %s", 5, TypeError, "a mapping .* or a sequence"),
        ("SELECT %s", {"a": 1}, TypeError, r"use %\(name\)s"),
        ("SELECT %(a)s", [1], TypeError, "pass a mapping"),
        ("SELECT %(a)s, %s", {"a": 1}, TypeError, r"placeholder %s"),
        ("SELECT %(a)s", {"b": 1}, ValueError, "no value for a"),
        ("SELECT %(a)s", {"a": "\0"}, ValueError, r"^params\['a'\]: .*U\+0000"),
        ("SELECT %s, %s", [1, 1j], TypeError, r"^params\[1\]: no SQL literal"),
        ("SELECT %s, %s", [1], ValueError, "2 placeholders .* 1 values"),
        ("SELECT 1", [1], ValueError, "0 placeholders"),
        ("SELECT '%s'", ["a"], ValueError, "remove the quotes"),
        ('SELECT "%(a)s"', {"a": "a"}, ValueError, "remove the quotes"),
        ("SELECT $a$ %s $a$", ["a"], ValueError, "remove the quotes"),
        ("SELECT 1 -- %s", ["a"], ValueError, "in a comment"),
        ("SELECT /* %s */ 1", ["a"], ValueError, "in a comment"),
        ("SELECT 'a' LIKE 'a%'", [], ValueError, "write %%"),
        ("SELECT %d", [1], ValueError, "write %%"),
        ("SELECT 5 %", [1], ValueError, "write %%"),
        ("SELECT %(a)d", {"a": 1}, ValueError, "write %%"),
        ("SELECT %(as", {"a": 1}, ValueError, "write %%"),
        (r"SELECT '\' || %s || '\'", ["a"], ValueError, "standard_conforming_strings"),
    ],
)
def test_placeholders_that_are_refused(query, params, error, message):
    with pytest.raises(error, match=message):
        fill([query], params)


def test_text_cannot_leave_its_literal():
    assert render("it's \\ ") == r"E'it''s \\ '"


def test_a_uuid():
    value = uuid.UUID(int=1)
    assert render(value) == f"'{value}'::uuid"
