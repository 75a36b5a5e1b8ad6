"""GeoParquet 1.1 files: written from a stream of Arrow record batches, and read as a stream of frames."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from cartoframes_lite._client.http.downloads import complete_file
from cartoframes_lite.errors import ConversionError

SUFFIXES = (".parquet", ".geoparquet", ".pq")
_VERSION = "1.1.0"
_ROW_GROUP_ROWS, _ROW_GROUP_BYTES = 65_536, 64 << 20
# By shapely's type id.
_TYPES = (
    *("Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"),
    "GeometryCollection",
)
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")  # that pandas has written
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_EXTENSION, _EXTENSION_METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"
_BBOX = pa.struct([pa.field(name, pa.float64(), nullable=False) for name in _CORNERS])


def write_parquet(reader: pa.RecordBatchReader, path: str | os.PathLike[str], *, primary: str = "the_geom") -> int:
    """Write record batches to a Parquet file, in bounded memory; return the number of rows.

    Parameters
    ----------
    reader : pyarrow.RecordBatchReader
        Geometries are of the extension type ``geoarrow.wkb``. Without any, the file is plain Parquet.
    path : path
        Created or replaced only when the file is complete; a device or pipe is written to.
    primary : str
        The geometry column that gets a bbox column. If there is no such column, the first one.
    """
    with complete_file(path) as file:
        return _write(reader, file, primary)


def _write(reader: pa.RecordBatchReader, file: BinaryIO, primary: str) -> int:
    """Write the batches and, at the end, the metadata."""
    columns = {
        field.name: _GeometryColumn(field)
        for field in reader.schema
        if (field.metadata or {}).get(_EXTENSION) == b"geoarrow.wkb"
    }
    primary = primary if primary in columns else next(iter(columns), "")
    bbox_name = "bbox" if "bbox" not in reader.schema.names else f"{primary}_bbox"
    schema = pa.schema([field.with_metadata(None) for field in reader.schema])
    if columns:
        schema = schema.append(pa.field(bbox_name, _BBOX))
    group: list[pa.RecordBatch] = []
    rows, group_bytes = 0, 0
    # With a stored schema, pyarrow would not return the metadata that follow the rows as those of the schema.
    with pq.ParquetWriter(file, schema, compression="zstd", store_schema=False) as writer:

        def write_group() -> None:
            nonlocal group, group_bytes
            writer.write_table(pa.Table.from_batches(group, schema), row_group_size=_ROW_GROUP_ROWS)
            group, group_bytes = [], 0

        for batch in reader:
            bounds = {name: column.add(batch.column(name)) for name, column in columns.items()}
            arrays = [*batch.columns, *([bounds[primary]] if columns else [])]
            group.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows, group_bytes = rows + batch.num_rows, group_bytes + batch.nbytes
            if sum(part.num_rows for part in group) >= _ROW_GROUP_ROWS or group_bytes >= _ROW_GROUP_BYTES:
                write_group()
        if group or not rows:
            write_group()
        if columns:
            covering = {"bbox": {corner: [bbox_name, corner] for corner in _CORNERS}}
            described = {name: column.describe() for name, column in columns.items()}
            described[primary]["covering"] = covering
            metadata = {"version": _VERSION, "primary_column": primary, "columns": described}
            writer.add_key_value_metadata({"geo": json.dumps(metadata)})
    return rows


class _GeometryColumn:
    """What the metadata of a file say about a geometry column: CRS, types and bounds."""

    def __init__(self, field: pa.Field) -> None:
        self._crs = json.loads(field.metadata.get(_EXTENSION_METADATA) or b"{}").get("crs")
        self._types: set[str] = set()
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def add(self, wkb: pa.Array) -> pa.StructArray:
        """Take note of some values; return their bounds, NULL for missing and empty geometries."""
        geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
        bounds = shapely.bounds(geometries)
        is_missing = np.isnan(bounds).any(axis=1)
        if not is_missing.all():
            lowest, highest = np.nanmin(bounds, axis=0), np.nanmax(bounds, axis=0)
            self._bounds[:2] = np.minimum(self._bounds[:2], lowest[:2])
            self._bounds[2:] = np.maximum(self._bounds[2:], highest[2:])
        present = geometries[~shapely.is_missing(geometries)]
        kinds = np.stack([shapely.get_type_id(present), shapely.has_z(present)], axis=1)
        for kind, has_z in np.unique(kinds, axis=0):
            self._types.add(f"{_TYPES[kind]} Z" if has_z else _TYPES[kind])
        return pa.StructArray.from_arrays(
            [pa.array(np.nan_to_num(corner)) for corner in bounds.T], fields=list(_BBOX), mask=pa.array(is_missing)
        )

    def describe(self) -> dict[str, Any]:
        """Return the metadata of the column."""
        described: dict[str, Any] = {"encoding": "WKB", "geometry_types": sorted(self._types), "crs": self._crs}
        if np.isfinite(self._bounds).all():
            described["bbox"] = self._bounds.tolist()
        return described


def read_parquet(file: str | os.PathLike[str] | BinaryIO) -> Iterator[pd.DataFrame]:
    """Read a Parquet file in parts: GeoDataFrames if it is GeoParquet, without its columns of bounds.

    Yields at least one frame, so that an empty file has its columns.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ConversionError
        If it is not a Parquet file, or damaged, or its metadata are invalid.
    """
    name = str(getattr(file, "name", file))
    if isinstance(file, str | os.PathLike):
        Path(file).open("rb").close()  # OSError: that of pyarrow is also raised for damaged files
    try:
        yield from _frames(file, name)
    except (pa.ArrowException, OSError) as error:
        raise ConversionError(f"{name!r} is not a Parquet file, or is damaged: {error}") from error


def _frames(file: str | os.PathLike[str] | BinaryIO, name: str) -> Iterator[pd.DataFrame]:
    with pq.ParquetFile(file) as source:
        try:
            geo = json.loads((source.metadata.metadata or {}).get(b"geo", b"null"))
            columns = {} if geo is None else dict(geo["columns"])
            primary = None if geo is None else geo["primary_column"]
            bounds = {path[0] for column in columns.values() for path in _covering(column)}
        except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:
            raise ConversionError(f"the metadata 'geo' of {name!r} are invalid: {error!r}") from error
        names = [
            name for name in source.schema_arrow.names if name not in bounds and not _UNNAMED_INDEX.fullmatch(name)
        ]
        schema = pa.schema([_geoarrow(source.schema_arrow.field(name), columns.get(name)) for name in names])
        has_rows = False
        for batch in source.iter_batches(_ROW_GROUP_ROWS, columns=names):
            has_rows = True
            yield _frame(batch.select(names), schema, primary)
        if not has_rows:
            yield _frame(schema.empty_table(), schema, primary)


def _covering(column: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the paths of the columns with the bounds of a geometry column."""
    yield from column.get("covering", {}).get("bbox", {}).values()


def _geoarrow(field: pa.Field, column: dict[str, Any] | None) -> pa.Field:
    """Return a field whose metadata describe a geometry as GeoArrow does."""
    if column is None:
        return field.with_metadata(None)
    extension = {"crs": column["crs"]} if column.get("crs") else {}
    if "crs" not in column:
        extension = {"crs": "OGC:CRS84"}  # the default of GeoParquet
    name = f"geoarrow.{column['encoding'].lower()}"
    return field.with_metadata({_EXTENSION: name, _EXTENSION_METADATA: json.dumps(extension)})


def _frame(batch: pa.RecordBatch | pa.Table, schema: pa.Schema, primary: str | None) -> Any:
    """Convert rows to a frame whose dtypes do not depend on the values."""
    table = pa.Table.from_arrays(list(batch.columns), schema=schema)
    geometries = [field.name for field in schema if _EXTENSION in (field.metadata or {})]
    others = table.drop_columns(geometries).to_pandas(types_mapper=_dtype)
    if primary is None:
        return others
    geometry = gpd.GeoDataFrame.from_arrow(table.select(geometries), geometry=primary)
    return gpd.GeoDataFrame(pd.concat([others, geometry], axis=1)[schema.names], geometry=primary)


def _dtype(kind: pa.DataType) -> pd.ArrowDtype | None:
    """Return the dtype for an Arrow type; None for categories. Python objects would have floats for integers."""
    return None if pa.types.is_dictionary(kind) else pd.ArrowDtype(kind)
