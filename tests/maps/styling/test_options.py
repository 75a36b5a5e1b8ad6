"""Validation of the words that style a layer, without requests."""

from __future__ import annotations

import datetime
import inspect
import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import ImageColor
from shapely.geometry import Point

import cartoframes_lite as cfl
from cartoframes_lite.maps.frame_layers import compile_frame
from cartoframes_lite.maps.styling.options import LAYER_DEFAULTS, SCHEMES

FRAME = gpd.GeoDataFrame({"name": ["a"], "n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
WRONG_VALUES = [
    ({"scheme": "quantile", "color_by": "n"}, "unknown scheme 'quantile'. Did you mean 'quantiles'"),
    ({"scheme": "pigeons", "color_by": "n"}, "Choose one of 'quantiles', 'equal_interval'"),
    ({"scheme": "quantiles"}, "has no effect without color_by"),
    ({"k": 1, "color_by": "n"}, "k must be a number of classes from 2 to 20"),
    ({"k": True, "color_by": "n"}, "k must be a number of classes"),
    ({"k": [3, 2], "color_by": "n"}, "must increase"),
    ({"k": [], "color_by": "n"}, "k must be a list of 1 to 20 limits"),
    ({"k": 5, "color_by": "n", "scheme": "user_defined"}, "k must be a list of 1 to 20 limits, not 5"),
    ({"vmin": float("nan"), "color_by": "n"}, "vmin must be a finite number or a date"),
    ({"vmin": pd.NaT, "color_by": "n"}, "vmin must be a finite number or a date"),
    ({"vmin": 2, "vmax": 1, "color_by": "n"}, "vmin must be less than vmax"),
    ({"vmin": 2, "vmax": datetime.date(2000, 1, 1), "color_by": "n"}, "of the same type"),
    ({"vmin": 2, "color_by": "n", "scheme": "quantiles"}, "vmin has no effect with scheme='quantiles'"),
    ({"cmap": "viridus"}, "unknown colormap 'viridus'. Did you mean 'viridis'?"),
    ({"cmap": "tael_r"}, "unknown colormap 'tael_r'. Did you mean 'Teal_r'?"),
    ({"cmap": ["red", "bleu"]}, "unknown color 'bleu': use a CSS color"),
    ({"cmap": []}, "cmap is an empty list"),
    ({"stroke": "wihte"}, "unknown color 'wihte': use a CSS color"),
    ({"opacity": 1.5}, "opacity must be a number from 0 to 1"),
    ({"stroke": -1}, "stroke must be a color, a width in pixels (at most 50), both"),
    ({"stroke": (1, "red")}, "a color and then a width"),
    ({"aggregation": "gird"}, "unknown aggregation 'gird'. Did you mean 'grid'"),
]
WRONG_TYPES = [
    ({"color_by": 5}, "color_by must be a str"),
    ({"colour_by": "n"}, "unexpected keyword argument 'colour_by'. Did you mean 'color_by'"),
    ({"interactivity": "n"}, "interactivity must be a sequence of column names, not the str 'n'"),
    ({"popup": 5}, "popup must be a sequence of column names"),
    ({"hover": ["n", 5]}, "hover must contain only names of columns, not 5"),
    ({"legend": 5}, "legend must be True, False or a title"),
    ({"scheme": 5, "color_by": "n"}, "scheme must be a str"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_VALUES, ids=[str(number) for number in range(len(WRONG_VALUES))])
def test_invalid_values_are_rejected(words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cfl.Layer("stations", **words)


@pytest.mark.parametrize(("words", "message"), WRONG_TYPES, ids=[str(number) for number in range(len(WRONG_TYPES))])
def test_invalid_types_are_rejected(words, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        cfl.Layer("stations", **words)


@pytest.mark.parametrize("word", ["color_by", "size_by", "popup", "hover"])
def test_columns_of_frames_are_checked(word):
    with pytest.raises(ValueError, match=r"='nam': the GeoDataFrame has no such column\. Did you mean 'name'\?"):
        cfl.Layer(FRAME, **{word: "nam"})
    assert cfl.Layer(FRAME, **{word: "n"}).frame is FRAME


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size_by": "name"}, "size_by='name' must be a numeric column; its values are of type text"),
        ({"color_by": "name", "scheme": "quantiles"}, "scheme='quantiles' needs numbers, dates or times, but 'name'"),
        ({"color_by": "name", "vmin": 1}, "vmin needs numbers, dates or times, but 'name' has values of type text"),
        ({"color_by": "n", "k": [datetime.date(2000, 1, 1)]}, "k must be numbers, as the values of 'n'"),
    ],
    ids=["size", "scheme", "limit", "dates"],
)
def test_words_have_to_fit_the_type_of_the_column(words, message, credentials):
    FRAME.carto.to_table("shown", credentials)
    for make in (lambda: cfl.Layer(FRAME, **words), lambda: cfl.Dataset("shown", credentials).map(**words)):
        with pytest.raises(ValueError, match=re.escape(message)):
            make()


@pytest.mark.parametrize(
    ("spelling", "scheme"),
    [
        *((name, name) for name in SCHEMES if name != "user_defined"),
        ("NaturalBreaks", "natural_breaks"),
        ("FisherJenks", "natural_breaks"),
        ("EqualInterval", "equal_interval"),
        ("StdMean", "std_mean"),
        ("QUANTILES", "quantiles"),
    ],
)
def test_names_of_schemes_as_in_mapclassify(spelling, scheme):
    assert cfl.Layer("stations", color_by="n", scheme=spelling).options["scheme"] == scheme


def test_limits_imply_the_scheme_user_defined():
    assert cfl.Layer("stations", color_by="n", k=np.array([1, 2])).options["scheme"] == "user_defined"
    assert cfl.Layer("stations", color_by="n", k=[10]).options["scheme"] == "user_defined"


def test_signatures_show_all_words():
    for function in (cfl.Layer, cfl.Dataset.map):
        assert set(LAYER_DEFAULTS) <= set(inspect.signature(function).parameters)
        assert all(
            f"\n{word}" in inspect.getdoc(function) or f", {word} :" in inspect.getdoc(function)
            for word in LAYER_DEFAULTS
        )


def test_cartocss_replaces_the_words_of_style():
    for words in ({"color_by": "n"}, {"opacity": 0.5}, {"stroke": False}):
        with pytest.raises(ValueError, match="not both"):
            cfl.Layer("stations", "#layer {}", **words)
    assert cfl.Layer("stations", "#layer {}", title="Stations", popup="n").title == "Stations"
    with pytest.raises(ValueError, match="cartocss styles tables and queries"):
        cfl.Layer(FRAME, "#layer {}")


def test_repr_shows_what_was_passed():
    assert repr(cfl.Layer("stations", color_by="n", k=3)) == "Layer('stations', color_by='n', k=3)"
    assert repr(cfl.Layer(FRAME)) == "Layer(<GeoDataFrame of 1 rows>)"


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        ({"color_by": "n", "size_by": "n"}, ["n", ""]),
        ({"color_by": "name", "size_by": "n"}, ["name", "n"]),
        ({"size_by": "n", "legend": "Number"}, ["Number"]),
        ({"color_by": "n", "size_by": "n", "legend": "Number"}, ["Number", ""]),
    ],
    ids=["same column", "two columns", "title of sizes", "title of both"],
)
def test_legends_show_each_title_once(words, titles):
    layer, _ = compile_frame(cfl.Layer(FRAME, **words), FRAME, "light", {})
    assert [legend["title"] for legend in layer.legends] == titles


def test_each_of_many_categories_has_a_color():
    frame = gpd.GeoDataFrame({"name": list("abcdefghijklmnopqrst")}, geometry=[Point(0, 0)] * 20, crs=4326)
    [legend] = compile_frame(cfl.Layer(frame, color_by="name", k=20), frame, "light", {})[0].legends
    assert [item["label"] for item in legend["items"]] == list(frame["name"])
    colors = {item["color"] for item in legend["items"]}
    assert len(colors) == 20
    assert all(np.ptp(ImageColor.getrgb(color)) > 20 for color in colors)  # not gray, as other values are
