"""Frames of Arrow data, such as tables of polars, DuckDB and pyarrow, batch by batch."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from cartoframes_lite.errors import ConversionError

_FRAME_ROWS = 1 << 16
_FRAME_BYTES = 16 << 20
_EXTENSION, _EXTENSION_METADATA = b"ARROW:extension:name", b"ARROW:extension:metadata"
_WKB = ("geoarrow.wkb", "ogc.wkb")
_WKT = ("geoarrow.wkt", "ogc.wkt")
# What to pass instead of data that have this method.
_LAZY = {
    "collect": "dataframe.collect()",  # polars
    "map_partitions": "it to cartoframes_lite.dask.to_carto, or dataframe.compute()",
    "scanner": "dataframe.scanner().to_reader()",  # a dataset of pyarrow
}


class ArrowStream(Protocol):
    """Anything with the Arrow PyCapsule interface for streams."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, slots=True)
class _Geometry:
    """A geometry column of Arrow data: its name, its encoding, such as ``geoarrow.wkb``, and its CRS."""

    name: str
    encoding: str
    crs: Any


def as_frames(data: pd.DataFrame | Iterable[pd.DataFrame] | ArrowStream) -> pd.DataFrame | Iterable[pd.DataFrame]:
    """Return a frame or an iterable of frames unchanged, and Arrow data as frames."""
    if not is_arrow(data):
        refuse_lazy(data)
        return cast("pd.DataFrame | Iterable[pd.DataFrame]", data)  # anything else is refused later
    return frames_of(cast(ArrowStream, data))


def count_rows(data: object) -> int | None:
    """Return the number of rows of a frame, a list of frames or an Arrow table; None if it is not known."""
    if isinstance(data, list | tuple):
        counts = [count_rows(item) for item in data]
        return None if None in counts else sum(count for count in counts if count is not None)
    if isinstance(data, pd.DataFrame):
        return len(data)
    rows = getattr(data, "num_rows", getattr(data, "height", None))  # of pyarrow and of polars
    return rows if isinstance(rows, int) else None


def refuse_lazy(data: object) -> None:
    """Raise TypeError for a query plan of another library, such as a LazyFrame of polars, which has no rows yet."""
    for method, advice in _LAZY.items():
        if callable(getattr(data, method, None)) and not isinstance(data, pd.DataFrame):
            raise TypeError(f"dataframe is a {type(data).__name__}, whose rows are not computed yet: pass {advice}")


def is_arrow(data: object) -> bool:
    """Return whether data are Arrow data, and not of pandas, which has the Arrow interface, too."""
    return hasattr(data, "__arrow_c_stream__") and not isinstance(data, pd.DataFrame | pd.Series)


def frames_of(data: ArrowStream) -> Iterator[pd.DataFrame]:
    """Yield frames of bounded size with the rows of Arrow data; at least one, which may have no rows.

    Raises
    ------
    ConversionError
        If a geometry column has no CRS, or is invalid.
    TypeError
        If the data are a single column.
    """
    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except pa.ArrowInvalid as error:
        if "non-struct" not in str(error):
            raise
        raise TypeError(f"dataframe must be a table with columns, not a {type(data).__name__} of values") from error
    schema = reader.schema
    geometries = {number: found for number, field in enumerate(schema) if (found := _geometry(field, schema))}
    is_empty = True
    for batch in reader:
        step = max(1, min(_FRAME_ROWS, _FRAME_BYTES * batch.num_rows // max(_size_bytes(batch), 1)))
        for start in range(0, batch.num_rows, step):
            yield _frame(batch.slice(start, step), geometries)
            is_empty = False
    if is_empty:
        yield _frame(pa.RecordBatch.from_pylist([], schema=schema), geometries)


def _size_bytes(batch: pa.RecordBatch) -> int:
    """Return the size of the rows of a batch."""
    try:
        return int(batch.nbytes)
    except pa.ArrowTypeError:  # views of text and lists, whose size pyarrow 23 does not know yet
        return int(batch.get_total_buffer_size())


def _frame(batch: pa.RecordBatch, geometries: Mapping[int, _Geometry]) -> pd.DataFrame:
    """Convert a batch; a frame with one geometry column is a GeoDataFrame."""
    columns = {
        number: _decode(values, geometries[number]) if number in geometries else _series(values)
        for number, values in enumerate(batch.columns)
    }
    frame = pd.DataFrame(columns, index=pd.RangeIndex(batch.num_rows))
    frame.columns = pd.Index(batch.schema.names, dtype=object)
    if len(geometries) == 1:
        (found,) = geometries.values()
        if batch.schema.names.count(found.name) == 1:
            frame = gpd.GeoDataFrame(frame, geometry=found.name)
    return frame


def _series(values: pa.Array) -> pd.Series[Any]:
    """Return a column with the exact Arrow type."""
    if isinstance(values.type, pa.BaseExtensionType):
        if values.type.extension_name == "arrow.uuid":
            return pd.Series([None if item is None else str(item) for item in _uuids(values)], dtype="object")
        if values.type.extension_name == "arrow.json":
            values = values.storage
    # Arrow cannot select values of views, as polars exports them, or decode their categories.
    if pa.types.is_dictionary(values.type) and pa.types.is_string_view(values.type.value_type):
        values = pa.DictionaryArray.from_arrays(values.indices, values.dictionary.cast(pa.large_string()))
    elif pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    elif pa.types.is_binary_view(values.type):
        values = values.cast(pa.large_binary())
    elif pa.types.is_list_view(values.type) or pa.types.is_large_list_view(values.type):
        values = pa.array(values.to_pylist(), pa.large_list(values.type.value_type))
    elif pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    elif pa.types.is_map(values.type) and pa.types.is_string(values.type.key_type):  # of DuckDB
        return pd.Series([None if item is None else dict(item) for item in values.to_pylist()], dtype="object")
    return pd.Series(pd.arrays.ArrowExtensionArray(values))


def _uuids(values: pa.Array) -> Iterator[uuid.UUID | None]:
    return (None if item is None else uuid.UUID(bytes=item) for item in values.storage.to_pylist())


def _geometry(field: pa.Field, schema: pa.Schema) -> _Geometry | None:
    """Return the description of a geometry column; None if it is another column.

    It is described by an extension type, which may be registered or not, or by the metadata of GeoParquet.
    """
    metadata = field.metadata or {}
    if isinstance(field.type, pa.BaseExtensionType):
        encoding = field.type.extension_name
        extension = field.type.__arrow_ext_serialize__() if encoding.startswith(("geoarrow.", "ogc.")) else b""
    else:
        encoding, extension = metadata.get(_EXTENSION, b"").decode(), metadata.get(_EXTENSION_METADATA, b"")
    if encoding.startswith(("geoarrow.", "ogc.")):
        return _Geometry(field.name, encoding, _crs(field.name, _json(extension).get("crs")))
    column = _json((schema.metadata or {}).get(b"geo", b"")).get("columns", {}).get(field.name)
    if column is None:
        return None
    # GeoParquet: the default is WKB in longitude and latitude.
    encoding = str(column.get("encoding", "WKB")).lower()
    return _Geometry(field.name, f"geoarrow.{encoding}", _crs(field.name, column.get("crs", "OGC:CRS84")))


def _json(text: bytes) -> dict[str, Any]:
    """Parse metadata; anything but a JSON object is ignored."""
    try:
        content = json.loads(text or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _crs(name: str, crs: Any) -> CRS:
    if crs is None:
        raise ConversionError(
            f"geometry column {name!r} has no CRS in its Arrow metadata; if it holds longitudes and latitudes, write"
            " geopandas.GeoDataFrame.from_arrow(data).set_crs(4326)"
        )
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise ConversionError(f"geometry column {name!r} has a CRS that cannot be read: {error}") from error


def _decode(values: pa.Array, column: _Geometry) -> gpd.GeoSeries:
    """Decode geometries."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    try:
        if column.encoding in _WKB:
            shapes = shapely.from_wkb(_objects(values))
        elif column.encoding in _WKT:
            shapes = shapely.from_wkt(_objects(values))
        else:
            field = pa.field(column.name, values.type, metadata={_EXTENSION: column.encoding.encode()})
            table = pa.Table.from_arrays([values], schema=pa.schema([field]))
            shapes = gpd.GeoDataFrame.from_arrow(table).geometry.to_numpy()
    except (shapely.errors.ShapelyError, ValueError, TypeError) as error:
        raise ConversionError(f"geometry column {column.name!r} ({column.encoding}) is invalid: {error}") from error
    return gpd.GeoSeries(shapes, crs=column.crs)


def _objects(values: pa.Array) -> np.ndarray[Any, Any]:
    objects = np.empty(len(values), object)
    objects[:] = values.to_pylist()
    return objects
