"""Legend: what the colors and sizes of a layer mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LegendKind = Literal["classes", "categories", "continuous", "sizes"]


@dataclass(frozen=True, slots=True)
class LegendItem:
    """An entry of a legend: a color or size, and its label.

    Attributes
    ----------
    color : str
        CSS color.
    label : str
        A value, or a range of values.
    title : str
        The column.
    size_px : float, optional
        Width of the marker or line, in pixels. None: the entry has a color only.
    """

    color: str
    label: str
    title: str
    size_px: float | None = None


@dataclass(frozen=True, slots=True)
class Legend:
    """The legend of the colors or sizes of a layer.

    Attributes
    ----------
    title : str
    items : sequence of LegendItem
        Classes from the smallest to the largest, categories from the most frequent to the least; then "other" and
        "no data", if there are such rows. Of a continuous legend, only the latter.
    kind : {"classes", "categories", "continuous", "sizes"}
    colors : sequence of str
        Of a continuous legend: colors of a gradient from the smallest to the largest value, evenly spaced.
    limits : sequence of str
        Of a continuous legend: labels of the ends of the gradient, and of values between them, evenly spaced.
    """

    title: str
    items: Sequence[LegendItem]
    kind: LegendKind
    colors: Sequence[str] = ()
    limits: Sequence[str] = ()
