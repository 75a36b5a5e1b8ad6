"""Every supported type makes the round trip through a real PostgreSQL: equal values and equal dtypes."""

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

# Writing replaces the table each time, so that examples do not depend on each other.
ROUND_TRIP = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
EDGES = st.sampled_from(["", " ", "\\N", "NULL", "\\.", '"', "'", "\n", "\r\n", "\t", ",", "🏳️‍🌈", "\U0010ffff", "\x7f"])


def integers(bits: int) -> st.SearchStrategy[int]:
    limit = 2 ** (bits - 1)
    return st.integers(-limit, limit - 1) | st.sampled_from([-limit, limit - 1, 0, -1])


def there_and_back(frame: pd.DataFrame, credentials: cfl.Credentials, **arguments) -> pd.DataFrame:
    name = cfl.to_carto(frame, "t", credentials, if_exists="replace", cartodbfy=False, progress=False)
    return cfl.read_carto(name, credentials, progress=False, **arguments)


def assert_round_trip(values, dtype, credentials, expected_dtype=None, **arguments) -> None:
    frame = pd.DataFrame({"i": range(len(values)), "x": pd.Series(values, dtype=dtype)})
    back = there_and_back(frame, credentials, **arguments).sort_values("i", ignore_index=True)
    expected = frame if expected_dtype is None else frame.astype({"x": expected_dtype})
    pd.testing.assert_frame_equal(back, expected)


NUMBERS = {
    "int16": integers(16),
    "int32": integers(32),
    "int64": integers(64) | st.sampled_from([2**53 + 1, -(2**53) - 1]),
    "float64": st.floats(allow_subnormal=True) | st.sampled_from([5e-324, 1.7976931348623157e308, 0.1 + 0.2, -0.0]),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
}
NULLABLE = {"Int16": integers(16), "Int32": integers(32), "Int64": integers(64), "boolean": st.booleans()}


@pytest.mark.parametrize("dtype", NUMBERS)
@given(data=st.data())
@ROUND_TRIP
def test_numbers(dtype, data, credentials):
    assert_round_trip(data.draw(st.lists(NUMBERS[dtype], min_size=1, max_size=20)), dtype, credentials)


@pytest.mark.parametrize("dtype", NULLABLE)
@given(data=st.data())
@ROUND_TRIP
def test_numbers_with_nulls(dtype, data, credentials):
    values = data.draw(st.lists(st.none() | NULLABLE[dtype], max_size=20))
    assert_round_trip([*values, None], dtype, credentials)


@pytest.mark.parametrize(
    ("dtype", "read"), [("int8", "int16"), ("uint8", "int16"), ("uint16", "int32"), ("uint32", "int64")]
)
def test_integers_that_postgresql_does_not_have_are_widened(dtype, read, credentials):
    limits = np.iinfo(dtype)
    assert_round_trip([limits.min, limits.max], dtype, credentials, read)


@given(values=st.lists(st.none() | TEXT | EDGES, min_size=1, max_size=20))
@ROUND_TRIP
def test_text(values, credentials):
    assert_round_trip(values, "str", credentials)


@given(values=st.lists(st.none() | st.dates(), min_size=1, max_size=20))
@ROUND_TRIP
def test_dates(values, credentials):
    assert_round_trip([*values, dt.date.min, dt.date.max], "date32[day][pyarrow]", credentials)


@given(values=st.lists(st.none() | st.times(), min_size=1, max_size=20))
@ROUND_TRIP
def test_times(values, credentials):
    assert_round_trip([*values, dt.time.max], "time64[us][pyarrow]", credentials)


@given(values=st.lists(st.none() | st.datetimes(), min_size=1, max_size=20))
@ROUND_TRIP
def test_timestamps(values, credentials):
    moments = np.array([*values, dt.datetime.min, dt.datetime.max], "M8[us]")
    assert_round_trip(moments, "datetime64[us]", credentials)


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_timestamps_of_other_units_become_microseconds(unit, credentials):
    assert_round_trip(np.array(["1969-12-31T23:59:59", "NaT"], f"M8[{unit}]"), None, credentials, "datetime64[us]")


@given(values=st.lists(st.none() | st.datetimes(), min_size=1, max_size=20))
@ROUND_TRIP
def test_instants(values, credentials):
    index = pd.DatetimeIndex(np.array(values, "M8[us]")).tz_localize("UTC")
    assert_round_trip(index, None, credentials)


def test_instants_of_another_zone_come_back_in_utc(credentials):
    moments = pd.DatetimeIndex(["2020-03-29 01:30", "2020-10-25 02:30"]).as_unit("us").tz_localize("Asia/Tokyo")
    assert_round_trip(moments, None, credentials, "datetime64[us, UTC]")


def test_infinite_timestamps_are_missing_with_a_warning(credentials):
    query = "SELECT 'infinity'::timestamp AS t, '-infinity'::date AS d"
    with pytest.warns(cfl.ConversionWarning, match=r"\['d', 't'\]"):
        frame = cfl.read_carto(query, credentials)
    assert frame.isna().all(axis=None)


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**28), max_value=10**28)


@given(values=st.lists(st.none() | DECIMALS, min_size=1, max_size=20))
@ROUND_TRIP
def test_decimals(values, credentials):
    assert_round_trip([*values, Decimal("1" * 60 + "." + "2" * 30)], object, credentials, coerce_float=False)


def test_numeric_is_read_as_float(credentials):
    values = [Decimal("0.1"), Decimal("NaN"), None, Decimal("123456789012345678901234567890.123")]
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    back = there_and_back(frame, credentials)
    pd.testing.assert_frame_equal(back, pd.DataFrame({"x": [0.1, np.nan, np.nan, 1.2345678901234568e29]}))


def test_uint64_becomes_numeric(credentials):
    frame = pd.DataFrame({"x": np.array([0, 2**64 - 1], "uint64")})
    assert there_and_back(frame, credentials, coerce_float=False)["x"].tolist() == [Decimal(0), Decimal(2**64 - 1)]


@given(values=st.lists(st.none() | st.binary(max_size=50), min_size=1, max_size=20))
@ROUND_TRIP
def test_bytes(values, credentials):
    assert_round_trip([*values, b"\0", bytes(range(256))], object, credentials)


JSON_FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)  # -0.0 is refused
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | JSON_FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(values=st.lists(st.none() | st.dictionaries(TEXT, JSON, max_size=4), min_size=1, max_size=10))
@ROUND_TRIP
def test_json(values, credentials):
    assert_round_trip([*values, {"one": [1, "a", None]}], object, credentials)


ELEMENTS = {
    "bigint": integers(64),
    "double": st.floats(allow_nan=False),
    "text": TEXT | EDGES,
    "boolean": st.booleans(),
    "date": st.dates(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(timezones=st.just(dt.UTC)),
    "bytea": st.binary(max_size=10),
}


@pytest.mark.parametrize("element", ELEMENTS)
@given(data=st.data())
@ROUND_TRIP
def test_arrays(element, data, credentials):
    items = st.lists(st.none() | ELEMENTS[element], max_size=5)
    values = data.draw(st.lists(st.none() | items, max_size=10))
    assert_round_trip([*values, [data.draw(ELEMENTS[element])], None], object, credentials)


def test_intervals_are_read_as_text(credentials):
    frame = pd.DataFrame({"x": pd.to_timedelta(["1 day 02:03:04.000005", None])})
    assert there_and_back(frame, credentials)["x"].tolist()[0] == "26:03:04.000005"


def test_intervals_are_written_as_postgresql_does(credentials):
    query = (
        "SELECT i, i::text AS text FROM (SELECT make_interval(0, m, 0, d, 0, 0, s) AS i FROM"
        " generate_series(-14, 14, 1) m, generate_series(-2, 2) d, unnest(ARRAY[0, 1.5, -1.5, 360000, -59.000001]) s) x"
    )
    frame = cfl.read_carto(query, credentials)
    assert len(frame) == 29 * 5 * 5
    assert frame["i"].tolist() == frame["text"].tolist()


def test_floats_in_json_are_the_same_floats(credentials):
    numbers = [1e16, 1e22, 1e23, 1.7976931348623157e308, -1e300, 5e-324, 0.1, 2.0]
    frame = pd.DataFrame({"x": pd.Series([{"all": numbers}], dtype=object)})
    assert repr(there_and_back(frame, credentials)["x"][0]) == repr({"all": numbers})


def test_rows_without_columns(credentials):
    assert there_and_back(pd.DataFrame(index=range(3)), credentials).shape == (3, 0)


COORDINATE = st.floats(-180, 180, allow_subnormal=False)
LATITUDE = st.floats(-90, 90, allow_subnormal=False)
SHAPES = st.one_of(
    st.builds(shapely.Point, COORDINATE, LATITUDE),
    st.lists(st.tuples(COORDINATE, LATITUDE), min_size=2, max_size=6).map(shapely.LineString),
    st.lists(st.tuples(COORDINATE, LATITUDE), min_size=3, max_size=6).map(shapely.Polygon),
    st.lists(st.tuples(COORDINATE, LATITUDE), min_size=1, max_size=4).map(shapely.MultiPoint),
    st.sampled_from([shapely.Point(), shapely.Polygon(), shapely.GeometryCollection()]),
)


@pytest.mark.parametrize("has_z", [False, True])
@given(shapes=st.lists(st.none() | SHAPES, min_size=1, max_size=10))
@ROUND_TRIP
def test_geometries(has_z, shapes, credentials):
    geometries = shapely.force_3d(shapes, z=7.5) if has_z else np.array(shapes, object)
    frame = gpd.GeoDataFrame({"i": range(len(shapes))}, geometry=gpd.GeoSeries(geometries, crs=4326))
    cfl.delete_table("t", credentials)  # empty geometries would take the dimension of the table before
    back = there_and_back(frame, credentials).sort_values("i", ignore_index=True)
    assert isinstance(back, gpd.GeoDataFrame)
    assert back.crs == "EPSG:4326"
    assert back.active_geometry_name == "the_geom"
    assert shapely.to_wkb(back["the_geom"].array).tolist() == shapely.to_wkb(geometries).tolist()


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_dtype_backend(backend, credentials):
    frame = pd.DataFrame({"i": [1, 2], "f": [1.5, None], "b": [True, False], "s": ["a", None]})
    back = there_and_back(frame, credentials, dtype_backend=backend)
    kinds = {"i": "Int64", "f": "Float64", "b": "boolean", "s": pd.StringDtype("pyarrow", na_value=pd.NA)}
    if backend == "pyarrow":
        kinds = {"i": "int64[pyarrow]", "f": "double[pyarrow]", "b": "bool[pyarrow]", "s": "large_string[pyarrow]"}
    pd.testing.assert_frame_equal(back, frame.astype(kinds))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("uuid '00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
        ("inet '127.0.0.1'", "127.0.0.1"),
        ("'z'::char(3)", "z  "),
        ("'12.34'::money", "$12.34"),
        ("int4range(1, 5)", "[1,5)"),
        ("'<a/>'::xml", "<a/>"),
        ("timetz '01:02:03+02'", "01:02:03+02"),
        ("interval '1 day 2 hours'", "1 day 02:00:00"),
        ("point '(1,2)'", "(1,2)"),
        ("'x'::name", "x"),
    ],
)
def test_other_types_are_read_as_text(expression, value, credentials):
    frame = cfl.read_carto(f"SELECT {expression} AS x UNION ALL SELECT NULL", credentials)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"x": pd.Series([value, None], dtype="str")}))


def test_enums_are_text_both_ways(credentials):
    sql = cfl.Client(credentials).sql
    sql.send("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    cfl.to_carto(pd.DataFrame({"x": ["sad", None]}), "moods", credentials, dtype={"x": "mood"})
    cfl.to_carto(pd.DataFrame({"x": pd.Categorical(["happy"])}), "moods", credentials, if_exists="append")
    assert cfl.read_carto("moods", credentials)["x"].tolist()[::2] == ["sad", "happy"]
    assert cfl.Dataset("moods", credentials).columns()["x"] == "mood"


def test_a_typed_float_column_keeps_nan(credentials):
    frame = pd.DataFrame({"a": [np.nan], "b": [np.nan]})
    cfl.to_carto(frame, "t", credentials, dtype={"b": "float8"})
    assert cfl.Client(credentials).sql.rows("SELECT a, b FROM t") == [{"a": None, "b": "NaN"}]


def test_a_geometry_keeps_its_srid_as_crs(credentials):
    frame = cfl.read_carto("SELECT ST_Transform(ST_SetSRID(ST_MakePoint(0, 0), 4326), 3857) AS shape", credentials)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert frame.crs == "EPSG:3857"


def test_arrays_of_other_types_are_lists_of_text(credentials):
    cfl.Client(credentials).sql.send("CREATE TYPE feeling AS ENUM ('sad', 'happy')")
    query = "SELECT ARRAY['sad', NULL]::feeling[] AS a, ARRAY[ST_Point(1, 2)] AS b"
    frame = cfl.read_carto(query, credentials)
    assert frame["a"][0] == ["sad", None]
    assert shapely.from_wkb(frame["b"][0]).tolist() == [shapely.Point(1, 2)]


def test_dates_that_python_cannot_hold_are_missing(credentials):
    query = "SELECT unnest(ARRAY['0044-03-15 BC', '0001-01-01', '9999-12-31', '10000-01-01', 'infinity']::date[]) AS d"
    with pytest.warns(cfl.ConversionWarning, match=r"\['d'\]"):
        frame = cfl.read_carto(query, credentials)
    assert frame["d"].tolist() == [pd.NA, dt.date(1, 1, 1), dt.date(9999, 12, 31), pd.NA, pd.NA]
