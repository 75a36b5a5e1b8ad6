"""The colors of layers without words, on light and dark basemaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cartoframes_lite.maps.styling.colormaps import Colormap, of_colors, resolve
from cartoframes_lite.maps.styling.options import LayerOptions

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class ThemeColors:
    """Default colors of a basemap.

    Attributes
    ----------
    color : str
        Of a layer without ``color_by``.
    stroke : str
        Of outlines.
    other, no_data : str
        Grays of categories beyond the largest ones, and of rows without a value.
    size : str
        Of the legend of sizes, if the color has a meaning of its own.
    sequential, diverging, qualitative : Colormap
        The largest values are the most visible ones.
    boolean : Colormap
        False, then true.
    count, heat : Colormap
        Numbers of points, from few to many; the color of few is as visible as that of the layer.
    """

    color: str
    stroke: str
    other: str
    no_data: str
    size: str
    sequential: Colormap
    diverging: Colormap
    qualitative: Colormap
    boolean: Colormap
    count: Colormap
    heat: Colormap


_LIGHT = ThemeColors(
    color="#2a6f97",
    stroke="#ffffff",
    other="#8f959b",
    no_data="#c3c7cb",
    size="#8f959b",
    sequential=of_colors(("#cfe8df", "#a0d2ca", "#6db7b8", "#4299a6", "#257a90", "#125a78", "#0b3a5b")),
    diverging=of_colors(("#0b5d66", "#3f938f", "#94c4b6", "#f1e6c6", "#e6b07c", "#cf7038", "#983515"), "diverging"),
    qualitative=of_colors(
        ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08214", "#5e4fa2"), "qualitative"
    ),
    boolean=of_colors(("#e08b4c", "#21788a"), "qualitative"),
    count=of_colors(("#5b9fc4", "#3d86b0", "#2a6f97", "#1b5076", "#0c2c4b")),
    heat=of_colors(("#fbe3b5", "#f6b26b", "#e9743f", "#c43b3a", "#861b3f", "#4d0c38")),
)
_DARK = ThemeColors(
    color="#4cc3e0",
    stroke="#10161c",
    other="#858b91",
    no_data="#53595f",
    size="#858b91",
    sequential=of_colors(("#24505f", "#256f78", "#319289", "#56b491", "#93d38d", "#d5ec86", "#fcfdbf")),
    diverging=of_colors(("#7df0e0", "#4bbdb6", "#42878c", "#857f6f", "#a8794f", "#df9d4c", "#ffd07a"), "diverging"),
    qualitative=of_colors(
        ("#5fa8e8", "#ff7f8e", "#5ccf6e", "#f2d648", "#7be3f5", "#e07fc0", "#ffa24a", "#a996ff"), "qualitative"
    ),
    boolean=of_colors(("#ffa05c", "#46c8d8"), "qualitative"),
    count=of_colors(("#3193b5", "#4cc3e0", "#86dcea", "#bff0f4", "#ffffff")),
    heat=of_colors(("#43225f", "#7d2a6b", "#b83a5f", "#e7603f", "#fb9d3a", "#fcf0a0")),
)


def theme_colors(theme: Theme) -> ThemeColors:
    """Return the default colors of a theme."""
    return _DARK if theme == "dark" else _LIGHT


def layer_color(options: LayerOptions, theme: Theme) -> str:
    """Return the color of a layer without ``color_by``: the first of ``cmap``, or that of the theme."""
    return theme_colors(theme).color if options["cmap"] is None else resolve(options["cmap"]).classes(1)[0]
