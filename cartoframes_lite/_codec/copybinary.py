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

import numpy as np
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from cartoframes_lite._codec.copy_rows import (
    PADDING_BYTES,
    ROW_HEAD,
    SYNC_BYTES,
    BrokenStream,
    Bytes,
    Ints,
    RowDecoder,
    gather,
)

_WORD_BYTES = 4
BLOCK_BYTES = 1 << 21  # decoding is slower in smaller blocks, and in blocks that do not fit in the CPU cache
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NO_FIELDS = bytes(2)
_PADDING = bytes(PADDING_BYTES)


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
    first_sync : bytes or None
        Which of both the rows have; None before the first row.
    """

    schema: pa.Schema
    sync: bytes
    other_sync: bytes | None = None
    first_sync: bytes | None = None
    _rest: bytes = b""
    _header_seen: bool = False
    _buffer: Bytes = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)
    _rows: RowDecoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rows = RowDecoder(self.schema)

    @property
    def infinite(self) -> set[str]:
        """Columns in which infinite (or not representable) dates or timestamps became null."""
        return self._rows.infinite

    def feed(self, *blocks: bytes) -> pa.RecordBatch | None:
        """Decode the complete rows; the last one is kept until the beginning of the next one confirms its end."""
        data = self._join(blocks)
        starts = self._row_starts(data) if self._header_seen else np.empty(0, np.int64)
        if len(starts) < 2:
            self._rest = data[: -len(_PADDING)].tobytes()
            return None
        batch = self._rows.decode(data, starts[:-1], starts[1:])
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
        return self._rows.decode(data, starts, np.append(starts, end)[1:])

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
        count, before = len(self.schema) + 1, ROW_HEAD.itemsize - SYNC_BYTES
        if self.first_sync is None:
            first = data[before : ROW_HEAD.itemsize].tobytes()
            self.first_sync = first if first in (self.sync, self.other_sync) else None
        sync = self.first_sync or self.sync
        # Wherever a sync begins, four of its first seven bytes are an aligned word. To compare all aligned words with
        # the four possible values is faster than to compare all bytes.
        words = data[: len(data) // _WORD_BYTES * _WORD_BYTES].view(np.uint32)
        parts = [np.frombuffer(sync, np.uint32, 1, shift)[0] for shift in range(_WORD_BYTES)]
        is_part = words == parts[0]
        for part in parts[1:]:
            is_part |= words == part
        positions = np.flatnonzero(is_part)
        found = words[positions]
        starts: Ints = positions * _WORD_BYTES - before
        for shift, part in enumerate(parts[1:], 1):
            starts[found == part] -= shift
        starts = starts[(starts >= 0) & (starts <= len(data) - ROW_HEAD.itemsize)]
        heads = gather(data, ROW_HEAD, starts)
        is_start = (heads["count"] == count) & (heads["length"] == SYNC_BYTES)
        starts = starts[is_start & (heads["sync"] == np.frombuffer(sync, np.uint64))]
        if len(starts) and starts[0] != 0:
            raise BrokenStream("a row does not begin where the previous one ended", self._rest)
        return starts


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
