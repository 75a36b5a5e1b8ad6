"""Classification: the classes of the values of a column, their colors and their legend."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd

from cartoframes_lite.maps.styling.colormaps import Colormap, of_colors, resolve
from cartoframes_lite.maps.styling.kinds import check_kind
from cartoframes_lite.maps.styling.labels import integer_ranges, number_labels, number_ranges
from cartoframes_lite.maps.styling.legend import Legend, LegendItem, LegendKind
from cartoframes_lite.maps.styling.options import LayerOptions, Scheme
from cartoframes_lite.maps.styling.schemes import (
    Breaks,
    between,
    centered_breaks,
    crosses_zero,
    scheme_breaks,
    user_breaks,
    within,
)
from cartoframes_lite.maps.styling.statistics import ColumnKind, ColumnStatistics
from cartoframes_lite.maps.styling.themes import Theme, theme_colors
from cartoframes_lite.maps.styling.times import time_classes, time_labels, time_ranges

OTHER, NO_DATA = "other", "no data"

_CLASSES = 5
_TIME_CLASSES = 7
_CATEGORIES = 8
_MANY_CATEGORIES = "tab20"  # has as many colors as there can be classes
_GRAYS = {"#7f7f7f": "#393b79", "#c7c7c7": "#e6ab02"}  # of it, and what replaces them: values that are "other" are gray
_STEPS = 32  # of a gradient
_STOPS = 9  # colors of the legend of a gradient


@dataclass(frozen=True, slots=True)
class Classification:
    """The classes of a column, from the smallest values to the largest, or its categories.

    Attributes
    ----------
    column : str
    kind : {"integer", "number", "boolean", "date", "datetime", "text"}
        What the values are. Dates and times are compared as seconds since 1970-01-01 UTC.
    limits : tuple of float
        Upper limit of each class but the last, which belongs to the class; the last class has all larger values.
    texts, numbers : tuple or None
        Values of the categories, as text or as numbers. None: the values are not compared this way.
    colors : tuple of str
        Of the classes or categories, then of other values, and then of rows without a finite value.
    legend : Legend
    """

    column: str
    kind: ColumnKind
    limits: tuple[float, ...]
    texts: tuple[str, ...] | None
    numbers: tuple[float, ...] | None
    colors: tuple[str, ...]
    legend: Legend

    @property
    def other(self) -> int:
        """Index of the color of values that are not in any category."""
        return len(self.colors) - 2

    @property
    def no_data(self) -> int:
        """Index of the color of rows without a finite value."""
        return len(self.colors) - 1


def classify(statistics: ColumnStatistics, options: LayerOptions, theme: Theme = "light") -> Classification:
    """Divide the values of ``color_by`` into classes by the words of the layer.

    Raises
    ------
    ValueError
        If the scheme does not fit the type of the values, or the colormap is unknown.
    """
    check_kind(options, "color_by", statistics.kind)
    return _Classifier(statistics, options, theme).classification()


class _Classifier:
    """Make a classification of statistics, words and a theme."""

    def __init__(self, statistics: ColumnStatistics, options: LayerOptions, theme: Theme) -> None:
        self._statistics, self._options = statistics, options
        self._summary = statistics.summary
        self._theme = theme_colors(theme)
        self._title = options["legend"] if isinstance(options["legend"], str) else statistics.name
        self._cmap = None if options["cmap"] is None else resolve(options["cmap"])
        self._k = options["k"] if isinstance(options["k"], int) else None

    def classification(self) -> Classification:
        """Return the classification."""
        scheme = self._scheme()
        if scheme == "categories":
            return self._categories()
        if not self._summary.count:
            return self._numeric((), (), (), "classes")
        if scheme == "continuous":
            return self._continuous()
        if scheme is None:
            return self._times() if self._is_time else self._default_classes()
        breaks = self._breaks(scheme)
        colormap = self._cmap or self._theme.sequential
        return self._numeric(breaks.tops[:-1], colormap.classes(len(breaks.tops)), self._labels(breaks), "classes")

    @property
    def _is_time(self) -> bool:
        return self._statistics.kind in ("date", "datetime")

    @property
    def _is_centered(self) -> bool:
        """Whether each side of zero has colors of its own."""
        is_diverging = self._cmap is None or self._cmap.nature == "diverging"
        return is_diverging and not self._is_time and crosses_zero(self._summary.minimum, self._summary.maximum)

    def _scheme(self) -> Scheme | None:
        """Return the scheme that was asked for, or that fits the values; None for a default of its own."""
        scheme = cast("Scheme | None", self._options["scheme"])
        kind = self._statistics.kind
        if kind in ("text", "boolean"):
            return "categories"
        if scheme is None and (self._options["vmin"] is not None or self._options["vmax"] is not None):
            return "continuous"
        if scheme is None and kind == "integer" and self._k is None and self._summary.distinct <= _CATEGORIES:
            return "categories"
        return scheme

    def _breaks(self, scheme: Scheme) -> Breaks:
        if scheme == "user_defined":
            tops = [_number(value) for value in cast("Sequence[object]", self._options["k"])]
            return user_breaks(tops, self._summary.minimum, self._summary.maximum)
        return scheme_breaks(self._statistics, scheme, self._k or _CLASSES, self._range())

    def _range(self) -> tuple[float | None, float | None]:
        """Return ``vmin`` and ``vmax`` as numbers."""
        vmin, vmax = self._options["vmin"], self._options["vmax"]
        return (
            None if vmin is None else _number(vmin),
            None if vmax is None else _number(vmax),
        )

    def _default_classes(self) -> Classification:
        """Return quantiles; of values on both sides of zero, classes with a color of their own for each side."""
        minimum, maximum = self._summary.minimum, self._summary.maximum
        k = self._k or min(_CLASSES, self._summary.distinct)
        if self._is_centered:
            tops = centered_breaks(self._statistics, self._k or _CLASSES)
            colors = (self._cmap or self._theme.diverging).classes(len(tops) + 1)
            places = [place for place, top in enumerate(tops) if minimum <= top < maximum]
            breaks = within(tops, minimum, maximum)
            first = places[0] if places else 0
            used = colors[first : first + len(breaks.tops)]
            return self._numeric(breaks.tops[:-1], used, self._labels(breaks), "classes")
        breaks = scheme_breaks(self._statistics, "quantiles", k)
        colors = (self._cmap or self._theme.sequential).classes(len(breaks.tops))
        return self._numeric(breaks.tops[:-1], colors, self._labels(breaks), "classes")

    def _times(self) -> Classification:
        """Return classes of calendar units."""
        classes = time_classes(self._summary.minimum, self._summary.maximum, self._k or _TIME_CLASSES)
        colors = (self._cmap or self._theme.sequential).classes(len(classes.labels))
        return self._numeric(classes.limits, colors, classes.labels, "classes")

    def _continuous(self) -> Classification:
        """Return many classes of the same width, whose colors are a gradient."""
        low, high = self._range()
        summary, colormap = self._summary, self._cmap or self._theme.sequential
        if low is None and high is None and self._is_centered:
            high = max(-summary.minimum, summary.maximum)
            low, colormap = -high, self._cmap or self._theme.diverging
        low = summary.minimum if low is None else low
        high = summary.maximum if high is None else high
        if low > high:
            raise ValueError(f"vmin and vmax leave no values: the colors would range from {low:g} to {high:g}")
        middle = between(low, high, 0.5)
        values = [low, middle, high] if low < high else [low]
        limits = [between(low, high, part / _STEPS) for part in range(1, _STEPS)] if low < high else []
        gradient = Legend(
            self._title,
            (),
            "continuous",
            tuple(colormap.at(stop / (_STOPS - 1)) for stop in range(_STOPS)),
            tuple(time_labels(values) if self._is_time else number_labels(values)),
        )
        colors = tuple(colormap.at((step + 0.5) / (len(limits) + 1)) for step in range(len(limits) + 1))
        return self._numeric(tuple(limits), colors, (), "continuous", gradient)

    def _categories(self) -> Classification:
        """Return the most frequent values."""
        statistics, kind = self._statistics, self._statistics.kind
        colormap = self._cmap or (self._theme.boolean if kind == "boolean" else self._theme.qualitative)
        if self._cmap is None and (self._k or 0) > len(colormap.colors) and kind != "boolean":
            many = resolve(_MANY_CATEGORIES)
            colormap = of_colors([_GRAYS.get(color, color) for color in many.colors], many.nature)
        most = self._k or (len(colormap.colors) if colormap.nature == "qualitative" else _CATEGORIES)
        most = len(colormap.categories(most))
        texts, numbers = None, None
        if kind in ("text", "boolean", "integer"):
            frequent = statistics.frequent_texts(most)
            values = [text for text, _ in frequent]
            if kind != "text":
                values.sort(key=int if kind == "integer" else str)
            texts, labels = tuple(values), values
            counted = sum(count for _, count in frequent)
        else:
            counts = statistics.frequent_numbers(most)
            numbers = tuple(sorted(number for number, _ in counts))
            labels = time_labels(numbers) if self._is_time else [f"{number:,.10g}" for number in numbers]
            counted = sum(count for _, count in counts)
        colors = _category_colors(colormap, texts or numbers or (), kind)
        items = self._items(colors, labels, has_other=counted < self._summary.count)
        legend = Legend(self._title, items, "categories")
        return Classification(statistics.name, kind, (), texts, numbers, (*colors, *self._grays), legend)

    def _numeric(
        self,
        limits: Sequence[float],
        colors: Sequence[str],
        labels: Sequence[str],
        kind: LegendKind,
        gradient: Legend | None = None,
    ) -> Classification:
        """Return a classification of numbers or times."""
        items = self._items(colors if labels else (), labels, has_other=False)
        legend = Legend(self._title, items, kind)
        if gradient is not None:
            legend = Legend(self._title, items, kind, gradient.colors, gradient.limits)
        name, column_kind = self._statistics.name, self._statistics.kind
        return Classification(name, column_kind, tuple(limits), None, None, (*colors, *self._grays), legend)

    @property
    def _grays(self) -> tuple[str, str]:
        return self._theme.other, self._theme.no_data

    def _items(self, colors: Sequence[str], labels: Sequence[str], *, has_other: bool) -> tuple[LegendItem, ...]:
        """Return the entries of a legend, with those for other and missing values if there are any."""
        items = [LegendItem(color, label, self._title) for color, label in zip(colors, labels, strict=True)]
        if has_other:
            items.append(LegendItem(self._theme.other, OTHER, self._title))
        if self._summary.missing:
            items.append(LegendItem(self._theme.no_data, NO_DATA, self._title))
        return tuple(items)

    def _labels(self, breaks: Breaks) -> list[str]:
        """Return the labels of classes; those at the ends say if they have values beyond."""
        edges = (breaks.low, *breaks.tops)
        if self._is_time:
            labels, ends = time_ranges(edges), time_labels(edges)
        elif self._statistics.kind == "integer":
            labels, ends = integer_ranges(edges), number_labels(edges)
        else:
            labels, ends = number_ranges(edges), number_labels(edges)
        minimum, low, top = self._summary.minimum, breaks.low, breaks.tops[0]
        if len(breaks.tops) > 1 and (minimum < low or low == top < minimum):
            labels[0] = f"up to {ends[1]}"
        if len(breaks.tops) > 1 and self._summary.maximum > breaks.tops[-1]:
            labels[-1] = f"more than {ends[-2]}"
        return labels


def _number(value: object) -> float:
    """Return a limit as the number that values are compared with."""
    if not isinstance(value, datetime.date):
        return float(cast("float", value))
    time = pd.Timestamp(value)
    return (time.tz_localize("UTC") if time.tz is None else time).timestamp()


def _category_colors(colormap: Colormap, values: Sequence[object], kind: ColumnKind) -> tuple[str, ...]:
    """Return the colors of categories; those of booleans do not depend on which of them occur."""
    if kind != "boolean":
        return colormap.categories(len(values))
    both = colormap.categories(2)
    return tuple(both[min(value == "true", len(both) - 1)] for value in values)
