"""Layers of files: each becomes a table. Layers can be read several times, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """Geometry column declared by a format.

    Attributes
    ----------
    column : str
        Name of the column of WKB.
    crs : str, optional
        CRS in a form accepted by pyproj. None if the file has none.
    has_z : bool, optional
        Whether the geometries have Z. None if the format does not declare it.
    """

    column: str
    crs: str | None
    has_z: bool | None


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """Layer of a file.

    Attributes
    ----------
    name : str
        Name for the table, not normalized.
    schema : pyarrow.Schema
        Schema with unique, normalized names.
    batches : callable
        Returns a new iterator of record batches with this schema.
    geometry : GeometryColumn, optional
    guessed : frozenset of str
        Text columns whose types are to be guessed.
    has_coordinates : bool
        Whether columns named after latitude and longitude become points; not without guessing of types, as in CARTO.
    """

    name: str
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    geometry: GeometryColumn | None = None
    guessed: frozenset[str] = frozenset()
    has_coordinates: bool = True
