"""Write the rows of a query to an Arrow file, with bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.sql.gdal_writer import GEOMETRY, convert

_BATCH_ROWS = 5_000
_BATCH_BYTES = 4_000_000
_TEXT = "string"
# Arrow types of PostgreSQL types, for those that GDAL supports. All others are written as text.
_TYPES = {
    "bool": "bool",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "numeric": "float64",
    "date": "date32",
    "timestamp": "timestamp[ms]",
}
_WKB_NAMES = {
    1: "Point",
    2: "LineString",
    3: "Polygon",
    4: "MultiPoint",
    5: "MultiLineString",
    6: "MultiPolygon",
    7: "GeometryCollection",
}


class RowFile:
    """Writer of text rows to an Arrow stream. As a context manager, it closes the file on exit.

    Parameters
    ----------
    path : Path
    columns : sequence of (str, str)
        Name and PostgreSQL type of each column. Values of the geometry column are hex WKB.
    max_bytes : int
        Maximum size of all values together, in bytes.

    Attributes
    ----------
    rows, size_bytes : int
        Number of rows, and size of all values in bytes, so far.
    """

    def __init__(self, path: Path, columns: Sequence[tuple[str, str]], max_bytes: int) -> None:
        self.rows = self.size_bytes = 0
        self._names = [name for name, _ in columns]
        self._types = ["binary" if name == GEOMETRY else _TEXT for name in self._names]
        # Columns to be cast. One with a value that does not fit, such as infinity in a date, is removed and stays text.
        self._cast_types = {at: _TYPES[kind] for at, (_, kind) in enumerate(columns) if kind in _TYPES}
        self._max_bytes, self._flushed_bytes = max_bytes, 0
        self._texts: list[list[str | None]] = [[] for _ in columns]
        self._geometry_types: set[str] = set()
        self._file = pa.OSFile(str(path), "wb")
        schema = pa.schema(list(zip(self._names, map(pa.type_for_alias, self._types), strict=True)))
        self._stream = pa.ipc.new_stream(self._file, schema)

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()
        self._file.close()

    @property
    def types(self) -> list[str]:
        """Names of the Arrow types of the columns, which the values of all rows fit into."""
        return [self._cast_types.get(at, kind) for at, kind in enumerate(self._types)]

    @property
    def geometry_type(self) -> str:
        """Common type of all geometries, as named by pyogrio; empty without a geometry column."""
        if GEOMETRY not in self._names:
            return ""
        return next(iter(self._geometry_types)) if len(self._geometry_types) == 1 else "Unknown"

    async def add(self, values: Sequence[bytes | None]) -> None:
        """Add a row; raise RequestError if the size limit is exceeded."""
        for texts, value in zip(self._texts, values, strict=True):
            texts.append(None if value is None else value.decode())
            self.size_bytes += len(value or b"")
        self.rows += 1
        if self.size_bytes > self._max_bytes:
            raise RequestError(f"the export is larger than {self._max_bytes} bytes: use COPY")
        if len(self._texts[0]) >= _BATCH_ROWS or self.size_bytes - self._flushed_bytes >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write the rows in memory to the file, in a worker thread."""
        await asyncio.to_thread(self._write)
        self._flushed_bytes = self.size_bytes

    def _write(self) -> None:
        """Write the rows in memory as a record batch."""
        arrays = [_array(texts, kind) for texts, kind in zip(self._texts, self._types, strict=True)]
        for at, kind in list(self._cast_types.items()):
            try:
                convert(arrays[at], pa.type_for_alias(kind))
            except pa.ArrowInvalid:
                del self._cast_types[at]
        if GEOMETRY in self._names:
            geometries = arrays[self._names.index(GEOMETRY)]
            self._geometry_types |= {_geometry_type(value.as_py()) for value in geometries if value.is_valid}
        self._stream.write_batch(pa.record_batch(arrays, names=self._names))
        self._texts = [[] for _ in self._names]


def _array(texts: list[str | None], kind: str) -> pa.Array:
    """Return values as an array of strings, or of binary values decoded from hex."""
    if kind == _TEXT:
        return pa.array(texts, pa.string())
    return pa.array([None if text is None else bytes.fromhex(text) for text in texts], pa.binary())


def _geometry_type(wkb: bytes) -> str:
    """Return the type of an ISO WKB value as named by pyogrio, "Unknown" for others."""
    dimensions, kind = divmod(int.from_bytes(wkb[1:5], "little" if wkb[0] else "big"), 1000)
    suffix = {0: "", 1: " Z"}.get(dimensions)
    return "Unknown" if suffix is None or kind not in _WKB_NAMES else _WKB_NAMES[kind] + suffix
