"""Maps that the embedded server renders."""

from __future__ import annotations

import io

import geopandas as gpd
import numpy as np
import pytest
import requests
from PIL import Image
from shapely.geometry import box

import cartoframes_lite as cfl

SQUARES = gpd.GeoDataFrame(
    {"name": ["west", "east"], "n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326
)
POINTS = gpd.GeoDataFrame({"n": [1, 4, 9]}, geometry=gpd.points_from_xy([0, 10, 20], [0, 0, 0]), crs=4326)
PNG, JPEG = b"\x89PNG", b"\xff\xd8\xff"


@pytest.fixture
def squares(credentials):
    return SQUARES.carto.to_table("squares", credentials)


def fetch(url, z=0, x=0, y=0):
    return requests.get(url.format(z=z, x=x, y=y), timeout=10)


def test_layer_of_a_dataset_with_the_default_style(squares, credentials):
    shown = cfl.AnonymousMap(cfl.Layer(squares, interactivity=["name"]), credentials)
    assert fetch(shown.tile_url()).content.startswith(PNG)
    assert fetch(shown.tile_url(0, "mvt")).headers["content-type"].startswith("application/x-protobuf")
    assert fetch(shown.tile_url(retina=True)).content != fetch(shown.tile_url()).content
    assert shown.attributes(0, 1) == {"name": "west"}
    assert shown.static_image(100, 50, bbox=(-90, -45, 90, 45), format="jpg").startswith(JPEG)
    with pytest.raises(cfl.NotFound):
        shown.attributes(0, 99)


def test_tile_urls_contain_the_key_for_private_tables(squares, credentials):
    url = cfl.AnonymousMap(cfl.Layer("squares"), credentials).tile_url()
    assert fetch(url.partition("?")[0]).status_code == 403
    anonymous = cfl.Credentials("tester", base_url=credentials.base_url)
    layer = {"type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}
    with pytest.raises(cfl.PermissionDenied):
        cfl.AnonymousMap([layer], anonymous).layergroup_id  # noqa: B018  # the property raises
    squares.privacy = "public"
    inside = {**layer, "options": {"sql": "SELECT * FROM squares WHERE the_geom_webmercator && !bbox!"}}
    assert credentials.api_key not in cfl.AnonymousMap([inside], credentials).tile_url(format="mvt")
    assert fetch(cfl.AnonymousMap([layer], anonymous).tile_url(format="mvt")).status_code == 200


def test_color_by_classifies_numbers_and_categories(squares, credentials):
    shown = cfl.AnonymousMap(cfl.Layer("squares", color_by="n"), credentials)
    assert shown.static_image(64, 64, center=(0, 0), zoom=0).startswith(PNG)
    assert [item.label for item in shown.legend] == ["1", "100"]
    shown = cfl.AnonymousMap(cfl.Layer("SELECT * FROM squares", color_by="name"), credentials)
    assert fetch(shown.tile_url()).status_code == 200
    assert {item.label for item in shown.legend} == {"west", "east"}


def test_legend_labels_are_rounded(credentials):
    POINTS.assign(n=[261.2181, 834.2, 1408.7]).carto.to_table("points", credentials)
    shown = cfl.Dataset("points", credentials).map(color_by="n", k=2)
    assert [item.label for item in shown.legend] == ["260 to 830", "830 to 1,410"]


def test_repr_names_the_account_and_no_token(squares, carto):
    assert repr(squares.map()) == f"<Map on {carto.base_url}>"
    auth = {"method": "token", "valid_tokens": ["secret"]}
    layer = {"type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}
    template = {"version": "0.0.1", "name": "mine", "auth": auth, "layergroup": {"version": "1.8.0", "layers": [layer]}}
    shown = repr(cfl.NamedMap.create(template, carto.credentials).instantiate(auth_token="secret"))
    assert "'mine'" in shown
    assert "secret" not in shown


NAN, INFINITY = float("nan"), float("inf")
INVALID_CENTERS = [(NAN, 0), (0, INFINITY), (0,), (0, 91), ("0", 0), (0, 0, 0), 5, "00"]
INVALID_BBOXES = [
    (0, 0, NAN, 1),
    (0, 0, 1),
    (0, 0, 1, 5e6),
    (1, 0, 0, 1),
    3,
    ("0", 0, 1, 1),
    (0, 1, 1, 0),
    (0, 0, INFINITY, 1),
]
INVALID_IMAGE_ARGUMENTS = [
    *({"width": wrong} for wrong in (0, -1, 8193, 10.0, 10.5, True, "10", None, NAN)),
    *({"height": wrong} for wrong in (0, -1, 8193, 10.0, False, "10", INFINITY)),
    *({"zoom": wrong} for wrong in (NAN, INFINITY, -1, 31, 1.5, True, "1")),
    *({"center": wrong} for wrong in INVALID_CENTERS),
    *({"center": None, "zoom": None, "bbox": wrong} for wrong in INVALID_BBOXES),
    {"center": None},
    {"zoom": None},
    {"bbox": (0, 0, 1, 1)},
]


@pytest.mark.parametrize("wrong", INVALID_IMAGE_ARGUMENTS, ids=str)
def test_invalid_image_arguments_are_rejected_before_requests(wrong):
    nobody = cfl.Credentials("tester", base_url="http://127.0.0.1:9/user/tester")
    arguments = {"width": 10, "height": 10, "center": (0, 0), "zoom": 0} | wrong
    with pytest.raises(ValueError, match=r"must be|pass either"):
        cfl.AnonymousMap(cfl.Layer("squares"), nobody).static_image(**arguments)


@pytest.mark.parametrize("wrong", [{"format": "gif"}, {"format": "grid.json"}, {"format": "grid.json", "layer": [0]}])
def test_invalid_tile_formats_are_rejected_before_requests(wrong):
    nobody = cfl.Credentials("tester", base_url="http://127.0.0.1:9/user/tester")
    with pytest.raises(ValueError, match="format"):
        cfl.AnonymousMap(cfl.Layer("squares"), nobody).tile_url(**wrong)


def test_static_image_accepts_numpy_numbers_and_one_pixel(squares):
    shown = squares.map()
    assert shown.static_image(np.int64(1), np.int32(1), center=(np.float64(0), 0), zoom=np.int64(3)).startswith(PNG)
    assert shown.static_image(9, 9, center=[0, 0], zoom=2.0).startswith(PNG)
    assert shown.static_image(9, 9, bbox=np.array([-1.0, -1, 1, 1])).startswith(PNG)


@pytest.mark.parametrize(
    "query", ["SELECT * FROM (squares", "SELECT 1; DROP TABLE squares", "SELECT 'a", "SELECT 1 /* a", "SELECT $$1"]
)
def test_queries_unusable_as_subqueries_are_rejected(query, squares, credentials):
    with pytest.raises(ValueError, match="the query has"):
        cfl.Layer(query)
    with pytest.raises(ValueError, match="the query has"):
        cfl.read_carto(query, credentials)
    with pytest.raises(ValueError, match="the query has"):
        cfl.create_table_from_query(query, "other", credentials)
    assert cfl.list_tables(credentials) == ["squares"]


@pytest.mark.parametrize("end", [" -- the end", ";", "; -- the end", " /* the end */;;"])
def test_queries_may_end_with_comment_or_semicolon(end, squares, credentials):
    query = f"SELECT * FROM squares{end}"
    layer = cfl.Layer(query, interactivity=["n"])
    assert layer.sql.endswith("\n")
    shown = cfl.AnonymousMap(layer, credentials)
    assert shown.attributes(0, 1) == {"n": 1}
    assert fetch(shown.tile_url(0, "mvt")).status_code == 200
    assert cfl.AnonymousMap(cfl.Layer(query, color_by="n"), credentials).static_image(9, 9, center=(0, 0), zoom=0)
    assert len(cfl.read_carto(query, credentials)) == 2
    cfl.create_table_from_query(query, "other", credentials)
    assert len(cfl.read_carto("other", credentials)) == 2


def test_size_by_requires_points_or_lines(squares, credentials):
    POINTS.carto.to_table("points", credentials)
    shown = cfl.AnonymousMap(cfl.Layer("points", size_by="n"), credentials)
    assert fetch(shown.tile_url()).content.startswith(PNG)
    with pytest.raises(ValueError, match="size_by='n' is for points and lines"):
        cfl.AnonymousMap(cfl.Layer("squares", size_by="n"), credentials).layergroup_id  # noqa: B018  # raises


def test_legend_of_size_by(credentials):
    POINTS.carto.to_table("points", credentials)
    sizes = [item for item in cfl.Dataset("points", credentials).map(color_by="n", size_by="n").legend if item.size_px]
    assert [(item.label, item.size_px) for item in sizes] == [("9", 30), ("4", 20), ("1", 10)]
    assert {item.title for item in sizes} == {"n"}


@pytest.mark.parametrize(
    "name", ["Upper", "two words", "a]b", 'quo"te', "it's", "ünï", "back\\slash", "zoom", "select"]
)
def test_styles_by_column_accept_any_column_name(name, credentials):
    client = cfl.Client(credentials)
    POINTS.carto.to_table("points", credentials)
    quoted = '"' + name.replace('"', '""') + '"'
    client.sql.send(f"ALTER TABLE points ADD {quoted} float8, ADD other text DEFAULT 'x'", idempotent=False)
    client.sql.send(f"UPDATE points SET {quoted} = n", idempotent=False)
    shown = cfl.Dataset("points", credentials).map(color_by=name, size_by=name)
    assert shown.legend[0].title == name
    everywhere = {"bbox": (-30, -20, 30, 20)}
    client.sql.send("ALTER TABLE points ADD plain float8 DEFAULT 0", idempotent=False)
    client.sql.send("UPDATE points SET plain = n", idempotent=False)
    plain = cfl.Dataset("points", credentials).map(color_by="plain", size_by="plain")
    assert shown.static_image(90, 60, **everywhere) == plain.static_image(90, 60, **everywhere)
    assert name in shown.attributes(0, 1)


def test_color_by_with_any_category_text(credentials):
    values = ["new\nline", 'quo"te', "back\\slash", "</script>", "ünï", "[x = 1]", ""]
    frame = gpd.GeoDataFrame({"kind": values}, geometry=gpd.points_from_xy(range(0, 70, 10), [0] * 7), crs=4326)
    frame.carto.to_table("kinds", credentials)
    shown = cfl.Dataset("kinds", credentials).map(color_by="kind")
    assert {item.label for item in shown.legend} == set(values)
    picture = Image.open(io.BytesIO(shown.static_image(256, 256, center=(0, 0), zoom=0))).convert("RGB")
    colors = {color for _, color in picture.getcolors(100_000)}
    for item in shown.legend:  # markers let a tenth of what is below through
        wanted = np.array([int(item.color[i : i + 2], 16) for i in (1, 3, 5)])
        assert min(np.abs(np.array(color) - wanted).max() for color in colors) < 40


@pytest.mark.parametrize("other", ["NULL", "0", "-5", "'NaN'"])
def test_null_and_negative_values_have_the_smallest_size(other, credentials):
    POINTS.carto.to_table("points", credentials)
    pictures, legends = set(), []
    for value in ("0.0001", other):
        query = f"SELECT *, CASE n WHEN 1 THEN {value}::float8 ELSE n END AS size FROM points"
        shown = cfl.AnonymousMap(cfl.Layer(query, size_by="size"), credentials)
        pictures.add(shown.static_image(90, 60, bbox=(-30, -20, 30, 20)))
        legends.append([(item.label, item.size_px) for item in shown.legend])
    assert len(pictures) == 1
    assert legends[0] == legends[1] == [("9", 30), ("4", 20), ("1", 10)]


def test_size_by_columns_without_positive_numbers(credentials):
    POINTS.carto.to_table("points", credentials)
    for value in ("NULL::float8", "-n", "0"):
        layer = cfl.Layer(f"SELECT *, {value} AS size FROM points", size_by="size")
        shown = cfl.AnonymousMap(layer, credentials)
        assert fetch(shown.tile_url()).content.startswith(PNG)
        assert shown.legend == []
    layer = cfl.Layer("SELECT *, 1e300::float8 AS huge FROM points", color_by="huge", size_by="huge")
    assert {item.label for item in cfl.AnonymousMap(layer, credentials).legend} >= {"1e+300"}


@pytest.mark.parametrize("value", ["interval '1 hour'", "int4range(1, 2)", "true", "jsonb '[1]'", "the_geom"])
def test_color_by_treats_other_types_as_categories(value, credentials):
    POINTS.carto.to_table("points", credentials)
    shown = cfl.AnonymousMap(cfl.Layer(f"SELECT *, {value} AS kind FROM points", color_by="kind"), credentials)
    assert fetch(shown.tile_url()).content.startswith(PNG)
    assert " to " not in shown.legend[0].label


def test_tables_without_cartodb_id_have_no_attributes(squares, credentials):
    query = "CREATE TABLE bare AS SELECT n, the_geom_webmercator FROM squares"
    cfl.Client(credentials).sql.send(query, idempotent=False)
    shown = cfl.Dataset("bare", credentials).map()
    assert fetch(shown.tile_url()).content.startswith(PNG)
    with pytest.raises(cfl.APIError, match="attributes"):
        shown.attributes(0, 1)


def test_unknown_columns_and_tables_are_rejected(squares, credentials):
    for wrong in ({"color_by": "nam"}, {"size_by": "nam"}, {"popup": ["n", "nam"]}, {"interactivity": ["nam"]}):
        for make in (squares.map, lambda **words: cfl.AnonymousMap(cfl.Layer("squares", **words), credentials)):
            with pytest.raises(ValueError, match=r"='nam': squares has no such column\. Did you mean 'name'\?"):
                make(**wrong)
    with pytest.raises(cfl.TableNotFoundError):
        cfl.Dataset("nowhere", credentials).map()


def test_layer_of_a_table_with_any_name(squares, credentials):
    cfl.Client(credentials).sql.send('ALTER TABLE squares RENAME TO "select two"', idempotent=False)
    shown = cfl.Dataset("select two", credentials).map()
    assert shown.attributes(0, 1)["name"] == "west"
    query = "SELECT * FROM \"select two\" WHERE name <> ';' -- all but one\n; -- the end"
    assert cfl.AnonymousMap(cfl.Layer(query, interactivity=["n"]), credentials).attributes(0, 1) == {"n": 1}


def test_accessor_map_of_a_frame(credentials):
    SQUARES.carto.to_table("squares", credentials)
    frame = cfl.read_carto("squares", credentials)
    shown = frame.carto.map(color_by="n", bbox=(-1, -1, 1, 1))
    assert shown.static_image(20, 20, center=(0, 0), zoom=2).startswith(PNG)
    assert shown.attributes(0, 2) == {"name": "east", "n": 100}
    assert repr(gpd.GeoDataFrame(geometry=[], crs=4326).carto.map()) == "<Map of GeoDataFrames>"
    with pytest.raises(ValueError, match="not both"):
        frame.carto.map("#layer {}", color_by="n")


def test_dataviews(squares, credentials):
    config = {
        "layers": [{"id": "squares", "type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}],
        "dataviews": {
            "count": {"type": "formula", "source": {"id": "a"}, "options": {"column": "n", "operation": "sum"}},
            "names": {
                "type": "aggregation",
                "source": {"id": "a"},
                "options": {"column": "name", "aggregation": "count"},
            },
        },
        "analyses": [{"id": "a", "type": "source", "params": {"query": "SELECT * FROM squares"}}],
    }
    shown = cfl.AnonymousMap(config, credentials)
    assert shown.dataview("count") == 101
    assert shown.dataview("count", bbox=(-80, -40, -10, 40)) == 1
    names = shown.dataview("names")
    assert dict(zip(names["category"], names["value"], strict=True)) == {"west": 1, "east": 1}
    west = {"names": {"accept": ["west"]}}
    assert shown.dataview("count", filters=west) == 1
    assert shown.dataview("count") == 101
    assert list(shown.dataview("names", filters=west)["category"]) == ["west"]
    assert len(shown.dataview("names", filters=west, own_filter=False)) == 2
    assert list(shown.dataview("names", categories=1)["category"]) == ["Other"]
    assert list(shown.dataview("names", search="eas")["category"]) == ["east"]


def test_expired_maps_are_instantiated_again(squares, carto):
    layer = {"type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}
    count = {"type": "formula", "source": {"id": "a"}, "options": {"column": "n", "operation": "count"}}
    names = {"type": "aggregation", "source": {"id": "a"}, "options": {"column": "name", "aggregation": "count"}}
    config = {
        "layers": [layer],
        "dataviews": {"count": count, "names": names},
        "analyses": [{"id": "a", "type": "source", "params": {"query": "SELECT * FROM squares"}}],
    }
    with_dataviews = cfl.AnonymousMap(config, carto.credentials)
    west = {"names": {"accept": ["west"]}}
    assert with_dataviews.dataview("count", filters=west) == 1
    styled = squares.map()
    tile = styled.tile_url()
    carto.advance_clock(3 * 3600)
    assert fetch(tile).status_code == 400
    assert styled.attributes(0, 1) == {"name": "west", "n": 1}
    assert fetch(tile).status_code == 200
    assert with_dataviews.dataview("count", filters=west) == 1
    assert with_dataviews.dataview("count") == 2
    carto.advance_clock(3 * 3600)
    assert styled.static_image(10, 10, center=(0, 0), zoom=0).startswith(PNG)


def test_named_maps(squares, credentials):
    template = {
        "version": "0.0.1",
        "name": "one",
        "auth": {"method": "token", "valid_tokens": ["open sesame"]},
        "placeholders": {"least": {"type": "number", "default": 0}},
        "layergroup": {
            "version": "1.7.0",
            "layers": [
                {
                    "type": "cartodb",
                    "options": {
                        "sql": "SELECT * FROM squares WHERE n >= <%= least %>",
                        "cartocss": "#layer { polygon-fill: #f00; }",
                        "cartocss_version": "2.3.0",
                    },
                }
            ],
        },
    }
    named = cfl.NamedMap.create(template, credentials)
    assert [found.name for found in cfl.NamedMap.list(credentials)] == ["one"]
    shown = named.instantiate({"least": 50}, auth_token="open sesame")
    assert fetch(shown.tile_url()).content.startswith(PNG)
    assert fetch(shown.tile_url().partition("?")[0]).status_code == 403
    with pytest.raises(cfl.PermissionDenied):
        named.instantiate().layergroup_id  # noqa: B018  # the property raises
    named.update(auth={"method": "open"})
    assert named.instantiate().static_image(32, 32, bbox=(-90, -45, 90, 45)).startswith(PNG)
    assert named.instantiate().static_image(30, 20).startswith(PNG)
    with pytest.raises(cfl.SQLError, match="Cannot update name"):
        named.update(name="two")
    with pytest.raises(cfl.SQLError, match="already exists"):
        cfl.NamedMap.create(template, credentials)
    named.delete()
    with pytest.raises(cfl.NotFound):
        cfl.NamedMap.get("one", credentials)


def test_errors_name_the_layer(squares, credentials):
    options = {"sql": "SELECT * FROM squares", "cartocss": "#layer { polygon-fil: #f00; }", "cartocss_version": "2.3.0"}
    layer = {"id": "mine", "type": "cartodb", "options": options}
    with pytest.raises(cfl.SQLError, match="polygon-fil") as caught:
        cfl.AnonymousMap([layer], credentials).layergroup_id  # noqa: B018  # the property raises
    assert caught.value.contexts[0]["layer"]["id"] == "mine"
