"""Rows of a query in an Arrow file, which grows on the disk and not in memory."""

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
# Arrow types, by name, of the types of PostgreSQL that GDAL has types for.
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
    """Writes rows of texts to an Arrow stream. A context manager that closes it.

    Parameters
    ----------
    path : Path
    columns : sequence of (str, str)
        Name, and name of the type in PostgreSQL. That of geometry has WKB in hexadecimal digits.
    max_bytes : int
        Largest size of all texts together.

    Attributes
    ----------
    rows, size_bytes : int
    """

    def __init__(self, path: Path, columns: Sequence[tuple[str, str]], max_bytes: int) -> None:
        self.rows = self.size_bytes = 0
        self._names = [name for name, _ in columns]
        self._types = ["binary" if name == GEOMETRY else _TEXT for name in self._names]
        # A column in which there is something that its type does not have, as infinity, stays text.
        self._wanted = {at: _TYPES[kind] for at, (_, kind) in enumerate(columns) if kind in _TYPES}
        self._max_bytes, self._flushed_bytes = max_bytes, 0
        self._texts: list[list[str | None]] = [[] for _ in columns]
        self._kinds: set[str] = set()
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
        """Arrow types of the columns, by name, that all rows fit into."""
        return [self._wanted.get(at, kind) for at, kind in enumerate(self._types)]

    @property
    def geometry_type(self) -> str:
        """Type of all geometries, as pyogrio calls it; empty without a column of them."""
        if GEOMETRY not in self._names:
            return ""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else "Unknown"

    async def add(self, values: Sequence[bytes | None]) -> None:
        """Add a row; raise RequestError if there are too many of them."""
        for texts, value in zip(self._texts, values, strict=True):
            texts.append(None if value is None else value.decode())
            self.size_bytes += len(value or b"")
        self.rows += 1
        if self.size_bytes > self._max_bytes:
            raise RequestError(f"the export is larger than {self._max_bytes} bytes: use COPY")
        if len(self._texts[0]) >= _BATCH_ROWS or self.size_bytes - self._flushed_bytes >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what is in memory."""
        await asyncio.to_thread(self._write)
        self._flushed_bytes = self.size_bytes

    def _write(self) -> None:
        arrays = [_array(texts, kind) for texts, kind in zip(self._texts, self._types, strict=True)]
        for at, kind in list(self._wanted.items()):
            try:
                convert(arrays[at], pa.type_for_alias(kind))
            except pa.ArrowInvalid:
                del self._wanted[at]
        if GEOMETRY in self._names:
            geometries = arrays[self._names.index(GEOMETRY)]
            self._kinds |= {_shape(value.as_py()) for value in geometries if value.is_valid}
        self._stream.write_batch(pa.record_batch(arrays, names=self._names))
        self._texts = [[] for _ in self._names]


def _array(texts: list[str | None], kind: str) -> pa.Array:
    if kind == _TEXT:
        return pa.array(texts, pa.string())
    return pa.array([None if text is None else bytes.fromhex(text) for text in texts], pa.binary())


def _shape(wkb: bytes) -> str:
    """Name the type of an ISO WKB value, as pyogrio knows it."""
    dimensions, kind = divmod(int.from_bytes(wkb[1:5], "little" if wkb[0] else "big"), 1000)
    suffix = {0: "", 1: " Z"}.get(dimensions)
    return "Unknown" if suffix is None or kind not in _WKB_NAMES else _WKB_NAMES[kind] + suffix
