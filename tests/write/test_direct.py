"""Appends with a key that may not create tables."""

from __future__ import annotations

import datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

import cartoframes_lite as cfl
from tests.test_keys import ALL, regular_key

COLUMNS = (
    "small smallint, whole integer, part real, name text, day date, at timestamp, utc timestamptz, flag boolean,"
    " raw bytea, exact numeric, short varchar(3)"
)


@pytest.fixture
def table(credentials) -> str:
    sql = cfl.Client(credentials).sql
    sql.send(f"CREATE TABLE owned ({COLUMNS}); SELECT CDB_CartodbfyTable('public', 'owned')")
    return "owned"


@pytest.fixture
def key(table, credentials):
    return regular_key(credentials, ALL, create=False)


def frame(rows: int = 3) -> gpd.GeoDataFrame:
    now = pd.Timestamp("2026-11-26 12:00:00.123456")
    values = {
        "small": range(rows),
        "whole": range(rows),
        "part": [0.5] * rows,
        "name": ["a"] * rows,
        "day": [datetime.date(2026, 11, 26)] * rows,
        "at": [now] * rows,
        "utc": [now.tz_localize("UTC")] * rows,
        "flag": [True] * rows,
        "raw": [b"\0"] * rows,
    }
    return gpd.GeoDataFrame(values, geometry=gpd.points_from_xy(np.arange(rows), np.zeros(rows)), crs=4326)


def test_rows_are_appended_as_with_the_master_key(table, key, credentials):
    cfl.to_carto(frame(), table, credentials, if_exists="append")
    cfl.to_carto(frame(), table, key, if_exists="append")
    cfl.to_carto((frame(2) for _ in range(5)), table, key, if_exists="append", compression="gzip")
    back = cfl.read_carto(f"SELECT * FROM {table} ORDER BY cartodb_id", credentials)
    assert len(back) == 16
    assert back["cartodb_id"].is_unique
    one, other = back[:3].drop(columns="cartodb_id"), back[3:6].drop(columns="cartodb_id")
    pd.testing.assert_frame_equal(one, other.reset_index(drop=True))
    cfl.to_carto(frame(1), table, credentials, if_exists="append")  # the sequence goes on
    assert cfl.list_tables(credentials) == [table]


def test_web_mercator_is_filled_in(table, key, credentials):
    cfl.to_carto(frame(), table, key, if_exists="append")
    check = "SELECT max(ST_Distance(the_geom_webmercator, ST_Transform(the_geom, 3857))) AS off FROM owned"
    assert cfl.Client(credentials).sql.row(check, "off")["off"] < 1e-6


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"exact": [1]}, "lacks the grant create on the schema 'public'.*'exact'.*numeric"),
        ({"short": ["abcd"]}, "lacks the grant create on the schema 'public'.*'short'"),
        ({"cartodb_id": [1]}, "lacks the grant create on the schema 'public'.*'cartodb_id'"),
    ],
)
def test_what_needs_a_staging_table_names_the_grant(columns, message, table, key, credentials):
    with pytest.raises(cfl.PermissionDenied, match=message):
        cfl.to_carto(pd.DataFrame(columns), table, key, if_exists="append")
    assert len(cfl.read_carto(table, credentials)) == 0


@pytest.mark.parametrize(
    ("table_name", "keywords", "action"),
    [
        ("owned", {"if_exists": "replace"}, "replace the rows of"),
        ("owned", {"if_exists": "delete_rows"}, "replace the rows of"),
        ("owned", {"if_exists": "upsert", "key": "small"}, "upsert into"),
        ("other", {}, "create"),
        ("other", {"if_exists": "append"}, "create"),
    ],
)
def test_other_modes_name_the_grant(table_name, keywords, action, key, credentials):
    message = f"cannot {action} table '{table_name}': it lacks the grant create on the schema 'public'"
    with pytest.raises(cfl.PermissionDenied, match=message):
        cfl.to_carto(frame(), table_name, key, **keywords)
    assert cfl.list_tables(credentials) == ["owned"]
    assert len(cfl.read_carto("owned", credentials)) == 0


@pytest.mark.parametrize(("permissions", "missing"), [(["select"], "insert"), (["insert"], "select")])
def test_a_missing_grant_on_the_table_is_named(permissions, missing, table, credentials):
    key = regular_key(credentials, permissions, create=False)
    with pytest.raises(cfl.PermissionDenied, match=f"lacks the grant {missing} on the table"):
        cfl.to_carto(frame(), table, key, if_exists="append")


@pytest.mark.parametrize("values", [{"small": [1, 40_000]}, {"part": [0.5, 0.1]}])
def test_values_that_would_change_are_refused(values, table, key, credentials):
    with pytest.raises(cfl.ConversionError, match=r"row 1 \((40000|0.1)\)"):
        cfl.to_carto(pd.DataFrame(values), table, key, if_exists="append")
    assert len(cfl.read_carto(table, credentials)) == 0


def test_a_slow_source_opens_no_request_before_its_end(table, key, credentials):
    sql = cfl.Client(credentials).sql
    copies = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    seen = []

    def frames():
        for _ in range(3):
            yield frame()
            seen.append(sql.row(copies, "n")["n"])

    cfl.to_carto(frames(), table, key, if_exists="append")
    assert seen == [0, 0, 0]
    assert len(cfl.read_carto(table, credentials)) == 9


def test_a_source_that_fails_appends_nothing(table, key, credentials):
    def frames():
        yield frame()
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        cfl.to_carto(frames(), table, key, if_exists="append")
    assert len(cfl.read_carto(table, credentials)) == 0
