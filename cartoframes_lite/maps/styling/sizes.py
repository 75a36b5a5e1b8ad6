"""Sizes of points and widths of lines by column."""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite.maps.styling.labels import nice_below, number_labels
from cartoframes_lite.maps.styling.legend import Legend, LegendItem
from cartoframes_lite.maps.styling.statistics import ColumnStatistics

POINT_PX = tuple(float(width) for width in range(4, 31, 2))
"""Widths of markers, from the smallest to that of the largest value."""

LINE_PX = tuple(round(1 + 9 * number / (len(POINT_PX) - 1), 2) for number in range(len(POINT_PX)))
"""Widths of lines, from the smallest to that of the largest value."""

_LEGEND_SHARES = (0.5, 0.15)  # of the largest value: the other sizes of the legend


@dataclass(frozen=True, slots=True)
class SizeClasses:
    """Classes of the values of a column that determine the size of points, or the width of lines.

    Attributes
    ----------
    column : str
    limits : tuple of float
        Upper limit of each class but the last, which belongs to the class. Missing values are in the first class.
    legend : Legend or None
        None if there are no positive values.
    """

    column: str
    limits: tuple[float, ...]
    legend: Legend | None


def size_classes(statistics: ColumnStatistics, color: str, *, is_line: bool, title: str | None = None) -> SizeClasses:
    """Divide numbers into classes: the area of a marker is proportional to the value.

    Parameters
    ----------
    statistics : ColumnStatistics
    color : str
        Of the legend.
    is_line : bool
        Whether the legend shows widths of lines.
    title : str, optional
        Of the legend. None: the column. "": the legend has no title, because it continues that of the colors.
    """
    maximum = statistics.summary.maximum if statistics.summary.count else 0.0
    if maximum <= 0:
        return SizeClasses(statistics.name, (), None)
    limits = tuple(maximum * (width / POINT_PX[-1]) ** 2 for width in POINT_PX[:-1])
    shown = [maximum, *(nice_below(maximum * share) for share in _LEGEND_SHARES)]
    least = 1 if statistics.kind == "integer" else 0  # a fraction below 1 is no value of such a column
    values = sorted({value for value in shown if value > 0 and value >= least}, reverse=True)
    widths = LINE_PX if is_line else POINT_PX
    items = tuple(
        LegendItem(color, label, title or statistics.name, widths[sum(value > limit for limit in limits)])
        for value, label in zip(values, number_labels(values), strict=True)
    )
    heading = statistics.name if title is None else title
    return SizeClasses(statistics.name, limits, Legend(heading, items, "sizes"))
