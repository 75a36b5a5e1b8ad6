"""Rows on their way to the server: the values of some rows of a frame, by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.copy_rows import without_columns
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite.write.columns import Column, Columns, arrow_schema

Values: TypeAlias = pa.ChunkedArray | geometry.Geometries


@dataclass(frozen=True, slots=True)
class Payload:
    """Consecutive rows of a frame, converted and checked.

    Attributes
    ----------
    columns : tuple of Column
    values : mapping of str to pyarrow.ChunkedArray or numpy.ndarray
        Arrow values, or shapely geometries, by column name.
    rows : int
    first_row : int
        Position of the first row in the frame, for messages.
    origin : str
        Which frame or partition the rows are from, for messages; empty for a single frame.
    """

    columns: Columns
    values: Mapping[str, Values]
    rows: int
    first_row: int = 0
    origin: str = ""

    def record_batch(self) -> pa.RecordBatch:
        """Encode geometries to EWKB, and return the rows as one record batch."""
        if not self.columns:
            return without_columns(self.rows)
        encoded: dict[str, pa.Array] = {}
        lon_lat = self.values.get(THE_GEOM)
        if isinstance(lon_lat, np.ndarray) and lon_lat is self.values.get(WEB_MERCATOR):
            has_z = any(column.has_z for column in self.columns if column.name == THE_GEOM)
            encoded[THE_GEOM], encoded[WEB_MERCATOR] = geometry.to_both_ewkb(lon_lat, has_z=has_z)
        arrays = [
            encoded[column.name] if column.name in encoded else _to_arrow(column, self.values[column.name])
            for column in self.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(self.columns))


def _to_arrow(column: Column, values: Values) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if column.name == WEB_MERCATOR:
        return geometry.to_web_mercator_ewkb(values, has_z=column.has_z)
    return geometry.to_ewkb(values, column.srid, has_z=column.has_z)
