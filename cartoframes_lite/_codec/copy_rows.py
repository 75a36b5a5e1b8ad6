"""Decode the columns of rows in PostgreSQL's binary COPY format, whose offsets are known, to Arrow arrays.

Columns of constant size that follow each other are copied for all rows at once, as records, unless one of their values
is NULL: the columns after it begin at another offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SYNC_BYTES = 8
ROW_HEAD = np.dtype([("count", ">u2"), ("length", ">u4"), ("sync", "u8")])
PADDING_BYTES = 8  # after the data: a NULL at its end is read as if it were 8 bytes wide
_LENGTH = np.dtype([("length", ">i4")])

_EPOCH_DAYS = 10_957  # from 1970-01-01 to PostgreSQL's 2000-01-01
_EPOCH_US = _EPOCH_DAYS * 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31 in days from 1970-01-01

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

_WIRE_DTYPES: dict[int, np.dtype[Any]] = {
    pa.int16().id: np.dtype(">i2"),
    pa.int32().id: np.dtype(">i4"),
    pa.int64().id: np.dtype(">i8"),
    pa.float32().id: np.dtype(">f4"),
    pa.float64().id: np.dtype(">f8"),
    pa.bool_().id: np.dtype("u1"),
    pa.date32().id: np.dtype(">i4"),
    pa.time64("us").id: np.dtype(">i8"),
    pa.timestamp("us").id: np.dtype(">i8"),
}


class BrokenStream(ValueError):
    """The bytes are not a complete binary COPY; ``rest`` contains those that were not decoded."""

    def __init__(self, message: str, rest: bytes = b"") -> None:
        super().__init__(message)
        self.rest = rest


class RowDecoder:
    """Decode rows column by column.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns after the sync.

    Attributes
    ----------
    infinite : set of str
        Columns in which infinite (or not representable) dates or timestamps became null.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.infinite: set[str] = set()
        self._schema, self._segments = schema, _segments(schema)

    def decode(self, data: Bytes, starts: Ints, ends: Ints) -> pa.RecordBatch:
        """Decode the rows that begin at ``starts``, and check that each ends at ``ends``; ``data`` has padding."""
        at = starts + ROW_HEAD.itemsize
        arrays: list[pa.Array] = []
        for segment in self._segments:
            records = segment.gather(data, at)
            if records is not None:
                for column, name in zip(segment.fixed, segment.value_names, strict=True):
                    arrays.append(self._array(column, records[name], None))
                at = at + segment.dtype.itemsize
            else:
                for column in segment.fixed:
                    at = self._decode_nullable(column, data, at, arrays)
                if segment.last is not None:
                    records = gather(data, _LENGTH, at)
                    at = at + _LENGTH.itemsize
            if segment.last is not None:
                assert records is not None  # gathered above
                at = _decode_variable(segment.last, data, at, records["length"].astype(np.int64), arrays)
        if not np.array_equal(at, ends):
            raise BrokenStream("a row does not end where the next one begins", data.tobytes())
        if not arrays:
            return without_columns(len(starts))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _decode_nullable(self, column: pa.Field, data: Bytes, at: Ints, arrays: list[pa.Array]) -> Ints:
        """Decode a column of constant size that may have NULL; return the offsets after it."""
        dtype = _WIRE_DTYPES[column.type.id]
        records = gather(data, np.dtype([("length", ">i4"), ("value", dtype)]), at)
        lengths = records["length"]
        valid = lengths == dtype.itemsize
        if not np.all(valid | (lengths == -1)):
            raise BrokenStream(f"a field of column {column.name!r} is not {dtype.itemsize} bytes long", data.tobytes())
        arrays.append(self._array(column, records["value"], valid))
        return at + np.where(valid, _LENGTH.itemsize + dtype.itemsize, _LENGTH.itemsize)

    def _array(self, column: pa.Field, wire: Array, valid: Bools | None) -> pa.Array:
        """Convert values of constant size; ``valid`` is None if there is no NULL."""
        values = wire.astype(wire.dtype.newbyteorder("="))
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            finite = _to_unix_epoch(values)
            if not finite.all():
                is_infinite = ~finite if valid is None else valid & ~finite
                if is_infinite.any():
                    self.infinite.add(column.name)
                valid = finite if valid is None else valid & finite
        if pa.types.is_boolean(column.type):
            values = np.packbits(values != 0, bitorder="little")
        return pa.Array.from_buffers(column.type, len(wire), [_bitmap(valid), pa.py_buffer(values)])


@dataclass(frozen=True, slots=True)
class _Segment:
    """Columns of constant size that follow each other, and the column of variable size after them, if any.

    Attributes
    ----------
    dtype : numpy.dtype
        Record of the lengths and values of the columns, and the length of the last one.
    value_names : tuple of str
        Fields of the values of ``fixed`` in ``dtype``.
    """

    fixed: tuple[pa.Field, ...]
    last: pa.Field | None
    dtype: np.dtype[Any]
    value_names: tuple[str, ...]

    @classmethod
    def of(cls, fixed: list[pa.Field], last: pa.Field | None) -> _Segment:
        """Compose the record for columns."""
        fields: list[tuple[str, Any]] = []
        for number, column in enumerate(fixed):
            fields += [(f"length {number}", ">i4"), (f"value {number}", _WIRE_DTYPES[column.type.id])]
        if last is not None:
            fields.append(("length", ">i4"))
        names = tuple(f"value {number}" for number in range(len(fixed)))
        return cls(tuple(fixed), last, np.dtype(fields), names)

    def gather(self, data: Bytes, at: Ints) -> Array | None:
        """Return the records of all rows; None if they do not have this form, because of NULL."""
        if not self.fixed or (len(at) and at.max() > len(data) - self.dtype.itemsize):
            return None
        records = gather(data, self.dtype, at)
        for number, name in enumerate(self.value_names):
            if not (records[f"length {number}"] == self.dtype[name].itemsize).all():
                return None
        return records


def _segments(schema: pa.Schema) -> list[_Segment]:
    """Divide columns into segments, at those of variable size."""
    found, fixed = [], []
    for column in schema:
        if column.type.id in _WIRE_DTYPES:
            fixed.append(column)
        else:
            found.append(_Segment.of(fixed, column))
            fixed = []
    return [*found, _Segment.of(fixed, None)] if fixed else found


def gather(data: Bytes, dtype: npt.DTypeLike, at: Ints) -> Array:
    """Copy the items of a type at arbitrary offsets.

    Raises
    ------
    BrokenStream
        If an item ends after the data.
    """
    dtype = np.dtype(dtype)
    if len(at) == 0:
        return np.empty(0, dtype)
    if at.max() > len(data) - dtype.itemsize:
        raise BrokenStream("a field begins after the end of the data", data.tobytes())
    # As bytes without a type, which are copied several times faster than numbers at unaligned addresses.
    items = np.ndarray((len(data) - dtype.itemsize + 1,), f"V{dtype.itemsize}", data, strides=(1,))
    return items[at].view(dtype)


def _decode_variable(column: pa.Field, data: Bytes, at: Ints, lengths: Ints, arrays: list[pa.Array]) -> Ints:
    """Decode a column of variable size, whose values begin at ``at``; return the offsets after it."""
    if len(at) and (lengths.min() < -1 or (at + lengths).max() > len(data) - PADDING_BYTES):
        raise BrokenStream("a field is longer than the data", data.tobytes())
    valid = lengths >= 0
    if not valid.all():
        lengths = np.where(valid, lengths, 0)
    values = _slices(data, at, lengths, valid)
    try:
        arrays.append(values if column.type == pa.large_binary() else values.cast(column.type))
    except pa.ArrowInvalid as error:
        raise BrokenStream(f"text that is not UTF-8: {error}", data.tobytes()) from error
    return at + lengths


def _slices(data: Bytes, at: Ints, lengths: Ints, valid: Bools) -> pa.LargeBinaryArray:
    """Copy values of variable length."""
    count = len(at)
    size = int(lengths[0]) if count else 0
    if size and (lengths == size).all():  # such as points
        offsets, content = pa.py_buffer(np.arange(0, size * (count + 1), size)), gather(data, f"V{size}", at)
    elif count:
        # The block is viewed as an Arrow array whose items are alternately a value and the bytes up to the next value;
        # ``take`` selects every second item.
        bounds = np.empty(2 * count, np.int64)
        bounds[0::2] = at
        bounds[1::2] = at + lengths
        whole = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), 2 * count - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)]
        )
        _, offsets, content = pc.take(whole, pa.array(np.arange(0, 2 * count, 2)), boundscheck=False).buffers()
    else:
        return pa.array([], pa.large_binary())
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [_bitmap(valid), offsets, pa.py_buffer(content)])


def without_columns(rows: int) -> pa.RecordBatch:
    """Create a batch with rows and no columns."""
    return pa.record_batch([pa.nulls(rows)], names=["none"]).select([])


def _bitmap(valid: Bools | None) -> pa.Buffer | None:
    return None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _to_unix_epoch(values: Array) -> Bools:
    """Shift dates (days) or timestamps (microseconds) to epoch 1970 in place; return a mask of the valid ones."""
    if values.dtype.itemsize == 4:  # pandas shows Arrow dates as datetime.date, which has the years 1 to 9999
        shift = _EPOCH_DAYS
        finite: Bools = (values >= _FIRST_DAY - shift) & (values <= _LAST_DAY - shift)
    else:
        shift = _EPOCH_US
        limits = np.iinfo(values.dtype)
        finite = (values != limits.min) & (values <= limits.max - shift)
    if finite.all():
        values += values.dtype.type(shift)
    else:
        values[finite] += values.dtype.type(shift)
    return finite
