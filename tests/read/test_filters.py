"""``where``, ``params``, ``bbox`` and ``mask``: the rows of GeoPandas for the same filter, through the index."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import cartoframes_lite as cfl
from tests.test_keys import regular_key

SHAPES = gpd.GeoDataFrame(
    {"n": range(6)},
    geometry=[
        shapely.Point(0, 0),
        shapely.Point(2.35, 48.86),
        shapely.LineString([(-10, -10), (10, 10)]),
        shapely.Polygon([(0, 0), (10, 0), (10, 1), (1, 1), (1, 10), (0, 10)]),  # an L, whose box is larger
        None,
        shapely.box(170, -80, 180, 80),
    ],
    crs=4326,
)
TRIANGLE = shapely.Polygon([(1.5, 1.5), (9, 1.5), (9, 9)])


@pytest.fixture
def table(credentials):
    return cfl.to_carto(SHAPES, "shapes", credentials)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("shapes") / "shapes.gpkg"
    SHAPES.to_file(path)
    return path


def numbers(frame):
    return sorted(frame["n"])


BBOXES = [
    (-1.0, -1.0, 1.0, 1.0),
    (2.0, 2.0, 9.0, 9.0),
    (5.0, 0.5, 9.0, 9.0),
    (2.35, 48.86, 2.35, 48.86),
    (-180.0, 0.0, 180.0, 0.0),
    (100.0, -20.0, 101.0, -10.0),
    (-180.0, -90.0, 180.0, 90.0),
]


@pytest.mark.parametrize("bbox", BBOXES)
def test_a_box_selects_the_rows_of_geopandas(bbox, table, file, credentials):
    expected = numbers(SHAPES[SHAPES.intersects(shapely.box(*bbox))])
    if bbox[0] < bbox[2] and bbox[1] < bbox[3]:
        assert numbers(gpd.read_file(file, bbox=bbox)) == expected
    for source in (table, "SELECT * FROM shapes", "SELECT n, the_geom AS g FROM shapes"):
        assert numbers(cfl.read_carto(source, credentials, bbox=bbox)) == expected
    assert numbers(cfl.Dataset(table, credentials).read(bbox=np.array(bbox))) == expected


@pytest.mark.parametrize("crs", [4326, 3857, 32631])
def test_geometries_as_a_box_are_reprojected(crs, table, file, credentials):
    near = gpd.GeoDataFrame({"a": [1, 2]}, geometry=[shapely.Point(2.3, 48.8), shapely.Point(2.4, 48.9)], crs=4326)
    near = near.to_crs(crs)
    for bbox in (near, near.geometry, shapely.set_srid(near.union_all(), crs)):
        assert numbers(cfl.read_carto(table, credentials, bbox=bbox)) == [1]
    assert numbers(gpd.read_file(file, bbox=near)) == [1]


def test_a_mask_selects_the_rows_of_geopandas(table, file, credentials):
    series = gpd.GeoSeries([TRIANGLE, shapely.Point(2.35, 48.86).buffer(0.1), None], crs=4326)
    masks = [TRIANGLE, series, series.to_frame("g").set_geometry("g"), shapely.geometry.mapping(TRIANGLE)]
    for mask in masks:
        expected = numbers(gpd.read_file(file, mask=mask))
        assert expected
        assert numbers(cfl.read_carto(table, credentials, mask=mask)) == expected
        assert numbers(cfl.read_carto("SELECT * FROM shapes", credentials, mask=mask)) == expected
    assert numbers(cfl.read_carto(table, credentials, mask=series.to_crs(3857))) == [1, 2]
    assert numbers(cfl.read_carto(table, credentials, mask=shapely.force_3d(TRIANGLE, 5))) == [2]


def test_random_boxes_select_the_rows_of_geopandas(table, credentials):
    two = st.lists(st.integers(-200, 200).map(lambda tenths: tenths / 10), min_size=2, max_size=2, unique=True)

    @given(two, two)
    def same(xs, ys):
        bbox = (min(xs), min(ys), max(xs), max(ys))
        expected = numbers(SHAPES[SHAPES.intersects(shapely.box(*bbox))])
        assert numbers(cfl.read_carto(table, credentials, bbox=bbox, progress=False)) == expected

    same()


@pytest.mark.parametrize(
    "source",
    [
        "SELECT n, the_geom_webmercator FROM shapes",  # another declared SRID
        "SELECT n, ST_Transform(the_geom, 3857) AS g FROM shapes",  # an SRID that only the values have
        "SELECT n, ST_SetSRID(the_geom, 0) AS g FROM shapes",  # none, which is taken for EPSG:4326
        "SELECT n, the_geom::geography AS g FROM shapes",
    ],
)
@pytest.mark.parametrize("filters", [{"bbox": (1.5, 40, 3, 50)}, {"mask": shapely.box(1.5, 40, 3, 50)}], ids=str)
def test_filters_of_other_geometry_columns(source, filters, table, credentials):
    assert numbers(cfl.read_carto(source, credentials, columns=["n"], **filters)) == [1]


def test_filters_use_the_index(credentials, monkeypatch):
    points = gpd.GeoDataFrame(
        geometry=gpd.points_from_xy(np.arange(20_000) % 360 - 180, np.arange(20_000) / 250), crs=4326
    )
    cfl.to_carto(points, "many", credentials)
    cfl.execute("ANALYZE many", credentials=credentials)
    queries = []
    copy_to = cfl.Client(credentials).copy.copy_to.__func__
    monkeypatch.setattr(
        "cartoframes_lite._client.sql_copy.Copy.copy_to",
        lambda self, query, **keywords: queries.append(query) or copy_to(self, query, **keywords),
    )
    for filters in ({"bbox": (0, 0, 1, 1)}, {"mask": shapely.Point(0, 0).buffer(1)}):
        cfl.read_carto("many", credentials, where="cartodb_id > 0", **filters)
        query = queries.pop().removeprefix("COPY (").partition(") TO STDOUT")[0]
        plan = cfl.Client(credentials).sql.rows(f"EXPLAIN {query}")
        assert "the_geom_idx" in " ".join(row["QUERY PLAN"] for row in plan)


def test_conditions_and_parameters(table, credentials):
    read = cfl.read_carto
    assert numbers(read(table, credentials, where="n > %s -- not all", params=[3])) == [4, 5]
    assert numbers(read(table, credentials, where="n = 1 OR n = 2 -- two")) == [1, 2]
    query = "SELECT * FROM shapes WHERE n < %(most)s ORDER BY n DESC -- 100%%"
    assert list(read(query, credentials, params={"most": 3})["n"]) == [2, 1, 0]
    assert list(read(query, credentials, params={"most": 3, "least": 1}, where="n >= %(least)s")["n"]) == [2, 1]
    assert numbers(read("SELECT * FROM shapes WHERE n < %s", credentials, params=(3,), where="n > 0")) == [1, 2]
    assert numbers(read("SELECT n, n % 2 AS odd FROM shapes", credentials, where="odd % 2 = 1")) == [1, 3, 5]
    assert numbers(read(table, credentials, where="n = ANY(%s)", params=[[1, 5]])) == [1, 5]
    assert numbers(read(table, credentials, where="ST_Intersects(the_geom, %s)", params=[TRIANGLE])) == [2]


def test_filters_compose_with_other_keywords(table, credentials):
    filters = {"where": "n <> %s", "params": [2], "bbox": (-1, -1, 60, 60), "schema": "public"}
    frame = cfl.read_carto(table, credentials, columns=["n", "cartodb_id"], index_col="n", limit=2, **filters)
    assert (frame.index.name, list(frame), len(frame)) == ("n", ["cartodb_id"], 2)
    chunks = list(cfl.read_carto(table, credentials, chunksize=2, **filters))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert numbers(pd.concat(chunks)) == [0, 1, 3]
    assert all(isinstance(chunk, gpd.GeoDataFrame) for chunk in chunks)
    (chunk,) = cfl.Dataset(table, credentials).read(chunksize=9, index_col="cartodb_id", **filters)
    assert numbers(chunk) == [0, 1, 3]


def test_a_filtered_frame_does_not_stand_for_its_table(table, credentials):
    box = (-20, -20, 20, 60)
    filters = [{"limit": 4}, {"where": "n > 1"}, {"bbox": box}, {"mask": TRIANGLE}, {"where": "n > 1", "bbox": box}]
    for keywords in filters:
        for read in (lambda **k: cfl.read_carto(table, credentials, **k), cfl.Dataset(table, credentials).read):
            frame = read(**keywords)
            assert 0 < len(frame) < len(SHAPES)
            assert frame.carto.dataset.name == table
            assert len(frame.carto.dataset) == len(SHAPES)
            for name in ("privacy", "sync"):
                with pytest.raises(cfl.CartoError, match="this frame is not the table 'shapes'"):
                    getattr(frame.carto, name)
            assert repr(frame.carto.map()) == "<Map of GeoDataFrames>"  # of its own rows, not of the table
            with pytest.raises(cfl.CartoError, match="this frame is not the table 'shapes'"):
                frame.carto.privacy = "public"
        if "limit" not in keywords:
            again = cfl.read_carto(frame.attrs["carto"]["query"], credentials)
            assert numbers(again) == numbers(frame)
    (chunk,) = cfl.read_carto(table, credentials, where="n > 1", chunksize=10)
    assert chunk.carto.dataset.name == table
    of_query = cfl.read_carto("SELECT * FROM shapes", credentials, where="n > 1")
    with pytest.raises(cfl.CartoError, match="neither read from a table"):
        _ = of_query.carto.dataset


def test_a_frame_with_all_rows_by_a_filter_is_no_whole_table(table, credentials):
    frame = cfl.read_carto(table, credentials, where="true")
    assert numbers(frame) == numbers(SHAPES)
    with pytest.raises(cfl.CartoError, match="not the table"):
        frame.carto.privacy = "public"


def test_a_regular_key_reads_with_filters(credentials):
    cfl.to_carto(SHAPES, "owned", credentials)
    key = regular_key(credentials, ["select"], create=False)
    found = cfl.read_carto("owned", key, where="n >= %(n)s", params={"n": 1}, bbox=(2, 48, 3, 49))
    assert numbers(found) == [1]
    with pytest.raises(cfl.PermissionDenied):
        cfl.execute("DELETE FROM owned WHERE n = %s", [1], key)
    with pytest.raises(cfl.PermissionDenied):
        cfl.read_carto("owned", key, batch=True)


def test_dask_partitions_have_the_filtered_rows(table, credentials):
    filters = {"where": "n <> %(n)s", "params": {"n": 2}, "bbox": (-1, -1, 60, 60)}
    frame = cfl.dask.read_carto(table, credentials, npartitions=2, **filters)
    assert frame.npartitions == 2
    assert numbers(frame.compute()) == [0, 1, 3]
    mask = gpd.GeoSeries([shapely.box(2, 48, 3, 49)], crs=4326).to_crs(3857)
    frame = cfl.dask.read_carto("SELECT * FROM shapes", credentials, chunk_rows=1, mask=mask)
    assert numbers(frame.compute()) == [1]


@pytest.mark.parametrize(
    ("source", "filters", "error", "message"),
    [
        ("shapes", {"bbox": (0, 0, 1, 1), "mask": TRIANGLE}, ValueError, "exclude each other"),
        ("shapes", {"bbox": (1, 0, 0, 1)}, ValueError, "minx <= maxx"),
        ("shapes", {"bbox": (0, 0, 1, float("nan"))}, ValueError, "minx <= maxx"),
        ("shapes", {"bbox": (0, 0, 1)}, TypeError, "minx, miny, maxx, maxy"),
        ("shapes", {"bbox": "0,0,1,1"}, TypeError, "minx, miny, maxx, maxy"),
        ("shapes", {"bbox": gpd.GeoSeries([TRIANGLE])}, ValueError, "set_crs"),
        ("shapes", {"bbox": gpd.GeoSeries([], crs=4326)}, ValueError, "bbox has no geometry"),
        ("shapes", {"mask": gpd.GeoSeries([TRIANGLE])}, ValueError, "set_crs"),
        ("shapes", {"mask": shapely.Point()}, ValueError, "no geometry"),
        ("shapes", {"mask": (0, 0, 1, 1)}, TypeError, "mask must be"),
        ("shapes", {"mask": {"type": "nothing"}}, ValueError, "GeoJSON"),
        ("shapes", {"where": "n = 1; DROP TABLE shapes"}, ValueError, "where is not a single SQL condition"),
        ("shapes", {"where": "n = 1) OR (true"}, ValueError, "where is not a single SQL condition"),
        ("shapes", {"where": "name = 'a"}, ValueError, "where is not a single SQL condition"),
        ("shapes", {"where": "/* nothing */"}, ValueError, "where is not a single SQL condition"),
        ("shapes", {"where": ["n = 1"]}, TypeError, "where must be"),
        ("shapes", {"where": "n = '\0'"}, ValueError, r"U\+0000"),
        ("shapes", {"params": {"a": 1}}, ValueError, "no placeholder"),
        ("SELECT 1 AS a", {"params": [1]}, ValueError, "0 placeholders"),
        ("shapes", {"timeout_s": 0}, ValueError, "timeout_s"),
        ("shapes", {"timeout_s": "1"}, TypeError, "timeout_s"),
        ("shapes", {"batch": "yes"}, TypeError, "batch"),
    ],
)
def test_wrong_filters_send_no_request(source, filters, error, message):
    nobody = cfl.Credentials(api_key="key", base_url="http://127.0.0.1:9/user/ann")
    with pytest.raises(error, match=message):
        cfl.read_carto(source, nobody, **filters)


def test_filters_that_the_source_does_not_allow(table, credentials):
    with pytest.raises(ValueError, match="require a geometry column"):
        cfl.read_carto("SELECT n FROM shapes", credentials, bbox=(0, 0, 1, 1))
    with pytest.raises(cfl.SQLError, match="nope"):
        cfl.read_carto(table, credentials, where="nope = 1")
    with pytest.raises(cfl.TableNotFoundError, match="did you mean 'shapes'"):
        cfl.read_carto("shape", credentials, where="n = 1")
    detailed = shapely.Point(0, 0).buffer(1, quad_segs=10_000)
    with pytest.raises(ValueError, match="simplify"):
        cfl.read_carto(table, credentials, mask=detailed)


PACIFIC = gpd.GeoDataFrame(
    {"n": [170, 178, 182, 190, 90, 0]},
    geometry=gpd.points_from_xy([170, 178, -178, -170, 90, 0], [-40] * 6),
    crs=4326,
)
POLES = [(3031, -7e6, [170, 178, 182, 190, 90, 0]), (3031, -1e6, []), (3995, -1e6, [])]


@pytest.mark.parametrize("crs", [2193, 3832, 3031, "EPSG:3994", "+proj=laea +lat_0=-40 +lon_0=180"])
@pytest.mark.parametrize("kind", ["bbox", "mask"])
def test_shapes_across_the_antimeridian(crs, kind, credentials):
    cfl.to_carto(PACIFIC, "pacific", credentials)
    ring = shapely.segmentize(shapely.box(175, -45, 185, -35), 1)
    shape = gpd.GeoSeries([ring], crs=4326).to_crs(crs)
    assert numbers(cfl.read_carto("pacific", credentials, **{kind: shape})) == [178, 182]
    assert numbers(cfl.read_carto("pacific", credentials, **{kind: shape.boundary.buffer(0.001)})) == (
        [178, 182] if kind == "bbox" else []
    )
    webmercator = "SELECT n, the_geom_webmercator AS g FROM pacific"
    assert numbers(cfl.read_carto(webmercator, credentials, **{kind: shape})) == [178, 182]
    corners = gpd.GeoSeries(gpd.points_from_xy([175, -175], [-45, -35]), crs=4326).to_crs(crs)
    assert numbers(cfl.read_carto("pacific", credentials, bbox=corners)) == [178, 182]


def test_geometries_that_cannot_be_reprojected_are_refused(credentials):
    far = gpd.GeoSeries([shapely.box(0, 0, 1e9, 1e9)], crs=32631)
    for filters in ({"bbox": far}, {"mask": far}):
        with pytest.raises(ValueError, match="reprojected to longitudes and latitudes, has coordinates that are NaN"):
            cfl.read_carto("pacific", credentials, **filters)


@pytest.mark.parametrize(("crs", "corner", "expected"), POLES, ids=["half", "south", "north"])
def test_masks_around_a_pole(crs, corner, expected, credentials):
    cfl.to_carto(PACIFIC, "pacific", credentials)
    mask = gpd.GeoSeries([shapely.box(corner, corner, -corner, -corner)], crs=crs)
    assert numbers(cfl.read_carto("pacific", credentials, mask=mask)) == sorted(expected)
    pole = -90 if crs == 3031 else 90
    near = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([-179, 45], [pole, pole * 0.99]), crs=4326)
    cfl.to_carto(near, "polar", credentials)
    assert numbers(cfl.read_carto("polar", credentials, mask=mask)) == [1, 2]
    hole = mask.difference(shapely.box(-5e5, -5e5, 5e5, 5e5))
    assert numbers(cfl.read_carto("polar", credentials, mask=hole)) == []


def test_masks_of_the_world_are_not_divided(credentials):
    cfl.to_carto(PACIFIC, "pacific", credentials)
    side = 20037508.342789244
    world = gpd.GeoSeries([shapely.box(-side, -side, side, side)], crs=3857)
    wide = gpd.GeoSeries([shapely.box(-side / 1.1, -side / 2, side / 1.1, side / 2)], crs=3857)
    assert numbers(cfl.read_carto("pacific", credentials, mask=world)) == sorted(PACIFIC.n)
    assert numbers(cfl.read_carto("pacific", credentials, bbox=wide)) == [0, 90]
    webmercator = "SELECT n, the_geom_webmercator AS g FROM pacific"
    assert numbers(cfl.read_carto(webmercator, credentials, bbox=(-180, -85, 180, 85))) == sorted(PACIFIC.n)
    line = gpd.GeoSeries([shapely.LineString([(-side, 0), (side, 0)])], crs=3857)
    assert numbers(cfl.read_carto("pacific", credentials, mask=line)) == []


def test_shapes_across_the_edge_of_a_column_are_refused(credentials):
    cfl.to_carto(PACIFIC, "pacific", credentials)
    query = "SELECT n, ST_Transform(the_geom, 3832)::geometry(Point, 3832) AS g FROM pacific"
    for filters in ({"bbox": (-40, -50, -20, 50)}, {"mask": shapely.box(-40, -50, -20, 50)}):
        with pytest.raises(ValueError, match="crosses an edge of the CRS of the column, SRID 3832"):
            cfl.read_carto(query, credentials, **filters)
    assert numbers(cfl.read_carto(query, credentials, bbox=(80, -50, 175, 50))) == [90, 170]
