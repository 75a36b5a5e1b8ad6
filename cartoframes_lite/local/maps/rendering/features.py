"""Rows of a layer as Mapnik's features, sorted into the cases that a style tells apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cartoframes_lite.local.maps.cartocss import COLOR, Definition, Style, fields
from cartoframes_lite.local.maps.mapnik_library import expression, mapnik
from cartoframes_lite.local.maps.rendering.mapnik_xml import CASE

Box = tuple[float, float, float, float]
"""West, south, east, north."""

Row = tuple[bytes | None, Mapping[str, object]]
"""A geometry as WKB in EPSG:3857 (without the SRID of EWKB) and the attributes."""

_LONGEST: Final = 2**63
_MOST_CASES: Final = 50_000  # definitions of all cases together
_MOST_SECONDS: Final = 20.0
_MOST_CHARACTERS: Final = 1000  # of a label: megabytes would keep Mapnik busy for minutes
_UNSEEN: Final = "rgba(0, 0, 0, 0)"


@dataclass(frozen=True, slots=True)
class RenderedLayer:
    """A layer to draw.

    Attributes
    ----------
    style : Style
        What it looks like.
    rows : callable
        Gives the rows that touch a box in EPSG:3857, with at least the attributes in `style.columns`.
    """

    style: Style
    rows: Callable[[Box], Iterable[Row]]


@dataclass(slots=True)
class SortedFeatures:
    """Features, and the definitions of each case."""

    source: mapnik.MemoryDatasource = field(default_factory=mapnik.MemoryDatasource)
    cases: list[tuple[Definition, ...]] = field(default_factory=list)
    attributes: dict[int, Mapping[str, object]] = field(default_factory=dict)


def sort_rows(style: Style, rows: Iterable[Row], *, key: str | None = None) -> SortedFeatures:
    """Make features of rows; those that nothing is drawn for are left out, and so are those without geometry.

    Parameters
    ----------
    style : Style
        At one zoom.
    rows : iterable of Row
    key : str, optional
        The attribute that numbers the features and by which their attributes are kept.
    """
    names = sorted(style.attributes)
    context = mapnik.Context()
    for name in (*names, CASE):
        context.push(name)
    sorted_ = SortedFeatures()
    finder = _Cases(style.definitions, sorted_.cases)
    given_up = time.monotonic() + _MOST_SECONDS
    for number, (wkb, attributes) in enumerate(rows, 1):
        if time.monotonic() > given_up:
            raise RenderTimeout(f"the filters of {number} rows took more than {_MOST_SECONDS:g} s")
        geometry = _geometry(wkb)
        if geometry is None:
            continue
        identifier = attributes.get(key) if key else number
        feature = mapnik.Feature(context, identifier if isinstance(identifier, int) else number)
        feature.geometry = geometry
        for name in names:
            feature[name] = _attribute(attributes, name)
        case = finder.of(feature)
        if case is None:
            continue
        feature[CASE] = case
        sorted_.source.add_feature(feature)
        if key:
            sorted_.attributes[feature.id()] = attributes
    return sorted_


class RenderingError(ValueError):
    """A style that could be read but not drawn: an expression gave what Mapnik cannot take."""


class RenderTimeout(RenderingError):
    """A picture takes too long."""


class _Cases:
    """Finds which definitions apply to a feature, and numbers the combinations that occur."""

    def __init__(self, definitions: Sequence[Definition], cases: list[tuple[Definition, ...]]) -> None:
        self._definitions = definitions
        self._cases = cases
        self._filters = [
            expression(" and ".join(f"({text})" for text in one.filters)) for one in definitions if one.filters
        ]
        texts = [text for one in definitions for text in one.filters]
        self._columns = sorted({name for text in texts for name in fields(text)})
        self._by_geometry = any("mapnik::" in text for text in texts)
        self._known: dict[tuple[object, ...], int | None] = {}
        self._numbers: dict[tuple[int, ...], int] = {}
        self._size = 0

    def of(self, feature: mapnik.Feature) -> int | None:
        """Return the number of a feature's case, None if nothing applies to it."""
        # 1, 1.0 and True are one key of a dictionary, but not one value to Mapnik.
        values = [feature[name] for name in self._columns]
        key = (*values, *map(type, values), feature.geometry.type() if self._by_geometry else None)
        if key not in self._known:
            self._known[key] = self._number(feature)
        return self._known[key]

    def _number(self, feature: mapnik.Feature) -> int | None:
        filters = iter(self._filters)
        try:
            applying = tuple(
                place
                for place, one in enumerate(self._definitions)
                if not one.filters or bool(next(filters).evaluate(feature))
            )
        except RuntimeError as error:  # a regular expression that takes too many steps
            raise RenderingError(str(error)) from error
        if not applying:
            return None
        if applying not in self._numbers:
            self._size += len(applying)
            if self._size > _MOST_CASES:
                raise RenderingError("the filters of the style tell too many cases apart")
            self._numbers[applying] = len(self._cases)
            self._cases.append(tuple(self._definitions[place] for place in applying))
        return self._numbers[applying]


def _geometry(wkb: bytes | None) -> mapnik.Geometry | None:
    """Return a geometry, None if there is none or it cannot be read."""
    if wkb is None:
        return None
    try:
        geometry = mapnik.Geometry.from_wkb(wkb)
    except RuntimeError:
        return None
    return None if geometry.is_empty() else geometry


def _attribute(attributes: Mapping[str, object], name: str) -> str | float | None:
    """Return the value of an attribute of a style."""
    if not name.startswith(COLOR):
        return _plain(attributes.get(name))
    color = str(attributes.get(name.removeprefix(COLOR)))
    return color if _is_color(color) else _UNSEEN


@lru_cache(maxsize=1024)
def _is_color(text: str) -> bool:
    """Whether Mapnik can read a text as a color."""
    try:
        mapnik.Color(text)
    except RuntimeError:
        return False
    return True


def _plain(value: object) -> str | float | None:
    """Return a value as one of the types that Mapnik computes with."""
    if isinstance(value, str):
        return value[:_MOST_CHARACTERS]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_LONGEST <= value < _LONGEST else float(value)
    return str(value) if not hasattr(value, "as_integer_ratio") else float(str(value))
