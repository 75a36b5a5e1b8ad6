"""Figures of docs/styling.md: the colormaps, and the classes of one column by scheme."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import numpy as np
import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cartoframes_lite.maps.styling.classification import classify
from cartoframes_lite.maps.styling.colormaps import colormap_names, resolve
from cartoframes_lite.maps.styling.frame_classes import color_indexes
from cartoframes_lite.maps.styling.frame_statistics import FrameStatistics
from cartoframes_lite.maps.styling.options import LAYER_DEFAULTS, LayerOptions, check_options

_STEPS = 7
_BARS = 60
_SCHEMES: dict[str, LayerOptions] = {
    "quantiles": {"scheme": "quantiles"},
    "equal_interval": {"scheme": "equal_interval"},
    "natural_breaks": {"scheme": "natural_breaks"},
    "std_mean": {"scheme": "std_mean"},
    "user_defined, k=[20, 40, 80]": {"scheme": "user_defined", "k": [20, 40, 80]},
    "continuous": {"scheme": "continuous"},
}


def colormaps() -> str:
    """Return the colormaps by what they are for."""
    maps = {name: resolve(name) for name in colormap_names()}
    parts = []
    for nature in ("sequential", "diverging", "qualitative"):
        rows = [
            _strip(name, found.colors if nature == "qualitative" else found.classes(_STEPS))
            for name, found in maps.items()
            if found.nature == nature
        ]
        parts.append(f"<h3>{nature.capitalize()}</h3><div class='colormaps'>{''.join(rows)}</div>")
    return "".join(parts)


def _strip(name: str, colors: tuple[str, ...]) -> str:
    boxes = "".join(f'<i style="background:{color}"></i>' for color in colors)
    return f"<figure><div>{boxes}</div><figcaption>{escape(name)}</figcaption></figure>"


def schemes() -> str:
    """Return a histogram of a skewed column for each scheme, in the colors of its classes."""
    values = pd.Series(np.random.default_rng(1).lognormal(3.4, 0.6, 2000).clip(0, 150), name="value")
    counts, edges = np.histogram(values, _BARS)
    middles = pd.Series((edges[:-1] + edges[1:]) / 2)
    figures = []
    for label, words in _SCHEMES.items():
        options = check_options({**LAYER_DEFAULTS, "color_by": "value", "cmap": "Sunset", **words}, has_cartocss=False)
        classification = classify(FrameStatistics(values), options)
        colors = [classification.colors[index] for index in color_indexes(classification, middles)]
        bars = "".join(
            f'<rect x="{bar * 5}" y="{100 - 100 * count / counts.max():.1f}" width="4.4"'
            f' height="{100 * count / counts.max():.1f}" fill="{color}"/>'
            for bar, (count, color) in enumerate(zip(counts, colors, strict=True))
        )
        svg = f'<svg viewBox="0 0 {5 * _BARS} 100" role="img" aria-label="Histogram of the classes">{bars}</svg>'
        figures.append(f"<figure>{svg}<figcaption><code>{escape(label)}</code></figcaption></figure>")
    return f"<div class='schemes'>{''.join(figures)}</div>"


def _figure(write: Callable[[], str]) -> type[SphinxDirective]:
    """Return a directive that is replaced by HTML."""

    class Figure(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            return [nodes.raw("", write(), format="html")]

    return Figure


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("colormaps", _figure(colormaps))
    app.add_directive("schemes", _figure(schemes))
    return {"parallel_read_safe": True}
