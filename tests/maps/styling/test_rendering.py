"""Colors and sizes of maps as they are drawn: pixels of static images."""

from __future__ import annotations

import datetime
import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import GeometryCollection

import cartoframes_lite as cfl
from tests.maps.styling.pictures import colors_at, feature, frame_of, is_close, is_gray, picture, rgb, widths_at

SOLID = {"opacity": 1, "stroke": False}


def shown_map(frame, credentials, theme="light", **words):
    frame.carto.to_table("shown", credentials, if_exists="replace")
    layer = cfl.Layer("shown", **{**SOLID, **words})
    return cfl.AnonymousMap(layer, credentials, basemap="dark" if theme == "dark" else None)


def has_white(pixels):
    return ((pixels[:, :, :3].min(axis=2) > 160) & (pixels[:, :, 3] > 60)).any()


def item(shown, label):
    return next(one for one in shown.legend if one.label == label)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shape", ["polygon", "line", "point"])
def test_null_and_other_values_are_gray(shape, theme, credentials):
    frame = frame_of(["a", "a", "b", "b", "c", None], shape)
    shown = shown_map(frame, credentials, theme, color_by="v", k=2)
    a, _, b, _, other, missing = colors_at(shown, 6)
    assert [one.label for one in shown.legend] == ["a", "b", "other", "no data"]
    for color, label in ((a, "a"), (b, "b"), (other, "other"), (missing, "no data")):
        assert is_close(color, rgb(item(shown, label).color))
    assert is_gray(other)
    assert is_gray(missing)
    assert not is_gray(a)
    assert not is_gray(b)
    assert not is_close(other, missing)


@pytest.mark.parametrize("scheme", ["quantiles", "equal_interval", "natural_breaks", "continuous", "categories"])
def test_rows_without_finite_numbers_are_gray(scheme, credentials):
    frame_of([0.1, 0.3, 0.7, 5.0, 6.0, 7.0, 8.0]).carto.to_table("shown", credentials)
    values = "CASE v WHEN 5 THEN NULL WHEN 6 THEN 'NaN' WHEN 7 THEN 'Infinity' WHEN 8 THEN '-Infinity' ELSE v END"
    cfl.execute(f"UPDATE shown SET v = {values}", credentials=credentials)
    shown = cfl.AnonymousMap(cfl.Layer("shown", color_by="v", scheme=scheme, **SOLID), credentials)
    colors = colors_at(shown, 7)
    assert not any(map(is_gray, colors[:3]))
    assert all(map(is_gray, colors[3:]))
    assert len(set(colors[3:])) == 1
    assert is_close(colors[3], rgb(item(shown, "no data").color))


@pytest.mark.parametrize("pgtype", ["float8", "float4", "numeric"])
@pytest.mark.parametrize("values", [[0.1, 0.2, 0.3], [1 / 3, 2 / 3, 1e-9, 1e15 / 3]], ids=["near", "far"])
def test_the_largest_value_has_the_last_color(pgtype, values, credentials):
    frame_of(values).carto.to_table("shown", credentials)
    cfl.execute(f"ALTER TABLE shown ALTER v TYPE {pgtype}", credentials=credentials)
    largest = int(np.argmax(values))
    for scheme in ("quantiles", "equal_interval", "natural_breaks", "std_mean"):
        shown = cfl.AnonymousMap(
            cfl.Layer("shown", color_by="v", scheme=scheme, k=3, cmap="viridis", **SOLID), credentials
        )
        assert is_close(colors_at(shown, len(values))[largest], rgb(shown.legend[-1].color))
    shown = cfl.AnonymousMap(
        cfl.Layer("shown", color_by="v", scheme="continuous", cmap="viridis", **SOLID), credentials
    )
    red, green, blue = colors_at(shown, len(values))[largest]
    assert red > 220  # yellow
    assert green > 220
    assert blue < 60


def test_classes_are_drawn_in_the_colors_of_the_legend(credentials):
    shown = shown_map(frame_of([1.5, 10.5, 20.5, 30.5, 40.5]), credentials, color_by="v", k=[10, 20, 30], cmap="Teal")
    assert [one.label for one in shown.legend] == ["1.5 to 10", "10 to 20", "20 to 30", "30 to 40.5"]
    expected = [rgb(one.color) for one in shown.legend]
    found = colors_at(shown, 5)
    assert all(is_close(one, other) for one, other in zip(found[:4], expected, strict=True))
    assert is_close(found[4], expected[3])


def test_limits_belong_to_the_class_below(credentials):
    shown = shown_map(frame_of([10, 20, 30, 40]), credentials, color_by="v", k=[10, 20, 30])
    assert len(set(colors_at(shown, 4))) == 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_values_on_both_sides_of_zero_have_two_colors(theme, credentials):
    shown = shown_map(frame_of([-8.0, -4.0, 0.1, 4.0, 8.0]), credentials, theme, color_by="v")
    colors = colors_at(shown, 5)
    assert len(set(colors)) == 5
    assert colors[0][2] > colors[0][0]  # blue or green
    assert colors[4][0] > colors[4][2]  # red or orange
    unbalanced = shown_map(frame_of([-1.0, 4.0, 8.0, 9.0, 10.0]), credentials, theme, color_by="v")
    assert len({*colors_at(unbalanced, 5)}) < 5
    assert not is_close(colors_at(unbalanced, 5)[0], colors[0])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_highest_class_contrasts_with_the_basemap(theme, credentials):
    frame = frame_of([1.5, 2.5, 3.5, 4.5, 5.5])
    for words in ({}, {"scheme": "continuous"}):
        lowest, *_, highest = (
            sum(color) / 3 for color in colors_at(shown_map(frame, credentials, theme, color_by="v", **words), 5)
        )
        background = 20 if theme == "dark" else 245
        assert abs(highest - background) > abs(lowest - background)
        assert abs(highest - background) > 100


def test_booleans_have_two_colors(credentials):
    shown = shown_map(frame_of(pd.array([True, False, None, True], dtype="boolean")), credentials, color_by="v")
    yes, no, missing, same = colors_at(shown, 4)
    assert [one.label for one in shown.legend] == ["false", "true", "no data"]
    assert yes == same
    assert yes != no
    assert is_gray(missing)
    only = shown_map(frame_of([True, True]), credentials, color_by="v")
    assert colors_at(only, 1) == [yes]  # the color does not depend on the other values


def test_few_different_integers_are_categories(credentials):
    shown = shown_map(frame_of([3, 1, 2, 3, 1]), credentials, color_by="v")
    assert [one.label for one in shown.legend] == ["1", "2", "3"]
    colors = colors_at(shown, 5)
    assert colors[0] == colors[3]
    assert len(set(colors)) == 3
    assert len(shown_map(frame_of([3, 1, 2, 3, 1]), credentials, color_by="v", k=2).legend) == 2


def test_dates_have_classes_of_calendar_units(credentials):
    days = [datetime.date(year, 6, 1) for year in (2019, 2020, 2020, 2021, 2022)]
    shown = shown_map(frame_of([*days, None]), credentials, color_by="v")
    assert [one.label for one in shown.legend] == ["2019", "2020", "2021", "2022", "no data"]
    colors = colors_at(shown, 6)
    assert colors[1] == colors[2]
    assert len(set(colors)) == 5
    times = pd.DatetimeIndex(["2024-05-05T10:00", "2024-05-05T10:59:59.999999", "2024-05-05T11:00"]).tz_localize("UTC")
    shown = shown_map(frame_of(times), credentials, color_by="v")
    assert [one.label for one in shown.legend][3:] == ["5 May 10:45 to 11:00", "5 May 11:00 to 11:15"]
    assert len(set(colors_at(shown, 3))) == 3


def test_dates_by_other_schemes(credentials):
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=400 * number) for number in range(6)]
    frame = frame_of(days)
    for words in ({"scheme": "quantiles", "k": 3}, {"k": [datetime.date(2021, 1, 1), datetime.date(2023, 1, 1)]}):
        assert len(set(colors_at(shown_map(frame, credentials, color_by="v", **words), 6))) == 3
    with pytest.raises(ValueError, match="k must be dates"):
        shown_map(frame, credentials, color_by="v", k=[1, 2]).legend  # noqa: B018  # the property raises


@pytest.mark.parametrize(("shape", "least", "most"), [("point", 3, 31), ("line", 1, 10)])
def test_sizes_grow_with_the_value(shape, least, most, credentials):
    shown = shown_map(frame_of([9.0, 4.0, 1.0, None, math.nan, -1.0], shape), credentials, size_by="v")
    large, middle, small, *missing = widths_at(shown, 6)
    assert least <= small < middle < large <= most
    assert set(missing) <= {min(widths_at(shown, 6))}
    assert min(missing) < small
    assert [one.label for one in shown.legend] == ["9", "4", "1"]
    assert all(abs(one.size_px - width) <= 2 for one, width in zip(shown.legend, (large, middle, small), strict=True))


def test_size_by_rejects_texts(credentials):
    with pytest.raises(ValueError, match="size_by='v' must be a numeric column; its values are of type text"):
        shown_map(frame_of(["a"], "point"), credentials, size_by="v").legend  # noqa: B018  # the property raises
    with pytest.raises(ValueError, match=r"scheme='quantiles' needs numbers.*type text"):
        shown_map(frame_of(["a"]), credentials, color_by="v", scheme="quantiles").legend  # noqa: B018  # raises


def test_mixed_geometry_types_are_all_drawn(credentials):
    geometry = [
        feature(0),
        feature(1, "line"),
        feature(2, "point"),
        GeometryCollection([feature(3), feature(4, "line")]),
    ]
    frame = gpd.GeoDataFrame({"v": [1, 2, 3, 4]}, geometry=geometry, crs=4326)
    plain = shown_map(frame, credentials)
    assert len(set(colors_at(plain, 5))) == 1
    shown = shown_map(frame, credentials, color_by="v", scheme="categories")
    expected = [rgb(one.color) for one in shown.legend]
    assert all(is_close(one, other) for one, other in zip(colors_at(shown, 4), expected, strict=True))
    assert is_close(colors_at(shown, 5)[4], expected[3])


def test_opacity_and_stroke_are_drawn(credentials):
    frame = frame_of([1.0])
    solid = picture(shown_map(frame, credentials))
    faint = picture(shown_map(frame, credentials, opacity=0.25))
    middle = (128, 13)
    assert solid[middle][3] == 255
    assert 55 <= faint[middle][3] <= 75
    outlined = picture(shown_map(frame, credentials, stroke=("red", 4)))
    reds = (outlined[:, :, 0] > 240) & (outlined[:, :, 1] < 40) & (outlined[:, :, 3] > 200)
    assert reds.sum() > 50
    assert has_white(picture(shown_map(frame, credentials, stroke=True)))
    for none in (False, None, 0):
        assert not has_white(picture(shown_map(frame, credentials, stroke=none)))
    points = picture(shown_map(frame_of([1.0], "point"), credentials, stroke="black"))
    assert ((points[:, :, :3].max(axis=2) < 60) & (points[:, :, 3] > 60)).any()


def test_cmap_without_color_by_is_the_color_of_the_layer(credentials):
    assert is_close(colors_at(shown_map(frame_of([1]), credentials, cmap=["#a02050"]), 1)[0], (0xA0, 0x20, 0x50))


def test_markers_are_smaller_where_points_are_dense(credentials):
    few = shown_map(frame_of([1] * 5, "point"), credentials)
    x, y = np.meshgrid(np.linspace(-150, 150, 200), np.linspace(-50, 50, 50))
    many = gpd.GeoDataFrame(geometry=gpd.points_from_xy(x.ravel(), y.ravel()), crs=4326)
    many.carto.to_table("many", credentials)
    one = many.iloc[:1].assign(geometry=gpd.points_from_xy([-162], [0]))
    dense = cfl.AnonymousMap(cfl.Layer("many", **SOLID), credentials)
    one.carto.to_table("one", credentials)
    assert widths_at(few, 1)[0] >= 8
    opaque = picture(dense)[:, :, 3] > 127
    assert 0.05 < opaque.mean() < 0.6  # the points do not run into one another


def test_the_theme_follows_the_basemap(credentials):
    frame = frame_of([1])
    light, dark = (colors_at(shown_map(frame, credentials, theme), 1)[0] for theme in ("light", "dark"))
    assert sum(dark) > sum(light) + 60


def test_color_classes_with_infinite_and_huge_values(credentials):
    frame_of([1.0, 2.0, 3.0]).carto.to_table("shown", credentials)
    query = "SELECT *, v * 1e300 AS huge, CASE WHEN v = 3 THEN 'Infinity' ELSE v END AS endless FROM shown"
    for column in ("huge", "endless"):
        shown = cfl.AnonymousMap(cfl.Layer(query, color_by=column, **SOLID), credentials)
        assert len(set(colors_at(shown, 3))) == 3
