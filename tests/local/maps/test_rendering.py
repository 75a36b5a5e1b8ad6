"""Rendered images, compared by pixel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image
from shapely import LineString, MultiPolygon, Point, Polygon, box, to_wkb
from shapely.geometry.base import BaseGeometry

from cartoframes_lite.local.maps import rendering
from cartoframes_lite.local.maps.cartocss import parse
from cartoframes_lite.local.maps.rendering import Box, RenderedLayer, Row

TILE: Box = (0, 0, 256, 256)
"""A meter for each pixel: y counts from the bottom, rows of pixels from the top."""

RED, BLUE, GREEN = (255, 0, 0, 255), (0, 0, 255, 255), (0, 128, 0, 255)
CLEAR = (0, 0, 0, 0)
SQUARE = box(50, 50, 150, 150)
POINT = Point(100, 100)


def rows_of(*given: BaseGeometry | tuple[BaseGeometry | bytes | None, dict[str, Any]]) -> list[Row]:
    """Return rows of geometries, with or without attributes."""
    found: list[Row] = []
    for one in given:
        geometry, attributes = one if isinstance(one, tuple) else (one, {})
        found.append((to_wkb(geometry) if isinstance(geometry, BaseGeometry) else geometry, attributes))
    return found


def layer(cartocss: str, rows: Iterable[Row]) -> RenderedLayer:
    kept = list(rows)
    return RenderedLayer(parse(cartocss, name="style0"), lambda box: kept)


def picture(cartocss: str, *given: Any, **options: Any) -> Image.Image:
    """Render a tile of one layer."""
    return opened(rendering.render([layer(cartocss, rows_of(*given))], TILE, 256, 256, **{"zoom": 3, **options}))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGBA")


def at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """Return the pixel at a distance in meters from the west and south edges."""
    found = image.getpixel((x, image.height - 1 - y))
    assert isinstance(found, tuple)
    return found


def extent(image: Image.Image) -> tuple[int, int]:
    """Return width and height of the drawn pixels, including antialiased edges."""
    bounds = image.getbbox()
    assert bounds is not None
    return bounds[2] - bounds[0], bounds[3] - bounds[1]


def test_polygon_fill_and_transparent_rest() -> None:
    image = picture("#l { polygon-fill: red; }", SQUARE)
    assert (image.size, at(image, 100, 100), at(image, 200, 200)) == ((256, 256), RED, CLEAR)
    assert extent(image) == (100, 100)


def test_polygon_holes_are_not_filled() -> None:
    ring = Polygon([(10, 10), (200, 10), (200, 200), (10, 200)], [[(50, 50), (50, 150), (150, 150), (150, 50)]])
    image = picture("#l { polygon-fill: red; }", MultiPolygon([ring]))
    assert (at(image, 20, 20), at(image, 100, 100)) == (RED, CLEAR)


def test_opacity() -> None:
    image = picture("#l { polygon-fill: red; polygon-opacity: 0.5; }", SQUARE)
    assert at(image, 100, 100)[0] == 255
    assert at(image, 100, 100)[3] == pytest.approx(128, abs=2)


def test_line_position_and_width() -> None:
    image = picture("#l { line-color: blue; line-width: 4; }", LineString([(0, 128), (256, 128)]))
    assert at(image, 100, 128) == BLUE
    assert extent(image) == (256, 4)


def test_line_dasharray() -> None:
    image = picture(
        "#l { line-color: blue; line-width: 4; line-dasharray: 20, 20; }", LineString([(0, 128), (256, 128)])
    )
    assert [at(image, x, 128) for x in (10, 30, 50, 70)] == [BLUE, CLEAR, BLUE, CLEAR]


def test_line_cap() -> None:
    line = LineString([(100, 128), (150, 128)])
    widths = [
        extent(picture(f"#l {{ line-width: 20; line-cap: {cap}; }}", line))[0] for cap in ("butt", "square", "round")
    ]
    assert widths == [50, 70, 70]


def test_line_offset() -> None:
    image = picture("#l { line-color: blue; line-width: 4; line-offset: 10; }", LineString([(0, 128), (256, 128)]))
    assert (at(image, 128, 118), at(image, 128, 128)) == (BLUE, CLEAR)


@pytest.mark.parametrize(
    ("css", "size"), [("marker-width: 20;", (20, 20)), ("marker-width: 40; marker-height: 10;", (40, 10))]
)
def test_marker_size(css: str, size: tuple[int, int]) -> None:
    image = picture(f"#l {{ {css} marker-fill: red; marker-line-width: 0; }}", POINT)
    assert at(image, 100, 100) == RED
    assert extent(image) == pytest.approx(size, abs=1)


def test_marker_line() -> None:
    image = picture("#l { marker-width: 40; marker-fill: red; marker-line-width: 6; marker-line-color: blue; }", POINT)
    assert (at(image, 100, 100), at(image, 119, 100)) == (RED, BLUE)


def test_marker_allow_overlap() -> None:
    near = (Point(100, 100), Point(110, 100))
    assert extent(picture("#l { marker-width: 20; }", *near))[0] < 25
    assert extent(picture("#l { marker-width: 20; marker-allow-overlap: true; }", *near))[0] > 29


def test_markers_of_neighboring_tiles_are_drawn() -> None:
    asked: list[Box] = []

    def rows(wanted: Box) -> list[Row]:
        asked.append(wanted)
        return rows_of(Point(-5, 100))

    style = parse("#l { marker-width: 20; marker-fill: red; }", name="style0")
    image = opened(rendering.render([RenderedLayer(style, rows)], TILE, 256, 256, zoom=3))
    assert asked == [(-64, -64, 320, 320)]
    assert at(image, 1, 100) == RED


def test_filters_on_attributes() -> None:
    places = [
        (box(x, 0, x + 40, 40), {"kind": kind, "n": n}) for x, kind, n in ((0, "a", 1), (50, "b", 2), (100, None, None))
    ]
    image = picture(
        "#l { polygon-fill: green; [n<2] { polygon-fill: red; } [kind='b'] { polygon-fill: blue; } }", *places
    )
    assert [at(image, x, 20) for x in (20, 70, 120)] == [RED, BLUE, GREEN]


@pytest.mark.parametrize(
    ("condition", "matching"),
    [
        ("[v=1]", {1}),
        ("[v>1]", {2}),
        ("[v!=2]", {1, "ab", None}),
        ("[v='ab']", {"ab"}),
        ("[v=~'a.']", {"ab"}),
        ("[v=null]", {None}),
        ("[v=true]", {1}),
    ],
)
def test_filters_on_values_of_any_type(condition: str, matching: set[object]) -> None:
    values: list[object] = [1, 2, "ab", None]
    places = [(box(x * 20, 0, x * 20 + 10, 10), {"v": v}) for x, v in enumerate(values)]
    image = picture(f"#l{condition} {{ polygon-fill: red; }}", *places)
    assert [at(image, x * 20 + 5, 5) == RED for x in range(len(values))] == [v in matching for v in values]


def test_filters_on_geometry_type() -> None:
    image = picture('#l["mapnik::geometry_type"=3] { polygon-fill: red; }', SQUARE, LineString([(200, 0), (200, 256)]))
    assert extent(image) == (100, 100)


def test_filters_on_zoom() -> None:
    css = "#l[zoom>=5] { polygon-fill: red; }"
    assert picture(css, SQUARE, zoom=4).getbbox() is None
    assert at(picture(css, SQUARE, zoom=5), 100, 100) == RED


def test_rows_are_not_queried_without_symbolizers() -> None:
    style = parse("#l[zoom>=5] { polygon-fill: red; }", name="style0")

    def rows(wanted: Box) -> list[Row]:
        raise AssertionError(wanted)

    assert opened(rendering.render([RenderedLayer(style, rows)], TILE, 256, 256, zoom=4)).getbbox() is None


def test_attachments_are_drawn_over_earlier_rules() -> None:
    line = LineString([(0, 128), (256, 128)])
    image = picture("#l::case { line-width: 20; line-color: blue; } #l::fill { line-width: 6; line-color: red; }", line)
    assert (at(image, 128, 128), at(image, 128, 135)) == (RED, BLUE)


def test_layers_are_drawn_bottom_to_top() -> None:
    layers = [layer(f"#l {{ polygon-fill: {color}; }}", rows_of(SQUARE)) for color in ("red", "blue")]
    assert at(opened(rendering.render(layers, TILE, 256, 256, zoom=3)), 100, 100) == BLUE


@pytest.mark.parametrize("face", ["DejaVu Sans Book", "Open Sans Bold Italic", "No Such Font"])
def test_labels_with_unknown_fonts_are_drawn(face: str) -> None:
    css = f"#l {{ text-name: [name]; text-face-name: '{face}'; text-size: 20; text-fill: red; }}"
    wide, high = extent(picture(css, (POINT, {"name": "Größe"})))
    assert 40 < wide < 100
    assert 15 < high < 30


def test_unknown_bold_fonts_fall_back_to_bold() -> None:
    css = "#l {{ text-name: 'Town'; text-face-name: '{}'; text-size: 20; }}"
    bold, known, plain = (
        picture(css.format(face), POINT).tobytes() for face in ("Lato Bold", "DejaVu Sans Bold", "Lato Regular")
    )
    assert bold == known != plain


def test_label_halo_and_offset() -> None:
    css = "#l { text-name: 'I'; text-face-name: 'x'; text-size: 20; text-fill: red; text-dy: -40; text-halo-fill: blue;"
    plain, halo = picture(css + "}", POINT), picture(css + "text-halo-radius: 4; }", POINT)
    assert extent(halo)[0] == pytest.approx(extent(plain)[0] + 8, abs=2)
    assert plain.getbbox()[3] < 256 - 110  # type: ignore[index] # there is something, or the line above had failed


def test_null_labels_are_not_drawn() -> None:
    css = "#l { text-name: [name]; text-face-name: 'x'; }"
    assert picture(css, (POINT, {"name": None}), (Point(50, 50), {"name": ""})).getbbox() is None


def test_marker_width_by_column() -> None:
    css = "#l { marker-width: [w] * 2; marker-line-width: 0; }"
    assert extent(picture(css, (POINT, {"w": Decimal("15")}))) == pytest.approx((30, 30), abs=1)


def test_fill_by_column_ignores_invalid_colors() -> None:
    colors = ("red", "#0000ff", None, "reddish", 5)
    places = [(box(x * 50, 0, x * 50 + 40, 40), {"c": c}) for x, c in enumerate(colors)]
    image = picture("#l { polygon-fill: [c]; }", *places)
    assert [at(image, x * 50 + 20, 20) for x in range(5)] == [RED, BLUE, CLEAR, CLEAR, CLEAR]


@pytest.mark.parametrize("value", [None, "text", "", True, 10**40, -3, float("nan"), float("inf"), date(2026, 1, 1)])
def test_any_column_value_renders(value: object) -> None:
    css = (
        "#l { marker-width: [v]; text-name: [v]; text-face-name: 'x'; text-size: [v]; polygon-fill: red;"
        " [v>2] { line-width: [v]; } }"
    )
    assert at(picture(css, (POINT, {"v": value}), (box(200, 200, 250, 250), {"v": 1})), 240, 240) == RED


@pytest.mark.parametrize(
    "broken",
    [
        None,
        b"",
        b"nonsense",
        to_wkb(SQUARE)[:-7],
        to_wkb(Polygon()),
        to_wkb(Point(float("nan"), 1)),
        to_wkb(LineString([(0, 0), (float("inf"), 1e300)])),
        to_wkb(Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])),
    ],
)
def test_invalid_geometries_render(broken: bytes | None) -> None:
    image = picture("#l { polygon-fill: red; line-width: 1; marker-width: 4; }", (broken, {}), box(200, 200, 250, 250))
    assert at(image, 210, 240) == RED


def test_retina() -> None:
    image = picture("#l { marker-width: 20; marker-fill: red; marker-line-width: 0; }", POINT, scale=2)
    assert (image.size, at(image, 200, 200)) == ((512, 512), RED)
    assert extent(image) == pytest.approx((40, 40), abs=1)


def test_the_background() -> None:
    css = "Map { background-color: blue; } #l { polygon-fill: red; }"
    assert at(picture(css, SQUARE), 200, 200) == BLUE
    assert at(picture(css, SQUARE, background="green"), 200, 200) == GREEN


def test_image_without_layers() -> None:
    image = opened(rendering.render([], TILE, 300, 100, zoom=3))
    assert (image.size, image.getbbox()) == ((300, 100), None)


def test_jpeg_background_is_white() -> None:
    content = rendering.render(
        [layer("#l { polygon-fill: red; }", rows_of(SQUARE))], TILE, 256, 256, zoom=3, format="jpg"
    )
    assert content.startswith(b"\xff\xd8\xff")
    assert at(opened(content), 240, 240)[:3] == (255, 255, 255)
    assert at(opened(content), 100, 100)[:3] == pytest.approx((255, 0, 0), abs=4)


def test_static_image_covers_its_bbox() -> None:
    image = opened(
        rendering.render([layer("#l { polygon-fill: red; }", rows_of(SQUARE))], (0, 0, 400, 200), 800, 400, zoom=3)
    )
    assert extent(image) == (200, 200)


def test_utfgrid_maps_pixels_to_rows() -> None:
    rows = rows_of((SQUARE, {"cartodb_id": 7, "name": "Größe"}), (Point(200, 200), {"cartodb_id": 9, "name": None}))
    found = rendering.grid(layer("#l { polygon-fill: red; marker-width: 20; }", rows), TILE, zoom=3, fields=["name"])
    grid, keys = found["grid"], found["keys"]
    assert isinstance(grid, list)
    assert isinstance(keys, list)

    def key_at(x: int, y: int) -> str:
        code = ord(grid[(255 - y) // 4][x // 4])
        return str(keys[code - 32 - (code > 34) - (code > 92)])

    assert (len(grid), {len(line) for line in grid}) == (64, {64})
    assert [key_at(*place) for place in ((60, 60), (200, 200), (10, 10))] == ["7", "9", ""]
    assert found["data"] == {"7": {"name": "Größe"}, "9": {"name": None}}


def test_utfgrid_without_rows() -> None:
    found = rendering.grid(layer("#l { polygon-fill: red; }", []), TILE, zoom=3, fields=["name"])
    assert (found["keys"], found["data"]) == ([""], {})
    assert found["grid"] == [" " * 64] * 64


def test_rendering_in_several_threads() -> None:
    css = (
        "#l { marker-width: 10; marker-fill: red; text-name: [n]; text-face-name: 'x'; [n>50] { marker-fill: blue; } }"
    )
    rows = rows_of(*((Point(n * 7 % 256, n * 13 % 256), {"n": n}) for n in range(100)))
    shown = layer(css, rows)

    def tile(_: int) -> bytes:
        return rendering.render([shown], TILE, 256, 256, zoom=3)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(tile, range(40)))) == 1


def test_mapnik_does_not_change_the_environment() -> None:
    code = (
        "import os; import cartoframes_lite.local.maps.rendering;"
        " print('PROJ_LIB' in os.environ, 'GDAL_DATA' in os.environ)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"PROJ_LIB", "GDAL_DATA"}}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == ["False", "False"]
