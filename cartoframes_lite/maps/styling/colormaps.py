"""Colormaps by name, or of a list of colors: the colors of classes, categories and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import cmap

Nature = Literal["sequential", "diverging", "qualitative"]

_REVERSED = "_r"
_SAMPLES = 64
_EXAMPLES = "Examples are 'Teal', 'YlGnBu' and 'viridis'."
_NATURES: dict[str, Nature] = {"diverging": "diverging", "qualitative": "qualitative"}
_SUGGESTED = ("colorbrewer", "bids", "matplotlib", "tableau")  # collections of the package cmap
_NUMBERED = ("Set1", "Set2", "Set3", "Pastel1", "Pastel2", "Dark2", "tab10", "tab20", "jet", "turbo", "cividis")


@dataclass(frozen=True, slots=True)
class Colormap:
    """Colors, to be divided among classes.

    Attributes
    ----------
    colors : tuple of str
        Hexadecimal, "#rrggbb"; evenly spaced, unless the map is qualitative.
    nature : {"sequential", "diverging", "qualitative"}
    designed : mapping of int to tuple of str
        Colors that the authors chose for a number of classes.
    """

    colors: tuple[str, ...]
    nature: Nature
    designed: dict[int, tuple[str, ...]]

    def classes(self, n: int) -> tuple[str, ...]:
        """Return the colors of ``n`` classes, from the smallest values to the largest."""
        if n in self.designed:
            return self.designed[n]
        if n == 1:  # visible on every basemap: neither of the ends
            return (self.at(0.75 if self.nature == "sequential" else 0),)
        if self.nature == "qualitative" and n <= len(self.colors):
            return self.colors[:n]
        return tuple(self.at(place / (n - 1)) for place in range(n))

    def categories(self, n: int) -> tuple[str, ...]:
        """Return the colors of at most ``n`` categories; fewer if the map has fewer."""
        return self.colors[:n] if self.nature == "qualitative" else self.classes(n)

    def at(self, fraction: float) -> str:
        """Return the color at a fraction of the way from the first to the last, interpolated linearly."""
        place = fraction * (len(self.colors) - 1)
        lower = min(int(place), len(self.colors) - 1)
        upper = min(lower + 1, len(self.colors) - 1)
        return _mix(self.colors[lower], self.colors[upper], place - lower)

    def reversed(self) -> Colormap:
        """Return the map from the last color to the first."""
        designed = {n: colors[::-1] for n, colors in self.designed.items()}
        return Colormap(self.colors[::-1], self.nature, designed)


def of_colors(colors: Sequence[str], nature: Nature = "sequential") -> Colormap:
    """Return a map of hexadecimal colors."""
    return Colormap(tuple(colors), nature, {})


def resolve(value: str | Sequence[str] | Callable[[float], Sequence[float]]) -> Colormap:
    """Return the colormap of a name, of a list of CSS colors, or of a function such as a colormap of matplotlib.

    Raises
    ------
    ValueError
        If there is no such colormap or color.
    """
    if isinstance(value, str):
        return _named(value)
    if callable(value):
        return of_colors([_rgb_text(value(place / _SAMPLES)) for place in range(_SAMPLES + 1)])
    colors = tuple(hexadecimal(color) for color in value)
    if not colors:
        raise ValueError("cmap is an empty list: pass at least one color, or the name of a colormap")
    return Colormap(colors, "sequential", {len(colors): colors})


def colormap_names() -> list[str]:
    """Return the names of CARTOColors, ColorBrewer and matplotlib, without the reversed ones."""
    import cmap

    keys = (key.partition(":") for key in cmap.Colormap.catalog().namespaced_keys())
    others = {name for collection, _, name in keys if collection in _SUGGESTED and not name[-1:].isdigit()}
    return sorted({name.rpartition("_")[0] for name in _carto_schemes()} | others | set(_NUMBERED), key=str.lower)


def _named(name: str) -> Colormap:
    """Return a colormap by its name in any case, reversed if it ends with ``_r``."""
    found = _carto(_plain(name)) or _of_catalog(name)
    if found is not None:
        return found
    if name.lower().endswith(_REVERSED):
        forward = name[: -len(_REVERSED)]
        found = _carto(_plain(forward)) or _of_catalog(forward)
        if found is not None:
            return found.reversed()
    suffix = _REVERSED if name.lower().endswith(_REVERSED) else ""
    names = {_plain(one): one for one in colormap_names()}
    similar = get_close_matches(_plain(name[: len(name) - len(suffix)]), names, n=1, cutoff=0.5)
    hint = f"Did you mean {names[similar[0]] + suffix!r}?" if similar else _EXAMPLES
    raise ValueError(f"unknown colormap {name!r}. {hint}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


@cache
def _carto_schemes() -> dict[str, tuple[Nature, tuple[str, ...]]]:
    """Return the schemes of CARTOColors by name and number of colors, such as "Teal_5"."""
    from palettable.cartocolors import diverging, qualitative, sequential

    modules: tuple[tuple[Nature, object], ...] = (
        ("sequential", sequential),
        ("diverging", diverging),
        ("qualitative", qualitative),
    )
    return {
        name: (nature, tuple(color.lower() for color in scheme.hex_colors))
        for nature, module in modules
        for name, scheme in vars(module).items()
        if hasattr(scheme, "hex_colors") and not name.endswith(_REVERSED)
    }


@cache
def _carto(plain: str) -> Colormap | None:
    """Return a colormap of CARTOColors; None if there is none of this name."""
    schemes = {
        int(name.rpartition("_")[2]): scheme
        for name, scheme in _carto_schemes().items()
        if _plain(name.rpartition("_")[0]) == plain
    }
    if not schemes:
        return None
    nature, colors = schemes[max(schemes)]
    designed = {} if nature == "qualitative" else {n: scheme[1] for n, scheme in schemes.items()}
    return Colormap(colors, nature, designed)


@cache
def _of_catalog(name: str) -> Colormap | None:
    """Return a colormap of ColorBrewer, matplotlib, or another collection of the package ``cmap``."""
    import cmap

    catalog = cmap.Colormap.catalog()
    for collection in ("colorbrewer:", "matplotlib:", ""):
        with suppress(KeyError):
            key = catalog.resolve(f"{collection}{name}")
            break
    else:
        return None
    found = cmap.Colormap(key)
    nature = _NATURES.get(found.category or "", "sequential")
    if nature == "qualitative" or found.interpolation == "nearest":
        return Colormap(_stops(found), nature, {})
    designed = {}
    if key.startswith("colorbrewer:"):
        for n in range(3, 12):
            with suppress(KeyError):
                designed[n] = _stops(cmap.Colormap(catalog.resolve(f"{key}_{n}")))
    return Colormap(tuple(_rgb_text(found(place / _SAMPLES)) for place in range(_SAMPLES + 1)), nature, designed)


def _stops(found: cmap.Colormap) -> tuple[str, ...]:
    """Return the colors that a colormap is defined by."""
    return tuple(_rgb_text(stop.color) for stop in found.color_stops)


def hexadecimal(color: str) -> str:
    """Return a CSS color as "#rrggbb"."""
    import cmap

    try:
        return _rgb_text(cmap.Color(color))
    except (ValueError, TypeError):
        raise ValueError(f"unknown color {color!r}: use a CSS color such as 'teal' or '#008080'") from None


def _rgb_text(color: Iterable[float]) -> str:
    """Return red, green and blue from 0 to 1 as "#rrggbb"."""
    red, green, blue, *_ = color
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _mix(low: str, high: str, share: float) -> str:
    """Return a color between two, as "#rrggbb"."""
    pairs = [(int(low[place : place + 2], 16), int(high[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in pairs)
