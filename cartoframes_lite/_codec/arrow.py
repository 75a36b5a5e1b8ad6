"""Convert decoded record batches to Arrow columns for other libraries: geometry as ``geoarrow.wkb``, typed arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from cartoframes_lite import user_warnings
from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.pgtypes import Kind, SourceColumn
from cartoframes_lite._codec.to_series import to_series
from cartoframes_lite.errors import ConversionError, ConversionWarning

_SRID_FLAG, _HEAD_BYTES, _SRID_BYTES = 0x20, 5, 4  # of EWKB, whose type has the flag in its last byte


class ArrowColumns:
    """Convert the columns of a read, batch by batch.

    Parameters
    ----------
    columns : sequence of SourceColumn
    first : pyarrow.RecordBatch or None
        The first batch, whose geometries determine the SRID of columns that declare none.
    """

    def __init__(self, columns: Sequence[SourceColumn], first: pa.RecordBatch | None) -> None:
        self._columns = columns
        self._srids = [
            _srid(column, None if first is None else first.column(number))
            if column.rule.kind is Kind.GEOMETRY
            else None
            for number, column in enumerate(columns)
        ]
        self.schema = pa.schema([_field(column, srid) for column, srid in zip(columns, self._srids, strict=True)])
        self._rows = 0

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Convert a batch to ``schema``.

        Raises
        ------
        ConversionError
            If a value has no Arrow counterpart: an array of another dimension, a geometry of another SRID.
        """
        arrays = []
        for column, srid, values, field in zip(self._columns, self._srids, batch.columns, self.schema, strict=True):
            if column.rule.kind is Kind.GEOMETRY:
                arrays.append(_to_wkb(values, column.name, srid, self._rows))
            else:
                arrays.append(_to_arrow(values, column, field.type))
        self._rows += batch.num_rows
        if not arrays:  # rows without columns
            return batch
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _srid(column: SourceColumn, values: pa.LargeBinaryArray | None) -> int | None:
    """Return the SRID of a geometry column: the declared one, else that of its first values."""
    if column.srid > 0:
        return column.srid
    found = set() if values is None else _srids(values)
    return geometry.one_srid(found, column.name) or (4326 if column.name == THE_GEOM else None)


def _field(column: SourceColumn, srid: int | None) -> pa.Field:
    if column.rule.kind is not Kind.GEOMETRY:
        return pa.field(column.name, _arrow_type(column))
    extension: dict[str, Any] = {}
    if srid is not None:
        try:
            extension = {"crs": CRS.from_epsg(srid).to_json_dict(), "crs_type": "projjson"}
        except CRSError:
            user_warnings.warn(
                f"geometry column {column.name!r} has SRID {srid}, which is not an EPSG code: it is read without CRS",
                ConversionWarning,
            )
    metadata = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": json.dumps(extension)}
    return pa.field(column.name, pa.large_binary(), metadata=metadata)


def _arrow_type(column: SourceColumn) -> pa.DataType:
    """Return the Arrow type of a column that is not a geometry."""
    rule = column.rule
    if rule.kind is Kind.NUMERIC:
        return pa.float64()
    if rule.kind is Kind.BINARY_TEXT:
        return pa.large_string()
    if rule.kind in (Kind.ARRAY, Kind.BINARY_ARRAY):
        element = SourceColumn(column.name, str(rule.element))
        is_scalar = element.rule.kind in (Kind.PLAIN, Kind.NUMERIC, Kind.BINARY_TEXT)
        return pa.large_list(_arrow_type(element)) if is_scalar else pa.large_string()
    return rule.arrow


def _to_arrow(values: pa.Array, column: SourceColumn, target: pa.DataType) -> pa.Array:
    """Convert the values of a column that is not a geometry."""
    rule = column.rule
    if values.type == target:
        return values
    if rule.kind is Kind.NUMERIC:
        floats = to_series(pa.chunked_array([values]), rule, column.name)
        return pa.array(np.asarray(floats, np.float64), mask=values.is_null().to_numpy(zero_copy_only=False))
    objects = to_series(pa.chunked_array([values]), rule, column.name)
    try:
        return pa.array([None if _is_missing(item) else item for item in objects], target)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConversionError(
            f"column {column.name!r} has an array that is not a list of {target.value_type} ({error}): select"
            f" to_json({column.name})::text AS {column.name}"
        ) from error


def _is_missing(item: object) -> bool:
    return item is None or (isinstance(item, float) and math.isnan(item))


def _srids(values: pa.LargeBinaryArray) -> set[int]:
    """Return the SRIDs of EWKB, without 0."""
    return _Ewkb(values).srids()


class _Ewkb:
    """The bytes of an array of EWKB, and where its values begin.

    Parameters
    ----------
    values : pyarrow.LargeBinaryArray
    """

    def __init__(self, values: pa.LargeBinaryArray) -> None:
        _, offsets, content = values.buffers()
        self._bounds = np.frombuffer(offsets, np.int64, len(values) + 1, values.offset * 8)
        self._data = np.frombuffer(content or b"", np.uint8)
        self._is_valid = values.is_valid().to_numpy(zero_copy_only=False)
        self._starts = self._bounds[:-1][self._is_valid]
        self._flags = self._data[self._starts + 4]
        self._is_little = bool((self._data[self._starts] == 1).all())

    def srids(self) -> set[int]:
        """Return the SRIDs of the values, without 0."""
        with_srid = self._starts[(self._flags & _SRID_FLAG) != 0]
        srids = self._data[with_srid[:, None] + np.arange(_HEAD_BYTES, _HEAD_BYTES + _SRID_BYTES)]
        return set(np.unique(np.ascontiguousarray(srids).view("<u4" if self._is_little else ">u4")).tolist()) - {0}

    def without_srids(self) -> pa.LargeBinaryArray | None:
        """Return the values as WKB; None if other bytes than the SRID differ: of Z and M values, big-endian ones."""
        has_srid = self._flags == _SRID_FLAG
        if not self._is_little or not (has_srid | (self._flags == 0)).all():
            return None
        first, end = int(self._bounds[0]), int(self._bounds[-1])
        content, starts = self._data[first:end].copy(), self._starts - first
        content[starts + _HEAD_BYTES - 1] = 0
        is_kept = np.ones(len(content), np.bool_)
        is_kept[(starts[has_srid][:, None] + np.arange(_HEAD_BYTES, _HEAD_BYTES + _SRID_BYTES)).ravel()] = False
        lengths = np.diff(self._bounds)
        lengths[np.flatnonzero(self._is_valid)[has_srid]] -= _SRID_BYTES
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        valid = pa.py_buffer(np.packbits(self._is_valid, bitorder="little"))
        buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(content[is_kept])]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lengths), buffers)


def _to_wkb(values: pa.LargeBinaryArray, name: str, srid: int | None, first_row: int) -> pa.LargeBinaryArray:
    """Convert EWKB to the ISO WKB of geoarrow, which has no SRID."""
    ewkb = _Ewkb(values)
    others = ewkb.srids() - {srid}
    if others:
        has = "no SRID in its first rows" if srid is None else f"the SRID {srid}"
        raise ConversionError(
            f"geometry column {name!r} has {has}, and then {sorted(others)}: select ST_Transform({name}, 4326) AS"
            f" {name} to read it in one CRS"
        )
    converted = ewkb.without_srids()
    if converted is not None:
        return converted
    geometries, _ = geometry.from_ewkb(values, name, first_row)
    return pa.array(shapely.to_wkb(geometries, include_srid=False, flavor="iso", byte_order=1), pa.large_binary())
