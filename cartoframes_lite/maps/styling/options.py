"""The words that style a layer: the keywords of ``Layer``, ``Dataset.map`` and the accessor, and their validation."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, TypedDict, cast

import numpy as np

from cartoframes_lite.maps.styling.colormaps import hexadecimal, resolve

Limit: TypeAlias = float | datetime.date
Columns: TypeAlias = bool | str | Sequence[str]
Scheme = Literal[
    "quantiles", "equal_interval", "natural_breaks", "std_mean", "user_defined", "continuous", "categories"
]
Aggregation = Literal["grid", "heatmap"]

SCHEMES: tuple[Scheme, ...] = (
    "quantiles",
    "equal_interval",
    "natural_breaks",
    "std_mean",
    "user_defined",
    "continuous",
    "categories",
)
_SPELLINGS: dict[str, Scheme] = {name.replace("_", ""): name for name in SCHEMES} | {
    "fisherjenks": "natural_breaks",
    "jenkscaspall": "natural_breaks",
    "stdmean": "std_mean",
    "categorical": "categories",
}
MAX_CLASSES = 20
_MAX_STROKE_PX = 50
_AGGREGATIONS: tuple[Aggregation, ...] = ("grid", "heatmap")


class LayerOptions(TypedDict, total=False):
    """Words that style a layer.

    Parameters
    ----------
    color_by : str, optional
        Column that determines the color. Rows without a value are gray.
    scheme : str, optional
        How the values of ``color_by`` are divided into classes: "quantiles", "equal_interval", "natural_breaks",
        "std_mean", "user_defined" (the limits are ``k``), "continuous" (a gradient) or "categories" (a color for each
        value; the remaining values are gray). mapclassify's names, such as "NaturalBreaks" or "FisherJenks", in any
        case. None: by the values: categories for text, booleans and few different integers, otherwise quantiles.
    k : int or sequence of float, optional
        Number of classes, or the largest number of categories; or the upper limits of the classes, as mapclassify's
        ``bins``. None: five classes, eight categories.
    cmap : str, sequence of str or callable, optional
        Colors: the name of a colormap of CARTOColors, ColorBrewer or matplotlib, reversed if it ends with ``_r``; a
        list of CSS colors; or a colormap of matplotlib. None: by the values and the basemap. Without ``color_by``, a
        list with the color of the layer.
    vmin, vmax : float or date, optional
        Limits of the colors, for the schemes "continuous" and "equal_interval"; values beyond them have the color of
        the limit. None: the smallest and the largest value.
    size_by : str, optional
        Numeric column that determines the size of points (their area is proportional to the value) and the width of
        lines. Rows without a value, and negative values, have the smallest size.
    opacity : float, optional
        From 0 (invisible) to 1. None: by the geometry type.
    stroke : bool, str, float or tuple of (str, float), default True
        Outline of points and polygons: a color, a width in pixels, or both. False or None: no outline.
    popup : bool, str or sequence of str, optional
        Columns that a click on a feature shows; True: all columns except geometries. None: the columns of
        ``interactivity``. Requires the column ``cartodb_id``.
    hover : bool, str or sequence of str, optional
        Columns that are shown when the pointer is over a feature. True: as ``popup``. None: ``color_by`` and
        ``size_by``, if the layer has a popup.
    legend : bool or str, default True
        Whether the map shows the legend of this layer; a text is its title. True: the title is the name of the column.
    title : str, optional
        Name of the layer on the map. None: the name of the table.
    interactivity : sequence of str
        Columns of the UTFGrids and attributes of the Maps API; ``popup`` and ``hover`` add their columns.
    aggregation : {"grid", "heatmap"} or False, optional
        How many points are drawn at small scales: "grid" draws one marker for the points of a cell, as large as their
        number; "heatmap" colors the cells by their number. False: every point. None: "grid" for more than 50,000
        points without ``color_by`` and ``size_by``.
    """

    color_by: str | None
    scheme: str | None
    k: int | Sequence[Limit] | None
    cmap: str | Sequence[str] | Callable[[float], Sequence[float]] | None
    vmin: Limit | None
    vmax: Limit | None
    size_by: str | None
    opacity: float | None
    stroke: bool | str | float | tuple[str, float] | None
    popup: Columns | None
    hover: Columns | None
    legend: bool | str
    title: str | None
    interactivity: Sequence[str]
    aggregation: Literal["grid", "heatmap", False] | None


LAYER_DEFAULTS = LayerOptions(
    color_by=None,
    scheme=None,
    k=None,
    cmap=None,
    vmin=None,
    vmax=None,
    size_by=None,
    opacity=None,
    stroke=True,
    popup=None,
    hover=None,
    legend=True,
    title=None,
    interactivity=(),
    aggregation=None,
)
_STYLE_WORDS = (
    "color_by",
    "scheme",
    "k",
    "cmap",
    "vmin",
    "vmax",
    "size_by",
    "opacity",
    "stroke",
    "aggregation",
)
_COLUMN_WORDS = ("color_by", "size_by", "popup", "hover", "interactivity")
_CLASS_WORDS = ("scheme", "k", "vmin", "vmax")


def check_options(options: LayerOptions, *, has_cartocss: bool) -> LayerOptions:
    """Return the words with the names of schemes normalized; raise ValueError or TypeError for invalid words."""
    values = cast("dict[str, Any]", options)
    styled = [name for name in _STYLE_WORDS if values[name] is not cast("dict[str, Any]", LAYER_DEFAULTS)[name]]
    if has_cartocss and styled:
        raise ValueError(f"pass either cartocss, or {' and '.join(styled)}, not both")
    for name in ("color_by", "size_by", "title"):
        if values[name] is not None and not isinstance(values[name], str):
            raise TypeError(f"{name} must be a str or None, not {values[name]!r}")
    alone = [name for name in _CLASS_WORDS if values[name] is not None]
    if options["color_by"] is None and alone:
        raise ValueError(
            f"{alone[0]}={values[alone[0]]!r} has no effect without color_by: pass the column of the colors"
        )
    checked = options.copy()
    checked["scheme"] = scheme = _check_scheme(options["scheme"], options["k"])
    checked["k"] = _check_classes(options["k"], scheme)
    _check_limits(options["vmin"], options["vmax"], scheme)
    if options["cmap"] is not None:
        resolve(options["cmap"])
    _check_opacity(options["opacity"])
    _check_stroke(options["stroke"])
    if not isinstance(options["legend"], bool | str):
        raise TypeError(f"legend must be True, False or a title, not {options['legend']!r}")
    if options["aggregation"] not in (None, False, *_AGGREGATIONS):
        raise ValueError(_unknown("aggregation", options["aggregation"], _AGGREGATIONS))
    checked["popup"] = _check_column_list("popup", options["popup"])
    checked["hover"] = _check_column_list("hover", options["hover"])
    if isinstance(options["interactivity"], str):
        raise TypeError(f"interactivity must be a sequence of column names, not the str {options['interactivity']!r}")
    checked["interactivity"] = _check_names("interactivity", options["interactivity"])
    return checked


def named_columns(options: LayerOptions) -> dict[str, tuple[str, ...]]:
    """Return the columns that the words name, by word."""
    named = {}
    for word in _COLUMN_WORDS:
        value = cast("dict[str, Any]", options)[word]
        if value is not None and not isinstance(value, bool):
            named[word] = (value,) if isinstance(value, str) else tuple(value)
    return named


def check_columns(options: LayerOptions, available: Iterable[str], source: str) -> None:
    """Raise ValueError if a word names a column that does not exist."""
    columns = list(available)
    for word, names in named_columns(options).items():
        for name in names:
            if name not in columns:
                raise ValueError(f"{word}={name!r}: {source} has no such column. {suggest(name, columns)}")


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return a sentence with the most similar choice, or else with all of them."""
    by_lower = {choice.lower(): choice for choice in choices}
    if similar := get_close_matches(name.lower(), by_lower, n=1):
        return f"Did you mean {by_lower[similar[0]]!r}?"
    return f"Choose one of {', '.join(map(repr, by_lower.values()))}." if by_lower else "It has none."


def _unknown(word: str, value: object, choices: Sequence[str]) -> str:
    return f"unknown {word} {value!r}. {suggest(str(value), choices)}"


def _check_scheme(scheme: object, k: object) -> Scheme | None:
    """Return our name of a scheme."""
    if scheme is None:
        return "user_defined" if k is not None and not isinstance(k, Integral) else None
    if not isinstance(scheme, str):
        raise TypeError(f"scheme must be a str or None, not {scheme!r}")
    found = _SPELLINGS.get(scheme.lower().replace("_", "").replace(" ", ""))
    if found is None:
        raise ValueError(_unknown("scheme", scheme, SCHEMES))
    return found


def _check_classes(k: Any, scheme: Scheme | None) -> int | tuple[Limit, ...] | None:
    """Return ``k``; raise unless it is a number of classes, or limits for the scheme "user_defined"."""
    if scheme == "user_defined":
        limits = None if isinstance(k, str | bytes | Mapping) or not isinstance(k, Iterable) else list(k)
        if not limits or not all(map(_is_limit, limits)) or len(limits) > MAX_CLASSES:
            raise ValueError(f"with scheme='user_defined', k must be a list of 1 to {MAX_CLASSES} limits, not {k!r}")
        if any(low >= high for low, high in pairwise(limits)):
            raise ValueError(f"the limits k must increase, which they do not in {k!r}")
        return tuple(limits)
    if k is not None and (isinstance(k, bool) or not isinstance(k, Integral) or not 2 <= int(k) <= MAX_CLASSES):
        raise ValueError(f"k must be a number of classes from 2 to {MAX_CLASSES}, or a list of limits, not {k!r}")
    return None if k is None else int(k)


def _is_limit(value: object) -> bool:
    if isinstance(value, datetime.date):
        return value == value  # not NaT
    return _is_number(value) and math.isfinite(cast("Real", value))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _check_limits(vmin: Any, vmax: Any, scheme: Scheme | None) -> None:
    for name, value in (("vmin", vmin), ("vmax", vmax)):
        if value is not None and not _is_limit(value):
            raise ValueError(f"{name} must be a finite number or a date, not {value!r}")
        if value is not None and scheme not in (None, "continuous", "equal_interval"):
            raise ValueError(f"{name} has no effect with scheme={scheme!r}; use 'continuous' or 'equal_interval'")
    if vmin is not None and vmax is not None:
        if isinstance(vmin, datetime.date) is not isinstance(vmax, datetime.date):
            raise ValueError(f"vmin and vmax must be of the same type, not {vmin!r} and {vmax!r}")
        if not vmin < vmax:
            raise ValueError(f"vmin must be less than vmax, not {vmin!r} and {vmax!r}")


def _check_opacity(opacity: Any) -> None:
    if opacity is not None and not (_is_number(opacity) and 0 <= opacity <= 1):
        raise ValueError(f"opacity must be a number from 0 to 1, not {opacity!r}")


def _check_stroke(stroke: Any) -> None:
    """Raise unless an outline is a bool, None, a color, a width, or a color and a width."""
    parts = stroke if isinstance(stroke, tuple | list) else (stroke,)
    for part in parts:
        is_width = _is_number(part) and 0 <= part <= _MAX_STROKE_PX
        if not (is_width or isinstance(part, str) or (len(parts) == 1 and part in (None, True, False))):
            raise ValueError(
                f"stroke must be a color, a width in pixels (at most {_MAX_STROKE_PX}), both, or False, not {stroke!r}"
            )
        if isinstance(part, str):
            hexadecimal(part)
    if len(parts) > 2 or (len(parts) == 2 and not (isinstance(parts[0], str) and isinstance(parts[1], Real))):
        raise ValueError(f"stroke must be a color and then a width, not {stroke!r}")


def _check_column_list(word: str, columns: Any) -> bool | tuple[str, ...] | None:
    """Return columns as a tuple; True, False and None unchanged."""
    if columns is None or isinstance(columns, bool):
        return columns
    return _check_names(word, (columns,) if isinstance(columns, str) else columns)


def _check_names(word: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, bytes) or not isinstance(names, Iterable):
        raise TypeError(f"{word} must be a sequence of column names, not {names!r}")
    listed = tuple(names)
    if wrong := [name for name in listed if not isinstance(name, str)]:
        raise TypeError(f"{word} must contain only names of columns, not {wrong[0]!r}")
    return listed
