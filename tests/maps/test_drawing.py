"""Maps drawn with Matplotlib: what is at which pixel."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pytest
import shapely
from PIL import Image, ImageColor
from shapely.geometry import GeometryCollection, LineString, MultiPoint, Point, box

import cartoframes_lite as cfl
from cartoframes_lite.maps.basemap import THEMES
from cartoframes_lite.maps.drawing import PictureView, TileImage, draw_map
from cartoframes_lite.maps.drawing.canvas import Canvas
from cartoframes_lite.maps.drawing.colors import rgba
from cartoframes_lite.maps.drawing.paths import rings_path

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@dataclass(frozen=True)
class Style:
    color: str = "#ff0000"
    opacity: float = 1
    marker_width: float = 10
    line_width: float = 4
    stroke: str | None = None
    stroke_width: float = 1
    stroke_opacity: float = 1


@dataclass(frozen=True)
class Shapes:
    geometries: np.ndarray
    styles: list[Style]
    style_numbers: np.ndarray

    @classmethod
    def of(cls, *geometries, **style):
        return cls(np.array(geometries, object), [Style(**style)], np.zeros(len(geometries), np.intp))


@dataclass(frozen=True)
class Item:
    color: str
    label: str
    size_px: float | None = None


@dataclass(frozen=True)
class Legend:
    title: str
    items: tuple[Item, ...] = ()
    colors: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


def drawn(view, *layers, **options):
    """Draw a map, without basemap unless one is given; return it as an array of RGB."""
    png = draw_map(view, layers, **{"basemap": None, **options})
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def color_at(image, x, y):
    return tuple(int(value) for value in image[round(y), round(x)])


def center_of(image, color):
    """Return the mean pixel (x, y) of a color."""
    rows, columns = np.nonzero(np.all(np.abs(image.astype(int) - color) < 60, axis=2))
    assert len(rows), "the color is nowhere"
    return columns.mean(), rows.mean()


def has_color(image, color):
    return bool(np.any(np.all(np.abs(image.astype(int) - ImageColor.getrgb(color)) <= 3, axis=2)))


@pytest.mark.parametrize(
    ("center", "zoom", "size"),
    [((2.35, 48.85), 11, (400, 300)), ((-100.3, -41.7), 3, (301, 199)), ((0, 0), 1, (512, 512))],
)
def test_points_are_where_the_server_draws_them(credentials, center, zoom, size):
    view = PictureView(center, zoom, *size)
    west, south, east, north = view.bbox
    points = [
        Point(west + (east - west) * across, south + (north - south) * up)
        for across, up in ((0.2, 0.3), (0.8, 0.7), (0.5, 0.5))
    ]
    frame = gpd.GeoDataFrame({"n": range(3)}, geometry=points, crs=4326)
    frame.carto.to_table("places", credentials)
    style = "#l { marker-width: 10; marker-fill: #f00; marker-line-width: 0; marker-allow-overlap: true; }"
    for index, point in enumerate(points):
        layer = cfl.Layer(f"SELECT * FROM places WHERE n = {index}", style)
        png = cfl.AnonymousMap(layer, credentials).static_image(*size, center=center, zoom=zoom)
        served, own = drawn(view, png), drawn(view, Shapes.of(point))
        np.testing.assert_allclose(center_of(own, RED), center_of(served, RED), atol=0.5)


def test_images_keep_their_pixels():
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    np.testing.assert_array_equal(drawn(PictureView((10, 20), 3, 40, 30), buffer.getvalue()), noise)


def test_images_end_at_the_edge_of_the_world():
    buffer = io.BytesIO()
    Image.new("RGB", (100, 300), "red").save(buffer, "png")
    image = drawn(PictureView((0, 0), 0, 100, 300), buffer.getvalue())
    assert color_at(image, 50, 20) == color_at(image, 50, 280) == WHITE
    assert color_at(image, 50, 23) == color_at(image, 50, 277) == RED


def test_layers_cover_those_below():
    area, point = Shapes.of(box(-20, -20, 20, 20), color="#0000ff"), Shapes.of(Point(0, 0))
    view = PictureView((0, 0), 2, 100, 100)
    assert color_at(drawn(view, area, point), 50, 50) == RED
    assert color_at(drawn(view, point, area), 50, 50) == BLUE


def test_all_geometry_types_are_drawn():
    view = PictureView((0, 0), 2, 200, 200)  # 0.35 degrees a pixel
    nested = GeometryCollection(
        [MultiPoint([(-25, 25), (25, 25)]), GeometryCollection([LineString([(-30, 0), (30, 0)])])]
    )
    hole = box(-10, -30, 10, -15).difference(box(-3, -25, 3, -20))
    image = drawn(view, Shapes.of(nested, hole))
    for longitude, latitude, color in (
        (-25, 25, RED),
        (25, 25, RED),
        (28, 0, RED),
        (-8, -20, RED),
        (0, -22, WHITE),
        (0, 25, WHITE),
    ):
        [[x, y]] = view.to_pixels(np.array([[longitude, latitude]]))
        assert color_at(image, x, y) == color, (longitude, latitude)


def test_styles_set_width_stroke_and_opacity():
    view = PictureView((0, 0), 2, 100, 100)
    image = drawn(view, Shapes.of(Point(0, 0), marker_width=30, stroke="rgb(0, 0, 255)", stroke_width=6, opacity=0.5))
    assert color_at(image, 50, 50)[0] == 255
    assert abs(color_at(image, 50, 50)[1] - 128) <= 2
    assert color_at(image, 50 + 16, 50) == BLUE
    assert color_at(image, 50 + 20, 50) == WHITE


def test_scale_gives_more_pixels_of_the_same_view():
    view = PictureView((0, 0), 2, 120, 80)
    once, twice = (drawn(view, Shapes.of(Point(10, 5)), scale=scale) for scale in (1, 2))
    assert twice.shape == (160, 240, 3)
    np.testing.assert_allclose(
        np.array(center_of(twice, RED)) + 0.5, (np.array(center_of(once, RED)) + 0.5) * 2, atol=1
    )


def test_features_beyond_the_antimeridian_are_drawn():
    for center in (179, -181, 181, 539):
        image = drawn(PictureView((center, 0), 4, 200, 100), Shapes.of(Point(-179, 0), Point(179, 0)))
        red = np.all(image == RED, axis=2)
        assert red.sum() > 100
        assert red[:, :100].any()
        assert red[:, 100:].any()


@pytest.mark.parametrize("theme", THEMES)
def test_basemap_has_land_and_water(theme):
    view = PictureView((13, 42), 5, 400, 300)
    image = drawn(view, basemap="natural-earth", theme=theme)
    for longitude, latitude, group in ((15.5, 41.35, "land"), (11, 41, "water"), (9, 40.2, "land"), (15, 43, "water")):
        [[x, y]] = view.to_pixels(np.array([[longitude, latitude]]))
        expected = ImageColor.getrgb(getattr(THEMES[theme], group))
        assert color_at(image, x, y) == expected, (longitude, latitude)


def test_basemap_shows_land_when_zoomed_far_in():
    land, water = (ImageColor.getrgb(color) for color in (THEMES["light"].land, THEMES["light"].water))
    for center, expected in (((105, 60), land), ((-30, 30), water)):
        image = drawn(PictureView(center, 18, 60, 40), basemap="natural-earth", scale=2)
        assert color_at(image, 10, 10) == color_at(image, 100, 70) == expected


def test_wide_pictures_show_one_world():
    view = PictureView((0, 0), 0, 800, 256)
    image = drawn(view, Shapes.of(Point(0, 0)), basemap="natural-earth")
    red_columns = np.flatnonzero(np.all(image == RED, axis=2).any(axis=0))
    assert red_columns.max() - red_columns.min() < 12
    outside = np.concatenate([image[:, :270], image[:, 530:]], axis=1)
    assert np.all(outside == ImageColor.getrgb(THEMES["light"].background))


def test_antimeridian_leaves_no_line():
    image = drawn(PictureView((180, 67.5), 5, 60, 40), basemap="natural-earth")
    assert np.all(image[5:20, 20:40] == ImageColor.getrgb(THEMES["light"].land))


def test_names_are_complete_and_do_not_overlap(monkeypatch):
    written = []
    monkeypatch.setattr(Canvas, "add_text", lambda self, x, y, text, *rest, **more: written.append((x, y, text, rest)))
    view = PictureView((12, 50), 4, 800, 500)
    drawn(view, basemap="natural-earth")
    measure = Canvas(view, 1, "#fff")
    boxes = [
        shapely.box(x - width / 2, y - size / 2, x + width / 2, y + size / 2)
        for x, y, text, (_, size, *_) in written
        for width in [measure.text_width(text, size)]
    ]
    assert len(boxes) > 30
    assert shapely.contains(shapely.box(0, 0, 800, 500), boxes).all()
    for index, one in enumerate(boxes):
        assert not shapely.intersects(one, boxes[index + 1 :]).any(), written[index]


def test_tiles_are_at_their_places():
    def plain(color):
        buffer = io.BytesIO()
        Image.new("RGB", (256, 256), color).save(buffer, "png")
        return buffer.getvalue()

    view = PictureView((0, 0), 1, 300, 200)
    north, south = 85.0511287798, -85.0511287798
    tiles = [TileImage(plain("red"), (-180, 0, 0, north)), TileImage(plain("blue"), (0, south, 180, 0))]
    image = drawn(view, basemap=tiles)
    assert color_at(image, 149, 99) == color_at(image, 2, 2) == RED
    assert color_at(image, 150, 100) == color_at(image, 297, 197) == BLUE
    assert color_at(image, 150, 99) == color_at(image, 149, 100) == WHITE


def test_legends_show_colors_and_sizes():
    view = PictureView((0, 0), 2, 400, 300)
    classes = Legend("Density", (Item("#11aa33", "low"), Item("#aa1133", "high")))
    sizes = Legend("", (Item("#3311aa", "5", 30),))
    image = drawn(view, legends=[classes, sizes])
    for color in ("#11aa33", "#aa1133", "#3311aa"):
        assert has_color(image, color)
    circle = np.all(image == ImageColor.getrgb("#3311aa"), axis=2)
    assert abs(int(circle.any(axis=1).sum()) - 29) <= 2
    assert center_of(image, (0x11, 0xAA, 0x33))[1] < center_of(image, (0x33, 0x11, 0xAA))[1]


def test_gradients_run_from_the_first_to_the_last_color():
    view = PictureView((0, 0), 2, 400, 300)
    image = drawn(view, legends=[Legend("t", colors=("#ff0000", "#00ff00", "#0000ff"), limits=("0", "1"))])
    red, green, blue = (center_of(image, color)[0] for color in (RED, (0, 255, 0), BLUE))
    assert red < green < blue
    assert abs((red + blue) / 2 - green) < 3


def test_limits_of_a_gradient_do_not_overlap(monkeypatch):
    written = []
    monkeypatch.setattr(
        Canvas, "add_text", lambda self, x, y, text, color, size, **more: written.append((x, text, size))
    )
    limits = ("0", "11,000,000", "21,000,000")
    view = PictureView((0, 0), 2, 400, 300)
    drawn(view, legends=[Legend("", colors=("red", "blue"), limits=limits)])
    drawn(view, legends=[Legend("", colors=("red", "blue"), limits=("0", "5", "10"))])
    assert [text for _, text, _ in written] == ["0", "21,000,000", "0", "5", "10"]
    measure = Canvas(view, 1, "#fff")
    ends = [x + measure.text_width(text, size) for x, text, size in written]
    assert ends[0] < written[1][0]
    assert ends[2] < written[3][0] < ends[3] < written[4][0]


def test_long_legends_end_within_the_picture():
    view = PictureView((0, 0), 2, 300, 150)
    items = tuple(Item(f"#{index:02x}2200", f"class {index}") for index in range(40))
    image = drawn(view, legends=[Legend("Many", items)])
    assert has_color(image, "#002200")
    assert not has_color(image, "#272200")
    assert np.all(image[:5] == 255)


def test_title_and_attribution_are_written():
    view = PictureView((0, 0), 2, 400, 200)
    plain = drawn(view)
    titled = drawn(view, title="50 $ for_ $5 <b>")
    attributed = drawn(view, attribution='<a href="https://example.com">A &amp; B</a>')
    changed = [np.argwhere(np.any(image != plain, axis=2)) for image in (titled, attributed)]
    assert changed[0].max(axis=0)[0] < 60
    assert changed[1].min(axis=0)[0] > 180
    assert changed[1].min(axis=0)[1] > 300
    same = drawn(view, attribution="A & B")
    np.testing.assert_array_equal(attributed, same)


def test_any_characters_can_be_written():
    view = PictureView((0, 0), 2, 400, 200)
    legend = Legend("東京\n\t العربية", (Item("red", "\U0001f5fa map\x00 \u200d हिन्दी"),))
    texts = {"title": "Москва 東京 \U0001f600", "attribution": "© 日本", "legends": [legend]}
    assert np.any(drawn(view, **texts) != drawn(view))


def test_user_settings_of_matplotlib_have_no_effect():
    import matplotlib as mpl

    view = PictureView((12, 50), 4, 300, 200)
    options = {"basemap": "natural-earth", "title": "Title", "attribution": "CARTO"}
    usual = drawn(view, Shapes.of(Point(12, 50)), **options)
    changes = {"font.size": 30, "font.weight": "bold", "text.usetex": True, "axes.facecolor": "red"}
    with mpl.rc_context({**changes, "text.color": "red", "savefig.facecolor": "red", "text.antialiased": False}):
        np.testing.assert_array_equal(drawn(view, Shapes.of(Point(12, 50)), **options), usual)


def test_drawing_leaves_pyplot_alone():
    had_pyplot = "matplotlib.pyplot" in sys.modules
    drawn(PictureView((0, 0), 1, 50, 50), basemap="natural-earth")
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_missing_matplotlib_is_reported(monkeypatch):
    for name in ("matplotlib.backends.backend_agg", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'cartoframes_lite\[maps\]'"):
        draw_map(PictureView((0, 0), 1, 50, 50))


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ("#f00", (1, 0, 0, 1)),
        ("#ff000080", (1, 0, 0, 128 / 255)),
        ("rgb(0, 255, 0)", (0, 1, 0, 1)),
        ("rgba(0, 0, 255, 0.5)", (0, 0, 1, 0.5)),
        ("hsl(120, 100%, 50%)", (0, 1, 0, 1)),
        ("Transparent", (0, 0, 0, 0)),
        ("rebeccapurple", (0.4, 0.2, 0.6, 1)),
    ],
)
def test_colors_of_css(color, expected):
    assert rgba(color) == pytest.approx(expected, abs=0.003)


def test_clipped_rings_keep_area_and_holes():
    ring = np.array([[-50.0, -50], [50, -50], [50, 50], [-50, 50]])
    hole = np.array([[-20.0, -20], [-20, 20], [20, 20], [20, -20]])
    path = rings_path([ring, hole], (0, 0, 100, 100))
    assert path.contains_point((30, 30))
    assert not path.contains_point((10, 10)) or np.isclose(path.vertices.min(), 0)
    assert path.vertices.min() >= 0
    assert len(rings_path([ring + 500], (0, 0, 100, 100)).vertices) == 0
