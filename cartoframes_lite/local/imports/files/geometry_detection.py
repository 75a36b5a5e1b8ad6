"""Where the geometry of a layer is: in what the format declares, in a column of text, or in coordinates.

Finders look at all rows first, batch by batch; one that has found something makes the geometries when the rows
are read again.
"""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from cartoframes_lite.local.imports.files.error_codes import ImportRefused
from cartoframes_lite.local.imports.files.geometry import Geometries, from_text, from_wkb, points, rises, to_wgs84
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.type_guessing import is_text, trimmed

_GEOMETRY_NAMES = (
    "the_geom",
    "wkb_geometry",
    "geom",
    "geometry",
    "wkt",
    "wkb",
    "geojson",
    "the_geom_wkt",
    "geom_wkt",
    "wkt_geom",
    "the_geom_str",
    "geo_json",
    "shape",
    "_geom",
    "_geometry",
)
_LATITUDE_NAMES = (
    "latitude lat latitud latitudine latitude_deg decimallatitude decimal_latitude lat_dd y ycoord y_coord"
)
_LONGITUDE_NAMES = (
    "longitude lon lng long longitud longitudine longitude_deg decimallongitude decimal_longitude lon_dd long_dd"
    " x xcoord x_coord"
)
_LIMITS = (90.0, 180.0)
_COORDINATE = r"^-?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?$"


class GeometryDetector(Protocol):
    """Something that may find geometry."""

    @property
    def found(self) -> bool:
        """Whether it has, after all rows."""

    @property
    def has_z(self) -> bool:
        """Whether there is a Z among them."""

    @property
    def consumed(self) -> str | None:
        """The column that is replaced by the geometry."""

    def look(self, batch: pa.RecordBatch) -> None:
        """Look at some rows."""

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""


class DeclaredGeometry:
    """The geometry that the format declares."""

    def __init__(self, layer: SourceLayer) -> None:
        assert layer.geometry is not None  # the caller has looked
        self._geometry = layer.geometry
        self.consumed: str | None = layer.geometry.column
        self.found, self.has_z = False, bool(layer.geometry.has_z)

    def look(self, batch: pa.RecordBatch) -> None:
        """Look for values, and whether they have Z if the format does not say."""
        values = batch.column(self._geometry.column)
        self.found = self.found or values.null_count < len(values)
        if self._geometry.has_z is None and not self.has_z:
            self.has_z = rises(self._read(values))

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""
        return to_wgs84(self._read(batch.column(self._geometry.column)), self._geometry.crs)

    @staticmethod
    def _read(values: pa.Array) -> Geometries:
        try:
            return from_wkb(values)
        except ValueError as error:
            raise ImportRefused(2014, str(error)) from None


class TextGeometry:
    """A column of text that holds nothing but geometries."""

    def __init__(self, column: str) -> None:
        self._column = column
        self.consumed: str | None = column
        self.found = self.has_z = self._failed = False

    def look(self, batch: pa.RecordBatch) -> None:
        """Find out whether all values can be read."""
        values = trimmed(batch.column(self._column))
        if self._failed or values.null_count == len(values):
            return
        try:
            read = to_wgs84(from_text(values), None)
        except (ValueError, ImportRefused):
            self.found, self._failed = False, True
        else:
            self.found, self.has_z = True, self.has_z or bool(shapely.has_z(read).any())

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""
        return to_wgs84(from_text(trimmed(batch.column(self._column))), None)


class CoordinateColumns:
    """A column of latitudes and one of longitudes, in degrees; both stay."""

    def __init__(self, latitude: str, longitude: str) -> None:
        self._columns = (latitude, longitude)
        self.consumed: str | None = None
        self.found = self.has_z = self._failed = False

    def look(self, batch: pa.RecordBatch) -> None:
        """Find out whether all values are degrees."""
        pair = [_degrees(batch.column(name), limit) for name, limit in zip(self._columns, _LIMITS, strict=True)]
        latitudes, longitudes = pair
        if self._failed or latitudes is None or longitudes is None:
            self.found, self._failed = False, True
        elif pc.any(pc.and_(pc.is_valid(latitudes), pc.is_valid(longitudes))).as_py():
            self.found = True

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""
        latitudes, longitudes = (
            _degrees(batch.column(name), limit) for name, limit in zip(self._columns, _LIMITS, strict=True)
        )
        return points(longitudes, latitudes)


def geometry_detectors(layer: SourceLayer) -> list[GeometryDetector]:
    """Return who may find the geometry of a layer; the first that does is right."""
    result: list[GeometryDetector] = [] if layer.geometry is None else [DeclaredGeometry(layer)]
    texts = [field.name for field in layer.schema if is_text(field.type)]
    result += [TextGeometry(name) for name in _GEOMETRY_NAMES if name in texts]
    latitude = next((name for name in _LATITUDE_NAMES.split() if name in layer.schema.names), None)
    longitude = next((name for name in _LONGITUDE_NAMES.split() if name in layer.schema.names), None)
    if latitude is not None and longitude is not None:
        result.append(CoordinateColumns(latitude, longitude))
    return result


def _degrees(values: pa.Array, limit: float) -> pa.Array | None:
    """Read degrees, with a point or a comma; None if some are not."""
    if is_text(values.type):
        values = trimmed(values)
        if pc.all(pc.match_substring_regex(values, _COORDINATE)).as_py() is False:
            return None
        values = pc.replace_substring(values, ",", ".")
    elif not pa.types.is_integer(values.type) and not pa.types.is_floating(values.type):
        return None
    numbers = values.cast(pa.float64())
    within = pc.less_equal(pc.abs(numbers), limit)
    return None if pc.all(within).as_py() is False else numbers
