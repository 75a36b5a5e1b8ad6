"""Pictures of maps: PNG files, and the files that `save` writes."""

from __future__ import annotations

import base64
import io

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box

import cartoframes_lite as cfl
from cartoframes_lite._client.sql import SQL

SQUARES = gpd.GeoDataFrame(
    {"name": ["west", "east"], "n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326
)
RED = "#layer { polygon-fill: #ff0000; line-width: 0; }"


@pytest.fixture
def squares(credentials):
    return SQUARES.carto.to_table("squares", credentials)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def is_red(picture):
    return (pixels(picture) == (255, 0, 0)).all(axis=2)


def test_picture_shows_layers_basemap_legend_and_title(squares):
    bare = pixels(squares.map(RED, basemap=None).to_png())
    assert bare.shape == (420, 800, 3)
    red = (bare == (255, 0, 0)).all(axis=2)
    assert abs(np.ptp(np.flatnonzero(red[210])) - 128 * 2**2.25) <= 6  # the zoom at which the height fits
    assert (bare[210, 5] == 255).all()
    plain = pixels(squares.map(RED).to_png())
    assert not (plain[210, 5] == 255).all()  # the sea
    styled = squares.map(color_by="name", basemap=None)
    titled = cfl.Map(cfl.Layer(squares, color_by="name"), squares.credentials, basemap=None, title="Two squares")
    legend = np.abs(pixels(styled.to_png()) - pixels(squares.map(color_by="name", basemap=None, legend=False).to_png()))
    assert legend[300:, 600:].sum() > 0
    assert legend[:200, :600].sum() == 0
    title = np.abs(pixels(titled.to_png()) - pixels(styled.to_png()))
    assert title[:60, :300].sum() > 0


def test_dark_pictures_are_dark(squares):
    light, dark = (pixels(squares.map(RED, basemap=name).to_png()) for name in ("light", "dark"))
    assert light[10, 10].sum() > 500
    assert dark[10, 10].sum() < 200


def test_size_and_scale_of_pictures(squares):
    shown = squares.map(RED, basemap=None, bbox=(-90, -45, 90, 45))
    small, large = is_red(shown.to_png(None, 300, 200)), is_red(shown.to_png(None, 300, 200, scale=2))
    assert small.shape == (200, 300)
    assert large.shape == (400, 600)
    assert abs(small.mean() - large.mean()) < 0.02


def test_pictures_of_the_world_show_it_once(credentials):
    world = gpd.GeoDataFrame({"n": [1]}, geometry=[box(-180, -55, 180, 75)], crs=4326)
    red = is_red(world.carto.to_table("world", credentials).map(RED, basemap=None).to_png(None, 1200, 420))
    columns = np.flatnonzero(red[210])
    assert 600 < np.ptp(columns) < 800


def test_saved_png_files_are_pictures(squares, tmp_path):
    shown = squares.map(RED)
    path = shown.save(tmp_path / "map.png")
    assert path == tmp_path / "map.png"
    assert path.read_bytes() == shown.to_png()
    assert shown.to_html(tmp_path / "map.HTML").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("method", "name", "advice"),
    [
        ("save", "x.jpg", "save writes .html and .png; for other formats, use static_image"),
        ("save", "x", "save writes .html and .png"),
        ("to_html", "x.png", "for a picture, use to_png"),
        ("to_png", "x.html", "for a page, use to_html"),
    ],
)
def test_unknown_suffixes_are_refused(method, name, advice, squares, tmp_path):
    with pytest.raises(ValueError, match=advice):
        getattr(squares.map(), method)(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert cfl.NamedMap.list(squares.credentials) == []


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"height": 9000}, {"scale": 0}, {"scale": 5}, {"scale": "2"}, {"width": 10.5}], ids=str
)
def test_invalid_sizes_of_pictures_are_refused(wrong, squares):
    with pytest.raises(ValueError, match="must be"):
        squares.map().to_png(**wrong)


def test_paths_must_be_paths(squares):
    with pytest.raises(TypeError, match="path must be a str or a path, not int 5"):
        squares.map().save(5)


def test_notebooks_store_the_complete_picture(squares):
    shown = squares.map(color_by="name")
    bundle = shown._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == shown.to_png()
    static, _, _ = bundle["text/html"].partition("<iframe")
    assert static.count("<img") == 3  # the picture, and a swatch for each class
    assert "east" in static


@pytest.mark.parametrize("basemap", ["light", "dark"])
def test_pictures_have_no_band_beyond_the_world(basemap, squares):
    tall = pixels(squares.map(RED, basemap=basemap, bbox=(-180, -85, 180, 85)).to_png(None, 300, 600))
    north_of_the_world, sea = tall[3, 150], tall[190, 20]
    assert np.abs(north_of_the_world - sea).max() <= 3


def test_pictures_of_several_layers_show_their_titles(squares):
    def upper_side_of_legend(title):
        layers = [cfl.Layer(squares, color_by="name", title=title), cfl.Layer(SQUARES, legend=False)]
        shown = cfl.Map(layers, squares.credentials, basemap=None, bbox=(120, -10, 130, 10))  # without the squares
        return np.flatnonzero((pixels(shown.to_png()) < 200).any(axis=(1, 2))).min()

    assert upper_side_of_legend("Squares") < upper_side_of_legend("") - 10


@pytest.mark.parametrize("embed", [False, True])
def test_a_page_queries_the_extent_once(squares, tmp_path, monkeypatch, embed):
    queries = []
    rows = SQL.rows
    monkeypatch.setattr(SQL, "rows", lambda self, query, *args: queries.append(query) or rows(self, query, *args))
    cfl.Map(cfl.Layer(squares, RED), squares.credentials).to_html(tmp_path / "map.html", embed=embed)
    assert sum("ST_Extent(the_geom_webmercator)" in query for query in queries) == 1
