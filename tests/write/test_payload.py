from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterable
from decimal import Decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely

from cartoframes_lite._codec.copybinary import encode
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write import prepare as module
from cartoframes_lite.write.columns import arrow_schema, names_of, require_geometry, with_decimals_as_text
from cartoframes_lite.write.conform import conform
from cartoframes_lite.write.payload import Payload
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.prepare import PreparedFrame, prepare

POINTS = gpd.GeoSeries([shapely.Point(1, 2), None], crs=4326)


def rows(payloads: Iterable[Payload]) -> list[dict[str, object]]:
    return [row for payload in payloads for row in payload.record_batch().to_pylist()]


def carto_rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as they are sent for a new CARTO table."""
    prepared = prepare(frame)
    return rows(plan_new("t", prepared.columns, cartodbfy=True).staged_rows(prepared.payloads()))


def conformed(later: pd.DataFrame, first: PreparedFrame) -> list[dict[str, object]]:
    """Rows of a later frame of an iterable as they are sent."""
    model = with_decimals_as_text(first.columns)
    return rows(conform(payload, model) for payload in prepare(later).payloads())


def test_columns_are_named_typed_and_in_order():
    frame = gpd.GeoDataFrame({"B b": [1, 2], "a": ["x", None]}, geometry=POINTS)
    payload = prepare(frame)
    assert [(column.name, column.final_type) for column in payload.columns] == [
        ("b_b", "bigint"),
        ("a", "text"),
        ("the_geom", "geometry(Geometry,4326)"),
    ]
    assert payload.rows == 2


def test_carto_columns_come_first_and_are_computed():
    first, second = carto_rows(gpd.GeoDataFrame({"a": [1, 2]}, geometry=POINTS))
    assert list(first) == ["cartodb_id", "the_geom", "the_geom_webmercator", "a"]
    assert (first["cartodb_id"], second["cartodb_id"]) == (1, 2)
    meters = shapely.from_wkb(first["the_geom_webmercator"])
    assert shapely.get_srid(meters) == 3857
    assert meters.x == pytest.approx(111_319.49079)
    assert second["the_geom"] is None
    assert second["the_geom_webmercator"] is None


def test_ids_are_consecutive_across_slices(monkeypatch):
    monkeypatch.setattr(module, "_SLICE_ROWS", 2)
    assert [row["cartodb_id"] for row in carto_rows(pd.DataFrame({"a": range(5)}))] == [1, 2, 3, 4, 5]


def test_ids_of_the_frame_are_kept_as_bigint():
    frame = pd.DataFrame({"cartodb_id": np.array([7, 5], "int16")})
    plan = plan_new("t", prepare(frame).columns, cartodbfy=True)
    assert plan.columns[0].final_type == "bigint"
    assert [row["cartodb_id"] for row in carto_rows(frame)] == [7, 5]


@pytest.mark.parametrize(("large", "slices"), [(2, 5), (100, 1)])
def test_slices_have_a_bounded_number_of_rows(large, slices, monkeypatch):
    monkeypatch.setattr(module, "_SLICE_ROWS", large)
    payloads = list(prepare(pd.DataFrame({"a": range(10)})).payloads())
    assert len(payloads) == slices
    assert [row["a"] for row in rows(payloads)] == list(range(10))


def test_slices_are_converted_as_the_whole_frame(monkeypatch):
    frame = gpd.GeoDataFrame(
        {
            "number": [1.5, np.nan, 3.0, -0.0],
            "flag": pd.array([True, None, False, True], "boolean"),
            "seen": pd.to_datetime(["2020-01-01", None, "1950-06-01", "2000-01-01"]).astype("M8[s]"),
            "kind": pd.Categorical(["x", None, "y", "x"]),
            "size": pd.Categorical([1, 2, None, 1]),
            "mixed": [1, 2**70, None, Decimal("0.5")],
            "lists": [[1], ["x"], None, [2]],
        },
        geometry=gpd.points_from_xy([0, 1e6, 2e6, 3e6], [0, 1e6, 2e6, 3e6], crs=3857),
    )
    whole = carto_rows(frame)
    monkeypatch.setattr(module, "_SLICE_ROWS", 1)
    assert carto_rows(frame) == whole


def test_a_plan_holds_no_rows_and_slices_are_not_kept():
    count = 100_000
    frame = gpd.GeoDataFrame({"a": np.arange(count) / 7}, geometry=gpd.points_from_xy(*np.zeros((2, count)), crs=3857))
    prepared = prepare(frame, dtype={"a": "numeric(20,2)"})
    before = pa.total_allocated_bytes()
    plan = plan_new("t", prepared.columns, cartodbfy=True)
    assert len(pickle.dumps(plan)) < 10_000
    allocated = []
    for payload in plan.staged_rows(prepared.payloads()):
        payload.record_batch()
        allocated.append(pa.total_allocated_bytes() - before)
    assert len(allocated) > 5
    assert max(allocated) < 3 << 19  # of a slice or two; the column of text would take more


def test_errors_in_later_slices_have_the_row_of_the_frame(monkeypatch):
    monkeypatch.setattr(module, "_SLICE_ROWS", 2)
    dates = np.array(["2020-01-01"] * 5 + ["6000000-01-01"], "M8[s]")
    with pytest.raises(ConversionError, match=r"row 5\b"):
        prepare(pd.DataFrame({"a": dates}, index=range(6)))
    points = gpd.GeoDataFrame(geometry=[*POINTS, *POINTS, shapely.LineString([(0, 0), (1, 1)])], crs=4326)
    with pytest.raises(ConversionError, match="a LineString in row 4"):
        prepare(points, dtype={"geometry": "geometry(Point,4326)"})


def test_repeated_index_labels_do_not_mix_rows():
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=[0, 0, 1])
    assert rows(prepare(frame).payloads()) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_fewer_names_than_levels_of_the_index():
    frame = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)]))
    with pytest.raises(ConversionError, match=r"fewer names than the index has levels \(2\)"):
        prepare(frame, index=True, index_label="x")


def test_the_geometry_and_another_column_named_the_geom():
    frame = gpd.GeoDataFrame({"the_geom": [1, 2]}, geometry=POINTS)
    with pytest.raises(ConversionError, match=r"'geometry' \(the geometry\) and 'the_geom'"):
        prepare(frame)


def test_the_geom_of_a_carto_table_is_a_geometry():
    with pytest.raises(ConversionError, match="'the_geom' is text and not a geometry"):
        require_geometry(prepare(pd.DataFrame({"the_geom": ["POINT (0 0)"]})).columns)
    require_geometry(prepare(pd.DataFrame({"a": [1]})).columns)
    require_geometry(prepare(gpd.GeoDataFrame(geometry=POINTS)).columns)


def test_a_crs_without_a_way_to_longitudes():
    local = POINTS.set_crs('LOCAL_CS["x",UNIT["m",1]]', allow_override=True)
    with pytest.raises(ConversionError, match="cannot be reprojected"):
        prepare(gpd.GeoDataFrame(geometry=local))


def test_later_frames_are_reprojected_to_the_first_crs():
    def frame(crs):
        return gpd.GeoDataFrame({"other": POINTS.set_crs(crs, allow_override=True)}, geometry=POINTS)

    first = prepare(frame(4326))
    with pytest.raises(ConversionError, match="reproject it with to_crs"):
        conformed(frame(3857), first)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_ids_that_are_no_bigint(value):
    with pytest.raises(ConversionError, match="must have unique integers"):
        prepare(pd.DataFrame({"cartodb_id": np.array([value], "uint64")}))


@pytest.mark.parametrize("loop", [True, False])
def test_attrs_may_be_of_any_depth(loop):
    deep = []
    for _ in range(10_000):
        deep = [deep]
    if loop:
        deep.append(deep)
    frame = gpd.GeoDataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])}, geometry=POINTS)
    frame.attrs["deep"] = deep
    assert names_of(prepare(frame, index=True).columns) == ["index", "a", "b", "the_geom"]


@pytest.mark.parametrize("label", ["\ud800", "a\udfff"])
def test_labels_that_are_no_unicode(label):
    with pytest.raises(ConversionError, match=r"'.*ud.*' has a lone surrogate"):
        prepare(pd.DataFrame([[1]], columns=pd.Index([label], dtype=object)))


def test_rows_without_columns_are_sent():
    payloads = prepare(pd.DataFrame(index=range(3))).payloads()
    stream = b"".join(encode((payload.record_batch() for payload in payloads), pa.schema([])))
    assert stream[19:] == bytes(2 * 3) + b"\xff\xff"


def test_later_decimals_in_lists():
    first = prepare(pd.DataFrame({"a": [[Decimal("1.5")]]}))
    (column,) = with_decimals_as_text(first.columns)
    assert (column.staged_type, column.final_type) == ("text[]", "numeric[]")
    assert conformed(pd.DataFrame({"a": [[Decimal("100.125"), None]]}), first) == [{"a": ["100.125", None]}]


def test_a_later_float_among_decimals_keeps_all_digits():
    first = prepare(pd.DataFrame({"a": [Decimal("1.5")]}))
    assert conformed(pd.DataFrame({"a": np.array([0.1], "f4")}), first) == [{"a": "0.10000000149011612"}]


def test_a_later_frame_of_another_dimension():
    first = prepare(gpd.GeoDataFrame(geometry=POINTS))
    with pytest.raises(ConversionError, match="force_2d"):
        conformed(gpd.GeoDataFrame(geometry=POINTS.force_3d()), first)


def test_later_frames_may_reorder_columns():
    first = prepare(pd.DataFrame({"a": [1], "b": ["x"]}))
    assert conformed(pd.DataFrame({"b": ["y"], "a": [2]}), first) == [{"a": 2, "b": "y"}]


def test_a_later_frame_may_have_decimals_with_more_digits():
    frame = pd.DataFrame({"a": [Decimal("1.5")]})
    first = prepare(frame)
    (column,) = with_decimals_as_text(first.columns)
    assert (column.staged_type, column.final_type) == ("text", "numeric")
    assert conformed(frame, first) == [{"a": "1.5"}]
    assert conformed(pd.DataFrame({"a": [Decimal("100000.12345")]}), first) == [{"a": "100000.12345"}]


@pytest.mark.parametrize(
    ("first", "later", "values"),
    [([1], [2.0, None], [2, None]), ([1.5], [2], [2.0]), (["x"], [None], [None]), ([[1]], [None], [None])],
)
def test_what_fits_the_first_frame(first, later, values):
    model = prepare(pd.DataFrame({"a": first}))
    assert [row["a"] for row in conformed(pd.DataFrame({"a": later}), model)] == values


MOMENT = dt.datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([1], [1.5]),
        ([1], ["x"]),
        (["x"], [1]),
        ([1], [[1]]),
        ([1], [1e300]),
        ([1], [True]),
        (np.array([1], "f4"), [1e300]),
        (np.array([1], "f4"), [0.1]),
        (np.array([1], "f2"), [0.1]),
        ([1.5], [Decimal("0.1")]),
        ([1.5], [2**53 + 1]),
        ([1.5], [2**70 + 1]),
        ([1], [2**70]),
        ([1], [Decimal("1.5")]),
        ([[1]], [[1.5]]),
        ([[0.5]], [[2**53 + 1]]),
        ([[0.5]], [[Decimal("0.1")]]),
        ([MOMENT], [MOMENT.replace(tzinfo=dt.UTC)]),
        ([MOMENT.replace(tzinfo=dt.UTC)], [MOMENT]),
        ([MOMENT], [MOMENT.date()]),
        ([{"a": 1}], [[1]]),
        (["x"], [b"x"]),
    ],
)
def test_what_does_not_fit_the_first_frame(first, later):
    model = prepare(pd.DataFrame({"a": first}))
    with pytest.raises(ConversionError, match="column 'a' of a later frame"):
        conformed(pd.DataFrame({"a": later}), model)


def test_the_schema_has_binary_geometries():
    schema = arrow_schema(prepare(gpd.GeoDataFrame({"a": [1, 2]}, geometry=POINTS)).columns)
    assert schema.types == [pa.int64(), pa.large_binary()]


def test_more_columns_than_a_table_has_are_refused():
    frame = pd.DataFrame([range(1600)])
    with pytest.raises(ConversionError, match="1,603 columns"):
        plan_new("t", prepare(frame).columns, cartodbfy=True)
    with pytest.raises(ConversionError, match="1,601 columns"):
        prepare(frame.assign(more=1))


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("geometry(Point,3857)", ConversionError, "the_geom is always in EPSG:4326"),
        ("geometry(Polygon,4326)", ConversionError, "a Point in row 0"),
        ("geometry(PointM,4326)", ConversionError, "no M values"),
        ("geometry(PointZ,4326)", ConversionError, "2-D in the frame"),
        ("geometry(Nothing,4326)", ValueError, "is not a geometry type"),
        ("text", ConversionError, "dtype requests text"),
        ("serial", ValueError, "use 'integer'"),
    ],
)
def test_types_that_geometries_do_not_fit_are_refused(wanted, error, message):
    with pytest.raises(error, match=message):
        prepare(gpd.GeoDataFrame({"a": [1, 2]}, geometry=POINTS), dtype={"geometry": wanted})


def test_types_that_geometries_fit_are_kept():
    frame = gpd.GeoDataFrame({"more": POINTS.to_crs(3857)}, geometry=POINTS)
    wanted = {"geometry": "geometry(Point,4326)", "more": "geometry(Point,3857)"}
    columns = prepare(frame, dtype=wanted).columns
    assert sorted(column.final_type for column in columns) == sorted(wanted.values())
    require_geometry(columns)
    for other in ("geometry", "geography(Point,4326)"):
        with pytest.raises(ConversionError, match="declares EPSG:4326"):
            require_geometry(prepare(frame, dtype={"geometry": other}).columns)
