"""Layers: what becomes a table each. They can be read as often as needed, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """The geometry that a format declares.

    Attributes
    ----------
    column : str
        Holds WKB.
    crs : str, optional
        As pyproj understands it. None if the file has none.
    has_z : bool, optional
        None if only the rows tell.
    """

    column: str
    crs: str | None
    has_z: bool | None


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """Rows of a file.

    Attributes
    ----------
    name : str
        What the table is to be called; not normalized.
    schema : pyarrow.Schema
        Names are normalized and differ.
    batches : callable
        Begins to read; the iterator gives record batches of the schema.
    geometry : GeometryColumn, optional
    guessed : frozenset of str
        Columns of text whose type is to be found out.
    """

    name: str
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    geometry: GeometryColumn | None = None
    guessed: frozenset[str] = frozenset()
