"""Encode and decode PostgreSQL's binary COPY format from and to Arrow.

A binary row is an ``int16`` number of fields, then for each field an ``int32`` length (-1 for NULL) and the bytes. Rows
have no delimiters, and walking them one by one is too slow in Python. So the client selects a random constant of 8
bytes, the *sync*, as the first column: all rows of a block are found at once by a vectorized search, and then each
column is decoded for all rows at once.

The result is verified: each row must end where the next one begins, and the stream must end with the trailer. A sync
inside a value, a truncated stream, or an error message after the data is detected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

SYNC_BYTES = 8
BLOCK_BYTES = 1 << 20  # decoding is fastest if a block and its columns fit in the CPU cache
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NO_FIELDS = bytes(2)
_PADDING = bytes(8)  # a NULL at the end of the data is read as if it were 8 bytes wide

_EPOCH_DAYS = 10_957  # from 1970-01-01 to PostgreSQL's 2000-01-01
_EPOCH_US = _EPOCH_DAYS * 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31 in days from 1970-01-01

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class BrokenStream(ValueError):
    """The bytes are not a complete binary COPY; ``rest`` contains those that were not decoded."""

    def __init__(self, message: str, rest: bytes = b"") -> None:
        super().__init__(message)
        self.rest = rest


@dataclass(slots=True)
class Decoder:
    """Decode a binary COPY stream that arrives in pieces of any size.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns after the sync. Known types: int16/32/64, float32/64, bool, date32, time64[us],
        timestamp[us] with or without time zone, large_string, large_binary.
    sync : bytes
        The 8 bytes that are the first column of every row.
    other_sync : bytes, optional
        8 bytes that may be the first column of every row in place of them.

    Attributes
    ----------
    infinite : set of str
        Columns in which infinite (or not representable) dates or timestamps became null.
    first_sync : bytes or None
        Which of both the rows have; None before the first row.
    """

    schema: pa.Schema
    sync: bytes
    other_sync: bytes | None = None
    infinite: set[str] = field(default_factory=set)
    first_sync: bytes | None = None
    _rest: bytes = b""
    _header_seen: bool = False
    _buffer: Bytes = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)

    def feed(self, *blocks: bytes) -> pa.RecordBatch | None:
        """Decode the complete rows; the last one is kept until the beginning of the next one confirms its end."""
        data = self._join(blocks)
        starts = self._row_starts(data) if self._header_seen else np.empty(0, np.int64)
        if len(starts) < 2:
            self._rest = data[: -len(_PADDING)].tobytes()
            return None
        batch = self._decode(data, starts[:-1], starts[1:])
        self._rest = data[starts[-1] : -len(_PADDING)].tobytes()
        return batch

    def finish(self) -> pa.RecordBatch:
        """Decode the remaining rows, and check that the stream ended with its trailer.

        Raises
        ------
        BrokenStream
            If the rest is anything but complete rows and the trailer.
        """
        data = self._join(())
        end = len(data) - len(_PADDING) - len(_TRAILER)
        if not self._header_seen or end < 0 or data[end : end + len(_TRAILER)].tobytes() != _TRAILER:
            raise BrokenStream("the stream ended before its trailer", self._rest)
        starts = self._row_starts(data)
        if len(starts) == 0 and end:
            raise BrokenStream("bytes that are not a row precede the trailer", self._rest)
        return self._decode(data, starts, np.append(starts, end)[1:])

    def _join(self, blocks: tuple[bytes, ...]) -> Bytes:
        """Join the remaining and the new bytes in the buffer, without the header and with padding.

        The buffer is reused: the page faults of a new one would take longer than the copy.
        """
        if not self._header_seen:
            self._rest, blocks = b"".join((self._rest, *blocks)), ()
            if not self._rest.startswith(_HEADER[: len(self._rest)]):
                raise BrokenStream("the stream does not begin as a binary COPY", self._rest)
            if len(self._rest) >= len(_HEADER):
                self._rest, self._header_seen = self._rest[len(_HEADER) :], True
        parts = (self._rest, *blocks, _PADDING)
        size = sum(map(len, parts))
        if size > len(self._buffer):
            self._buffer = np.empty(2 * size, np.uint8)
        at = 0
        for part in parts:
            self._buffer[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
        return self._buffer[:size]

    def _row_starts(self, data: Bytes) -> Ints:
        """Return the offsets of all rows: the positions of a field count, the length of the sync, and the sync."""
        mark = (len(self.schema) + 1).to_bytes(2, "big") + SYNC_BYTES.to_bytes(4, "big")
        if self.first_sync is None:
            self.first_sync = self._find_sync(data[len(mark) : len(mark) + SYNC_BYTES].tobytes())
        (sync,) = np.frombuffer(self.first_sync or self.sync, np.uint64)
        found = []
        for shift in range(8):  # eight fast passes over aligned words instead of a slow one over bytes
            words = np.frombuffer(data, np.uint64, (len(data) - shift) // 8, shift)
            found.append(np.flatnonzero(words == sync) * 8 + shift)
        starts: Ints = np.sort(np.concatenate(found)) - len(mark)
        starts = starts[starts >= 0]
        marks = np.ndarray((len(data) - 5,), "V6", data, strides=(1,))
        starts = starts[marks[starts] == np.void(mark)]
        if len(starts) and starts[0] != 0:
            raise BrokenStream("a row does not begin where the previous one ended", self._rest)
        return starts

    def _find_sync(self, first: bytes) -> bytes | None:
        """Return the sync if the first row begins with one."""
        return first if first in (self.sync, self.other_sync) else None

    def _decode(self, data: Bytes, starts: Ints, ends: Ints) -> pa.RecordBatch:
        """Decode each column for all rows at once, and check that each row ends at ``ends``."""
        at = starts + (2 + 4 + SYNC_BYTES)
        arrays = []
        for column in self.schema:
            lengths = self._lengths(data, at)
            valid = lengths >= 0
            arrays.append(self._column(column, data, at + 4, lengths, valid))
            at = at + 4 + np.where(valid, lengths, 0)
        if not np.array_equal(at, ends):
            raise BrokenStream("a row does not end where the next one begins", data.tobytes())
        if not arrays:
            return without_columns(len(starts))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    @staticmethod
    def _lengths(data: Bytes, at: Ints) -> Ints:
        view = np.ndarray((len(data) - 3,), ">i4", data, strides=(1,))
        if len(at) and at.max() >= len(view):
            raise BrokenStream("a field begins after the end of the data", data.tobytes())
        lengths = view[at].astype(np.int64)
        if len(at) and (lengths.min() < -1 or (at + lengths).max() > len(data) - 4 - len(_PADDING)):
            raise BrokenStream("a field is longer than the data", data.tobytes())
        return lengths

    def _column(self, column: pa.Field, data: Bytes, at: Ints, lengths: Ints, valid: Bools) -> pa.Array:
        if pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type):
            return _gather(column.type, data, at, lengths, valid)
        dtype = _WIRE_DTYPES[column.type.id]
        view = np.ndarray((len(data) - dtype.itemsize + 1,), dtype, data, strides=(1,))
        if np.any((lengths != dtype.itemsize) & valid):
            raise BrokenStream(f"a field of column {column.name!r} is not {dtype.itemsize} bytes long", data.tobytes())
        values: npt.NDArray[Any] = view[at].astype(dtype.newbyteorder("="))
        if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
            finite = _to_unix_epoch(values)
            if np.any(valid & ~finite):
                self.infinite.add(column.name)
                valid = valid & finite
        if pa.types.is_boolean(column.type):
            values = np.packbits(values != 0, bitorder="little")
        buffers = [_bitmap(valid), pa.py_buffer(values)]
        return pa.Array.from_buffers(column.type, len(valid), buffers)


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


def without_columns(rows: int) -> pa.RecordBatch:
    """Create a batch with rows and no columns."""
    return pa.record_batch([pa.nulls(rows)], names=["none"]).select([])


def _bitmap(valid: Bools) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _to_unix_epoch(values: npt.NDArray[Any]) -> Bools:
    """Shift dates (days) or timestamps (microseconds) to epoch 1970 in place; return a mask of the valid ones."""
    if values.dtype.itemsize == 4:  # pandas shows Arrow dates as datetime.date, which has the years 1 to 9999
        shift = _EPOCH_DAYS
        finite: Bools = (values >= _FIRST_DAY - shift) & (values <= _LAST_DAY - shift)
    else:
        shift = _EPOCH_US
        limits = np.iinfo(values.dtype)
        finite = (values != limits.min) & (values <= limits.max - shift)
    values[finite] += values.dtype.type(shift)
    return finite


def _gather(kind: pa.DataType, data: Bytes, at: Ints, lengths: Ints, valid: Bools) -> pa.Array:
    """Gather values of variable length.

    The block is viewed as an Arrow array whose items are alternately a value and the bytes up to the next value;
    ``take`` selects every second item.
    """
    count = len(at)
    if count == 0:
        return pa.array([], kind)
    bounds = np.empty(2 * count, np.int64)
    bounds[0::2] = at
    bounds[1::2] = at + np.where(valid, lengths, 0)
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), 2 * count - 1, [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    values = whole.take(pa.array(np.arange(0, 2 * count, 2)))
    _, offsets, content = values.buffers()
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), count, [_bitmap(valid), offsets, content])
    try:
        return values if kind == pa.large_binary() else values.cast(kind)
    except pa.ArrowInvalid as error:
        raise BrokenStream(f"text that is not UTF-8: {error}", data.tobytes()) from error


def decode(blocks: Iterable[bytes], decoder: Decoder) -> Iterator[pa.RecordBatch]:
    """Decode a stream block by block; the last batch is yielded only after the trailer was verified."""
    pending: list[bytes] = []
    size, min_bytes = 0, BLOCK_BYTES
    for block in blocks:
        pending.append(block)
        size += len(block)
        if size >= min_bytes:
            batch = decoder.feed(*pending)
            pending.clear()
            size = 0
            if batch is None:  # a row is larger than the block: wait for twice as many bytes
                min_bytes *= 2
            else:
                min_bytes = BLOCK_BYTES
                yield batch
    if pending:
        batch = decoder.feed(*pending)
        if batch is not None:
            yield batch
    yield decoder.finish()


def encode(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[bytes]:
    """Encode record batches, one block for each, between header and trailer."""
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:  # the encoder does not support rows without columns
        yield encoder.write_batch(batch) if batch.num_columns else _NO_FIELDS * batch.num_rows
    yield encoder.finish()
