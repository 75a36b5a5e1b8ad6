"""Detect the geometry of a layer: declared by the format, in a text column, or in coordinate columns.

Detectors inspect all rows, batch by batch. A successful detector creates the geometries when the rows are read again.
"""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.geometry import (
    Geometries,
    from_text,
    from_wkb,
    has_nonzero_z,
    points,
    to_wgs84,
)
from cartoframes_lite.local.imports.files.layers import SourceLayer
from cartoframes_lite.local.imports.files.type_guessing import is_text, trim

# The names that CARTO looks for.
_GEOMETRY_NAMES = ("geometry", "the_geom", "wkb_geometry", "geom", "geojson", "wkt")
_LATITUDE_NAMES = "latitude lat latitudedecimal latitud lati decimallatitude decimallat point_latitude"
_LONGITUDE_NAMES = "longitude lon lng longitudedecimal longitud long decimallongitude decimallong point_longitude"
_LIMITS = (90.0, 180.0)
_COORDINATE = r"^-?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?$"


class GeometryDetector(Protocol):
    """Detects geometry in the batches of a layer."""

    @property
    def found(self) -> bool:
        """Whether geometry was found; valid after all rows have been inspected."""

    @property
    def has_z(self) -> bool:
        """Whether a geometry has Z."""

    @property
    def consumed(self) -> str | None:
        """The column that the geometry replaces; None to keep all columns."""

    def inspect(self, batch: pa.RecordBatch) -> None:
        """Inspect a batch."""

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""


class DeclaredGeometry:
    """Geometry column declared by the format."""

    def __init__(self, layer: SourceLayer) -> None:
        assert layer.geometry is not None  # checked by the caller
        self._geometry = layer.geometry
        self.consumed: str | None = layer.geometry.column
        self.found, self.has_z = False, bool(layer.geometry.has_z)

    def inspect(self, batch: pa.RecordBatch) -> None:
        """Check for values, and for Z if the format does not declare it."""
        values = batch.column(self._geometry.column)
        self.found = self.found or values.null_count < len(values)
        if self._geometry.has_z is None and not self.has_z:
            self.has_z = has_nonzero_z(self._read(values))

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""
        return to_wgs84(self._read(batch.column(self._geometry.column)), self._geometry.crs)

    @staticmethod
    def _read(values: pa.Array) -> Geometries:
        try:
            return from_wkb(values)
        except ValueError as error:
            raise ImportJobError(2014, str(error)) from None


class TextGeometry:
    """Text column in which every value is a geometry."""

    def __init__(self, column: str) -> None:
        self._column = column
        self.consumed: str | None = column
        self.found = self.has_z = self._failed = False

    def inspect(self, batch: pa.RecordBatch) -> None:
        """Check whether all values can be parsed."""
        values = trim(batch.column(self._column))
        if self._failed or values.null_count == len(values):
            return
        try:
            read = to_wgs84(from_text(values), None)
        except (ValueError, ImportJobError):
            self.found, self._failed = False, True
        else:
            self.found, self.has_z = True, self.has_z or bool(shapely.has_z(read).any())

    def geometries(self, batch: pa.RecordBatch) -> Geometries:
        """Make the geometries of some rows."""
        return to_wgs84(from_text(trim(batch.column(self._column))), None)


class CoordinateColumns:
    """Columns of latitudes and longitudes in degrees. Both columns are kept."""

    def __init__(self, latitude: str, longitude: str) -> None:
        self._columns = (latitude, longitude)
        self.consumed: str | None = None
        self.found = self.has_z = self._failed = False

    def inspect(self, batch: pa.RecordBatch) -> None:
        """Check whether all values are valid degrees."""
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
    """Return the detectors for a layer, in order of precedence."""
    result: list[GeometryDetector] = [] if layer.geometry is None else [DeclaredGeometry(layer)]
    texts = [field.name for field in layer.schema if is_text(field.type)]
    result += [TextGeometry(name) for name in _GEOMETRY_NAMES if name in texts]
    if not layer.has_coordinates:
        return result
    latitude = next((name for name in _LATITUDE_NAMES.split() if name in layer.schema.names), None)
    longitude = next((name for name in _LONGITUDE_NAMES.split() if name in layer.schema.names), None)
    if latitude is not None and longitude is not None:
        result.append(CoordinateColumns(latitude, longitude))
    return result


def _degrees(values: pa.Array, limit: float) -> pa.Array | None:
    """Parse degrees, with a decimal point or comma; return None if a value is invalid."""
    if is_text(values.type):
        values = trim(values)
        if pc.all(pc.match_substring_regex(values, _COORDINATE)).as_py() is False:
            return None
        values = pc.replace_substring(values, ",", ".")
    elif not pa.types.is_integer(values.type) and not pa.types.is_floating(values.type):
        return None
    numbers = values.cast(pa.float64())
    within = pc.less_equal(pc.abs(numbers), limit)
    return None if pc.all(within).as_py() is False else numbers
