"""Every value is stored unchanged, or the write raises with its column, row and value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cartoframes_lite as cfl

# Column type, values that it stores exactly, and a value that the cast would change.
CHANGED = [
    ("numeric(10,2)", [1.25, 3.0], 1.005),
    ("numeric(10,2)", [Decimal("1.25"), 3], Decimal("1.005")),
    ("numeric(3,-1)", [10, 20], 15),
    ("varchar(3)", ["abc", ""], "abcd"),
    ("varchar(3)", ["abc", ""], "abc  "),
    ("varchar(3)", [1, 999], 12345),
    ("char(5)", ["abcde", "fghij"], "ab"),
    ('"char"', ["a", "b"], "ab"),
    ("name", ["a", "b"], "x" * 64),
    ("varchar(2)[]", [["ab"], []], ["abc"]),
    ("char(2)[]", [["ab"], []], ["a"]),
    ("bit(3)", ["101", "000"], "1"),
    ("bit varying(3)", ["101", "0"], "1010"),
    ("timestamp(0)", [dt.datetime(2020, 1, 1, 5)], dt.datetime(2020, 1, 1, 5, 0, 0, 600_000)),
    ("timestamptz(0)", [dt.datetime(2020, 1, 1, 5, tzinfo=dt.UTC)], dt.datetime(2020, 1, 1, 5, 0, 0, 1, tzinfo=dt.UTC)),
    ("time(0)", [dt.time(5)], dt.time(5, 0, 0, 700_000)),
    ("interval year", ["1 year", "3 years"], "1 year 3 days"),
    ("interval(0)", [pd.Timedelta(1, "s")], pd.Timedelta(1_600_000, "us")),
    ("bigint[]", [[1.0, 2.0], []], [0.4, 1.5]),
    ("real", [0.5, 1.5], 0.1),
    ("real", [1, 2], 2**24 + 1),
    ("double precision", [1, 2**53], 2**53 + 1),
    ("double precision[]", [[1], [2**53]], [2**53 + 1]),
    ("real[]", [[0.5], [1.5]], [0.1]),
    ("double precision", [Decimal("0.1"), 2], Decimal("0.12345678901234567890123")),
    ("numeric(10,2)[]", [[Decimal("1.25")]], [Decimal("1.005")]),
    ("date", ["2020-01-01"], "2020-01-01 23:59:59"),
    ("timestamp", ["2020-01-01 12:00:00"], "2020-01-01 12:00:00+05"),
    ("timestamp", ["2020-01-01 12:00:00.123456"], "2020-01-01 12:00:00.1234567"),
    ("timestamptz", ["2020-01-01 12:00:00.123456+05"], "2020-01-01 12:00:00.1234567+05"),
    ("time", ["12:00:00"], "12:00:00+05"),
    ("time", ["12:00:00"], "2020-01-01 12:00"),
    ("interval", ["1 day"], "0.1234567 s"),
    ("money", ["$1.25"], "$1.005"),
    ("tsvector", ["'cat' 'fat'"], "the fat cat the"),
    ("daterange", ["[2020-01-01,2020-01-03)"], "[2020-01-01 23:00,2020-01-03)"),
    ("oid", ["1"], "-1"),
]


@pytest.mark.parametrize(("sql_type", "kept", "lost"), CHANGED)
def test_values_that_an_append_would_change_are_refused(sql_type, kept, lost, credentials):
    client = cfl.Client(credentials)
    client.sql.send(f"CREATE TABLE t (x {sql_type})")
    cfl.to_carto(pd.DataFrame({"x": pd.Series(kept, dtype=object)}), "t", credentials, if_exists="append")
    before = client.sql.rows("SELECT x::text AS x FROM t")
    bad = pd.DataFrame({"x": pd.Series([*kept, lost], dtype=object)})
    with pytest.raises(cfl.ConversionError, match=rf"column 'x', row {len(kept)}: the value '.*' does not fit"):
        cfl.to_carto(bad, "t", credentials, if_exists="append")
    assert client.sql.rows("SELECT x::text AS x FROM t") == before
    assert [name for name in client.sql.tables() if name != "t"] == []
    # A replace creates a column of a type that can store all values.
    cfl.to_carto(bad, "t", credentials, if_exists="replace")
    assert len(cfl.read_carto("t", credentials)) == len(kept) + 1


@pytest.mark.parametrize(
    ("sql_type", "value"),
    [
        ("varchar(3)", "abcd"),
        ("char(5)", "ab"),
        ("int[]", [0.4, 1.5]),
        ("name", "x" * 64),
        ("real", 0.1),
        ("bit(3)", "1"),
    ],
)
def test_values_that_a_chosen_type_would_change_are_refused(sql_type, value, credentials):
    with pytest.raises(cfl.ConversionError, match=r"column 'x', row 0: the value '.*' does not fit"):
        cfl.to_carto(pd.DataFrame({"x": [value]}), "t", credentials, dtype={"x": sql_type})
    assert cfl.list_tables(credentials) == []


def test_a_chosen_precision_rounds(credentials):
    frame = pd.DataFrame({"x": [1.005], "at": [dt.datetime(2020, 1, 1, 5, 0, 0, 600_000)]})
    cfl.to_carto(frame, "t", credentials, dtype={"x": "numeric(10,1)", "at": "timestamp(0)"})
    assert cfl.Client(credentials).sql.rows("SELECT x::text AS x, at::text AS at FROM t") == [
        {"x": "1.0", "at": "2020-01-01 05:00:01"}
    ]


def test_domains_are_their_base_types(credentials):
    client = cfl.Client(credentials)
    client.sql.send(
        "CREATE DOMAIN short AS varchar(3); CREATE DOMAIN amount AS numeric(10,2); CREATE DOMAIN deep AS short"
    )
    client.sql.send("CREATE TABLE u (x deep)")
    with pytest.raises(cfl.ConversionError, match="row 0"):
        cfl.to_carto(pd.DataFrame({"x": ["abcd"]}), "u", credentials, if_exists="append")
    with pytest.raises(cfl.ConversionError, match="row 0"):
        cfl.to_carto(pd.DataFrame({"x": ["abcd"]}), "v", credentials, dtype={"x": "deep"})
    client.sql.send("CREATE TABLE t (x short, y amount)")
    cfl.to_carto(pd.DataFrame({"x": ["abc"], "y": [1.25]}), "t", credentials, if_exists="append")
    for frame in (pd.DataFrame({"x": ["abcd"]}), pd.DataFrame({"y": [1.005]})):
        with pytest.raises(cfl.ConversionError, match="row 0"):
            cfl.to_carto(frame, "t", credentials, if_exists="append")


def test_columns_named_as_the_variables_of_a_block(credentials):
    names = ["n", "before", "item", "check_", "shape", "rel", "saved", "queue", "at", "bad", "value", "s"]
    client = cfl.Client(credentials)
    client.sql.send(f"CREATE TABLE t ({', '.join(f'{name} numeric(10,2)' for name in names)})")
    cfl.to_carto(pd.DataFrame({name: [1.25] for name in names}), "t", credentials, if_exists="append")
    with pytest.raises(cfl.ConversionError, match=r"column 's', row 1: the value '1\.005'"):
        cfl.to_carto(pd.DataFrame({"s": [1.25, 1.005]}), "t", credentials, if_exists="append")
    for mode in ("append", "replace"):
        cfl.to_carto(pd.DataFrame({name: [1.25] for name in names}), "t", credentials, if_exists=mode)
    assert cfl.read_carto("t", credentials, columns=names).to_numpy().tolist() == [[1.25] * len(names)]


def test_geometries_of_another_crs_are_not_mixed(credentials):
    client = cfl.Client(credentials)
    client.sql.send("CREATE TABLE t (the_geom geometry); INSERT INTO t VALUES (ST_SetSRID(ST_MakePoint(1, 2), 3857))")
    frame = gpd.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326)
    with pytest.raises(cfl.ConversionError, match="the table has geometries in EPSG:3857"):
        cfl.to_carto(frame, "t", credentials, if_exists="append")
    cfl.to_carto(frame, "t", credentials, if_exists="replace")
    assert cfl.read_carto("t", credentials).crs == 4326


@pytest.mark.parametrize("declared", ["geometry(Geometry,3857)", "geometry(Polygon,4326)", "geometry(PointZ,4326)"])
def test_a_replace_tolerates_an_old_geometry_column(declared, credentials):
    cfl.Client(credentials).sql.send(f"CREATE TABLE t (the_geom {declared}, x varchar(3))")
    frame = gpd.GeoDataFrame({"x": ["long text"]}, geometry=[shapely.Point(1, 2)], crs=4326)
    cfl.to_carto(frame, "t", credentials, if_exists="replace")
    back = cfl.read_carto("t", credentials)
    assert back.geometry.tolist() == [shapely.Point(1, 2)]
    assert back["x"].tolist() == ["long text"]


def test_places_that_a_geography_would_wrap_around_are_refused(credentials):
    cfl.Client(credentials).sql.send("CREATE TABLE t (the_geom geography)")
    good, bad = (gpd.GeoDataFrame(geometry=[shapely.Point(x, 10)], crs=4326) for x in (179, 190))
    cfl.to_carto(good, "t", credentials, if_exists="append")
    with pytest.raises(cfl.ConversionError, match="column 'the_geom', row 0"):
        cfl.to_carto(bad, "t", credentials, if_exists="append")


@pytest.mark.parametrize("crs", [4326, 3857])
def test_two_geometries_can_replace_a_plain_table(crs, credentials):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", credentials, cartodbfy=False)
    area = gpd.GeoSeries([shapely.box(1, 2, 3, 4)], crs=crs)
    frame = gpd.GeoDataFrame({"area": area}, geometry=gpd.GeoSeries([shapely.Point(1, 2)], crs=4326))
    cfl.to_carto(frame, "t", credentials, if_exists="replace")
    back = cfl.read_carto("t", credentials)
    assert back.geometry.tolist() == [shapely.Point(1, 2)]
    assert back["area"].crs == crs


SHAPES = {
    "point": shapely.Point(1, 2),
    "solid": shapely.Point(1, 2, 3),
    "line": shapely.LineString([(0, 0), (1, 2)]),
    "polygon": shapely.box(1, 2, 3, 4),
    "empty": shapely.Point(),
}
CRSS = [4326, 3857, 25831, 2154]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    columns=st.lists(st.tuples(st.sampled_from(sorted(SHAPES)), st.sampled_from(CRSS)), min_size=2, max_size=4),
    active=st.integers(0, 3),
    others=st.permutations(["a", "the_geom_webmercator2", "geom", "wkb_geometry"]),
    mode=st.sampled_from(["fail", "replace", "append"]),
)
def test_the_active_geometry_is_the_geom(carto, columns, active, others, mode):
    carto.reset()
    active %= len(columns)
    names = [others[number] if number != active else "shape" for number in range(len(columns))]
    frame = gpd.GeoDataFrame(
        {
            name: gpd.GeoSeries([SHAPES[shape], None if shape != "empty" else SHAPES[shape]], crs=crs)
            for name, (shape, crs) in zip(names, columns, strict=True)
        }
    ).set_geometry("shape")
    frame["last"] = [1, 2]
    credentials = carto.credentials
    if mode == "replace":
        cfl.to_carto(pd.DataFrame({"x": [1]}), "t", credentials)
    elif mode == "append":
        cfl.to_carto(frame, "t", credentials)
    cfl.to_carto(frame, "t", credentials, if_exists=mode)
    back = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id DESC LIMIT 2", credentials).iloc[::-1]
    assert back.active_geometry_name == "the_geom"
    assert back.crs == 4326
    # Running CDB_CartodbfyTable again, as imports do, must not use another column as the_geom either.
    cfl.Client(credentials).sql.send("SELECT CDB_CartodbfyTable('public', 't'::regclass)")
    again = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id DESC LIMIT 2", credentials).iloc[::-1]
    expected = frame.geometry.to_crs(4326)
    for found in (back, again):
        assert shapely.equals_exact(found.geometry.array[0], expected.array[0], 1e-9)
        for name, (shape, crs) in zip(names, columns, strict=True):
            if name != "shape":
                assert found[name].crs == crs
                assert shapely.to_wkb(found[name].array[0]) == shapely.to_wkb(SHAPES[shape])


def test_numbers_of_any_kind_come_back_or_are_refused(credentials):
    client = cfl.Client(credentials)
    types = ["smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(6,3)"]
    client.sql.send(f"CREATE TABLE t ({', '.join(f'c{i} {kind}' for i, kind in enumerate(types))})")
    values = [0, 1, -1, 2**15, 2**24 + 1, 2**31, 2**53 + 1, 2**62, 0.1, 1.5, 1e300, 5e-324, -0.25, 123.456]
    values += [np.float32(0.1), np.float16(0.1), Decimal("0.1"), Decimal("1e-30")]
    kept = 0
    for value in values:
        for number, _ in enumerate(types):
            client.sql.send("DELETE FROM t")
            try:
                frame = pd.DataFrame({f"c{number}": [value]})
                cfl.to_carto(frame, "t", credentials, if_exists="append", progress=False)
            except (cfl.ConversionError, cfl.SQLError):
                continue
            (found,) = cfl.read_carto("t", credentials, columns=[f"c{number}"], coerce_float=False)[f"c{number}"]
            kept += 1
            # The same number, or its shortest decimal text: the double 0.1 is 0.1 in numeric.
            shortest = np.float32(found) if types[number] == "real" else found
            assert Decimal(str(shortest)) == Decimal(str(value)) or float(found) == value
    assert kept > 50
