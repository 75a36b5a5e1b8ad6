"""Conversion of rows to Mapnik features, grouped by the combination of definitions that apply to them."""

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

_INT64_LIMIT: Final = 2**63
_MAX_CASE_DEFINITIONS: Final = 50_000  # total of all cases
_MAX_SECONDS: Final = 20.0
_MAX_LABEL_CHARACTERS: Final = 1000  # of a label; Mapnik takes minutes for megabytes
_TRANSPARENT: Final = "rgba(0, 0, 0, 0)"


@dataclass(frozen=True, slots=True)
class RenderedLayer:
    """A layer to draw.

    Attributes
    ----------
    style : Style
        Style of the layer.
    rows : callable
        Returns the rows that intersect a box in EPSG:3857, with at least the attributes in `style.columns`.
    """

    style: Style
    rows: Callable[[Box], Iterable[Row]]


@dataclass(slots=True)
class CaseFeatures:
    """Features, and the definitions of each case (a combination of definitions)."""

    source: mapnik.MemoryDatasource = field(default_factory=mapnik.MemoryDatasource)
    cases: list[tuple[Definition, ...]] = field(default_factory=list)
    attributes: dict[int, Mapping[str, object]] = field(default_factory=dict)


def build_features(style: Style, rows: Iterable[Row], *, key: str | None = None) -> CaseFeatures:
    """Convert rows to features; rows without geometry or without applicable definitions are omitted.

    Parameters
    ----------
    style : Style
        Style at one zoom.
    rows : iterable of Row
    key : str, optional
        Attribute that becomes the id of the features; their attributes are then kept by id.
    """
    names = sorted(style.attributes)
    context = mapnik.Context()
    for name in (*names, CASE):
        context.push(name)
    features = CaseFeatures()
    case_finder = _CaseFinder(style.definitions, features.cases)
    deadline_s = time.monotonic() + _MAX_SECONDS
    for number, (wkb, attributes) in enumerate(rows, 1):
        if time.monotonic() > deadline_s:
            raise RenderTimeout(f"the filters of {number} rows took more than {_MAX_SECONDS:g} s")
        geometry = _geometry(wkb)
        if geometry is None:
            continue
        identifier = attributes.get(key) if key else number
        feature = mapnik.Feature(context, identifier if isinstance(identifier, int) else number)
        feature.geometry = geometry
        for name in names:
            feature[name] = _attribute(attributes, name)
        case = case_finder.of(feature)
        if case is None:
            continue
        feature[CASE] = case
        features.source.add_feature(feature)
        if key:
            features.attributes[feature.id()] = attributes
    return features


class RenderingError(ValueError):
    """Mapnik cannot render a style, for example because of the value of an expression."""


class RenderTimeout(RenderingError):
    """Rendering takes too long."""


class _CaseFinder:
    """Number the combinations of definitions that apply to features."""

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
        """Return the case of a feature; None if no definition applies."""
        # 1, 1.0 and True are equal as keys of a dict, but different values in Mapnik.
        values = [feature[name] for name in self._columns]
        key = (*values, *map(type, values), feature.geometry.type() if self._by_geometry else None)
        if key not in self._known:
            self._known[key] = self._find(feature)
        return self._known[key]

    def _find(self, feature: mapnik.Feature) -> int | None:
        filters = iter(self._filters)
        try:
            applying = tuple(
                index
                for index, one in enumerate(self._definitions)
                if not one.filters or bool(next(filters).evaluate(feature))
            )
        except RuntimeError as error:  # a regular expression that takes too many steps
            raise RenderingError(str(error)) from error
        if not applying:
            return None
        if applying not in self._numbers:
            self._size += len(applying)
            if self._size > _MAX_CASE_DEFINITIONS:
                raise RenderingError("the rows match too many different combinations of the filters of the style")
            self._numbers[applying] = len(self._cases)
            self._cases.append(tuple(self._definitions[index] for index in applying))
        return self._numbers[applying]


def _geometry(wkb: bytes | None) -> mapnik.Geometry | None:
    """Parse a geometry; None if it is missing, empty or invalid."""
    if wkb is None:
        return None
    try:
        geometry = mapnik.Geometry.from_wkb(wkb)
    except RuntimeError:
        return None
    return None if geometry.is_empty() else geometry


def _attribute(attributes: Mapping[str, object], name: str) -> str | float | None:
    """Return the value of an attribute that a style uses."""
    if not name.startswith(COLOR):
        return _mapnik_value(attributes.get(name))
    color = str(attributes.get(name.removeprefix(COLOR)))
    return color if _is_color(color) else _TRANSPARENT


@lru_cache(maxsize=1024)
def _is_color(text: str) -> bool:
    """Return whether Mapnik can parse a text as a color."""
    try:
        mapnik.Color(text)
    except RuntimeError:
        return False
    return True


def _mapnik_value(value: object) -> str | float | None:
    """Convert a value to a type that Mapnik supports."""
    if isinstance(value, str):
        return value[:_MAX_LABEL_CHARACTERS]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -_INT64_LIMIT <= value < _INT64_LIMIT else float(value)
    return str(value) if not hasattr(value, "as_integer_ratio") else float(str(value))
