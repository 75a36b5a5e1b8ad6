"""The offline basemap: its data, and what a browser draws of it."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pytest
from PIL import ImageChops, ImageColor

from cartoframes_lite.maps.basemap import THEMES, page_content
from cartoframes_lite.maps.basemap.data import Basemap, natural_earth
from cartoframes_lite.maps.basemap.encoding import GROUPS, Lines, decode, encode
from tests.maps.basemap_page import basemap_page, screenshot, screenshot_of_basemap

EUROPE, FIJI, PARIS = (-12, 35, 32, 62), (176, -20, -178, -15), (1.9, 48.6, 2.8, 49.1)


def lines(*values):
    """Return lines whose points are given as (x, y, zoom)."""
    points = np.array([point for line in values for point in line], dtype=np.int64).reshape(-1, 3)
    return Lines(np.array([len(line) for line in values], dtype=np.int64), *points.T)


def content_of(*arguments):
    return Basemap.from_bytes(gzip.decompress(base64.b64decode(page_content(*arguments)["data"])))


def drawn(image, x, y):
    """Return the most frequent color around a pixel, so that a border or a river does not matter."""
    colors = image.crop((x - 4, y - 4, x + 5, y + 5)).getcolors()
    return max(colors)[1]


def is_color(image, at, color):
    return max(np.abs(np.subtract(drawn(image, *at), ImageColor.getrgb(color)))) <= 2


def test_lines_are_the_same_after_decoding():
    groups = {name: lines() for name in GROUPS}
    groups["land"] = lines([(0, 0, 0), (300, 5, 1), (-70_000, 130, 8)], [(2**31 - 1, 1, 2), (0, 64, 3)])
    groups["borders"] = lines([(-64, 127, 0), (-65, 128, 0)])
    found, header = decode(encode(groups, {"labels": [["Å", 0]]}))
    assert header == {"labels": [["Å", 0]]}
    for name in GROUPS:
        for attribute in ("lengths", "x", "y", "zooms"):
            np.testing.assert_array_equal(getattr(found[name], attribute), getattr(groups[name], attribute))


def test_selection_drops_lines_with_too_few_points():
    three, two = [(0, 0, 0), (4, 4, 2), (9, 9, 0)], [(1, 1, 0), (2, 2, 5)]
    found = lines(three, two)
    kept = found.select(found.zooms < 5, 2)
    assert list(kept.lengths) == [3]
    assert list(kept.rescaled(2).x) == [0, 1, 2]


@pytest.mark.parametrize("bbox", [None, EUROPE, FIJI, PARIS, (2.35, 48.85, 2.35, 48.85), (150, -40, 210, 30)])
def test_page_content_is_small(bbox):
    assert len(json.dumps(page_content("dark", bbox))) < 150_000


def test_detail_is_where_the_map_is():
    world, paris = content_of("light"), content_of("light", PARIS)
    assert world.lines["land"].zooms.max() < 4 < 7 < paris.lines["land"].zooms.max()
    land = paris.lines["land"]
    detailed = land.zooms >= 7
    longitude = (land.x / 2**paris.bits - 0.5) * 360
    assert np.abs(longitude[detailed] - 2.35).max() < 12
    assert np.ptp(longitude[land.zooms <= 2]) > 355


def test_detail_continues_beyond_the_antimeridian():
    for bbox in (FIJI, (176, -20, 182, -15), (-184, -20, -178, -15)):
        land = content_of("light", bbox).lines["land"]
        longitude = (land.x[land.zooms >= 6] / 2 ** content_of("light", bbox).bits - 0.5) * 360 % 360
        assert longitude.min() < 179
        assert longitude.max() > 180.5


def test_unknown_theme_is_refused():
    with pytest.raises(ValueError, match=r"no basemap theme 'sepia'; the themes are 'light', 'dark'"):
        page_content("sepia")


def test_names_have_their_accents():
    names = {label[0].replace("\n", " ") for label in natural_earth().labels}
    assert not [name for name in names if "?" in name]
    assert {"São Paulo", "Côte d'Ivoire", "Bogotá", "Germany", "New Zealand", "Québec"} <= names


@pytest.mark.parametrize("theme", THEMES)
def test_land_and_water_in_a_browser(chromium, theme):
    colors = THEMES[theme]
    image = screenshot_of_basemap(chromium, (13, 42), 5, theme=theme, bbox=EUROPE, labels=False)
    for place, color in {
        (200, 150): colors.land,  # Italy
        (140, 180): colors.water,  # between Corsica and Rome
        (117, 187): colors.land,  # Sardinia
        (300, 40): colors.land,  # Hungary
        (255, 145): colors.water,  # the Adriatic Sea
    }.items():
        assert is_color(image, place, color), place


def test_lakes_and_inland_seas_are_water(chromium):
    image = screenshot_of_basemap(chromium, (45, 43), 4, labels=False)
    assert is_color(image, (268, 165), THEMES["light"].water)  # the Caspian Sea
    image = screenshot_of_basemap(chromium, (33, -1), 5, labels=False)
    assert is_color(image, (200, 150), THEMES["light"].lakes)  # Lake Victoria


def test_antimeridian_leaves_no_trace(chromium):
    options = {"bbox": (165, 55, 195, 72), "labels": False, "worldCopyJump": True}
    image = screenshot_of_basemap(chromium, (180, 67.5), 5, **options)
    west, east = drawn(image, 195, 140), drawn(image, 205, 140)
    assert west == east == ImageColor.getrgb(THEMES["light"].land)  # Chukotka
    column = image.crop((196, 130, 205, 150)).getcolors()
    assert max(column)[0] > 170  # of 180 pixels


def test_one_world_unless_the_map_wraps(chromium):
    options = {"bbox": None, "size": (900, 256), "labels": False}
    sahara, copy = (450, 80), (450 + 256, 80)
    for is_wrapped, color in ((False, THEMES["light"].water), (True, THEMES["light"].land)):
        image = screenshot_of_basemap(chromium, (15, 0), 0, worldCopyJump=is_wrapped, **options)
        assert is_color(image, sahara, THEMES["light"].land)
        assert is_color(image, copy, color)


def test_names_do_not_hide_the_land(chromium):
    options = {"bbox": EUROPE, "worldCopyJump": True}
    without = screenshot_of_basemap(chromium, (10, 50), 4, labels=False, **options)
    named = screenshot_of_basemap(chromium, (10, 50), 4, **options)
    changed = np.any(np.array(ImageChops.difference(named, without)) > 40, axis=2)
    assert 0.005 < changed.mean() < 0.1


def test_moved_maps_are_drawn_like_new_ones(chromium):
    with basemap_page(chromium, (100, -40), 2, labels=False) as page:
        page.evaluate("""() => {
            map.setView([10, 20], 3, { animate: false });
            map.panBy([900, 500], { animate: false });
            map.setZoom(6, { animate: false });
            map.setView([42, 13], 5, { animate: false });
        }""")
        moved = screenshot(page)
    new = screenshot_of_basemap(chromium, (13, 42), 5, labels=False)
    assert np.array(ImageChops.difference(moved, new)).max() < 30  # edges may be smoothed differently


def test_long_drags_show_land_before_they_end(chromium):
    with basemap_page(chromium, (20, -10), 5, labels=False, zoomAnimation=False) as page:
        page.mouse.move(200, 20)
        page.mouse.down()
        for y in (60, 130, 200, 280):
            page.mouse.move(200, y)
        page.mouse.move(200, 20)  # back, so that a second drag leads farther away
        page.mouse.up()
        page.mouse.move(390, 150)
        page.mouse.down()
        for x in (300, 200, 100, 10):
            page.mouse.move(x, 150)
        center = page.evaluate("() => map.getCenter().lng")
        during = screenshot(page)
        page.mouse.up()
    assert center > 33
    land = np.all(np.array(during) == ImageColor.getrgb(THEMES["light"].land), axis=2)
    assert land[20:-20, 150:290].mean() > 0.4  # Tanzania


def test_zooming_far_in_shows_land(chromium):
    image = screenshot_of_basemap(chromium, (105, 60), 18, labels=False)
    assert np.all(np.array(image) == ImageColor.getrgb(THEMES["light"].land))


def test_frames_are_drawn_quickly(chromium):
    with basemap_page(chromium, (12, 50), 4, bbox=EUROPE, size=(1200, 600)) as page:
        frame_ms = page.evaluate("""async () => {
            const layers = (await window.layer).getLayers();
            const times = [];
            for (let count = 0; count < 9; count++) {
                const start = performance.now();
                layers.forEach((layer) => layer._update());
                times.push(performance.now() - start);
            }
            return times.sort((one, other) => one - other)[0];
        }""")
    assert frame_ms < 50
