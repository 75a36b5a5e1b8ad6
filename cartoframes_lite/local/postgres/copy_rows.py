"""Rows of a COPY TO STDOUT, in large blocks.

libpq returns the rows one by one. Over a Unix socket they are read from the socket instead, which takes less than half
the processor time: PostgreSQL sends each row as a message, and `SocketRows` removes the headers of these messages. It
passes all other messages on to libpq, which handles everything but the rows. Other connections may be encrypted, and
use `LibpqRows`.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

from cartoframes_lite.local.postgres.connection import Connection

_BLOCK_BYTES = 262_144  # larger blocks were not faster
_HEADER_BYTES = 5  # of a message: type, and length without the type
_read_header = struct.Struct("!BI").unpack_from
_ROW = ord("d")  # CopyData
# The first message of one of these types ends the rows: CopyDone, ErrorResponse, CopyInResponse, ReadyForQuery.
_LAST_TYPES = b"cEGZ"


class Rows(Protocol):
    """Rows of a COPY TO STDOUT.

    Attributes
    ----------
    message_bytes : int
        Size of the rows that were read, with the headers of their messages.
    is_complete : bool
        Whether all rows up to the end or an error were read.
    """

    message_bytes: int
    is_complete: bool

    async def read(self) -> bytes:
        """Return the next rows, about 256 KB unless they are the last ones or one row is larger."""


def open_rows(connection: Connection) -> Rows:
    """Return the rows of a COPY TO STDOUT that was sent and whose results were not read yet."""
    return SocketRows(connection) if connection.is_unix else LibpqRows(connection)


async def discard_rows(connection: Connection) -> None:
    """Discard the rows of a COPY TO STDOUT that libpq reads."""
    while (length := connection.copy_data()[0]) >= 0:
        if length == 0:
            await connection.receive()


class LibpqRows:
    """Rows that libpq reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.message_bytes = 0
        self.is_complete = False

    async def read(self) -> bytes:
        """Return the next rows."""
        parts: list[bytes | memoryview] = []
        size, copy_data = 0, self._connection.copy_data  # called for each row
        while size < _BLOCK_BYTES:
            length, data = copy_data()
            if length == 0:
                self._connection.read()
                length, data = copy_data()
            if length < 0:
                self.is_complete = True
                break
            if length == 0:
                await self._connection.receive()
                continue
            parts.append(data)
            size += _HEADER_BYTES + length
        self.message_bytes += size
        return b"".join(parts)


class SocketRows:
    """Rows that are read from the socket, until the message that ends them: then libpq reads again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = memoryview(bytearray(_BLOCK_BYTES))
        self._begin = self._end = 0  # of the incomplete message after the rows
        self._rows: list[memoryview] = []  # complete ones, in the buffer
        self.message_bytes = 0
        self.is_complete = False
        connection.receiver = self.receive

    async def read(self) -> bytes:
        """Return the next rows."""
        while not self.is_complete and not (self._is_full and self._rows):
            await self._connection.wait(until=self.receive)
        if self.is_complete:
            await discard_rows(self._connection)  # there are none: libpq reads the message that ended them
        block = b"".join(self._rows)
        self._rows.clear()
        self._make_room()
        return block

    def receive(self) -> bool:
        """Read what has arrived; return whether the buffer is full or the rows are complete."""
        if self._is_full and not self._rows:
            self._make_room()  # for the rest of a message that is larger
        try:
            size = os.readv(self._connection.pgconn.socket, [self._buffer[self._end :]])
        except BlockingIOError:
            return False
        except OSError:
            size = 0
        self._end += size
        self._split(is_lost=size == 0)
        return self.is_complete or self._is_full

    @property
    def _is_full(self) -> bool:
        """Whether the buffer is full."""
        return self._end == len(self._buffer)

    def _split(self, *, is_lost: bool) -> None:
        """Split what was read into rows, and other messages for libpq."""
        buffer, start, last_start, end = self._buffer, self._begin, self._end - _HEADER_BYTES, self._end
        add_row, read_header = self._rows.append, _read_header
        others: list[memoryview] = []
        while start <= last_start:
            kind, length = read_header(buffer, start)
            after = start + 1 + length
            if kind == _ROW:
                if after > end:
                    break
                add_row(buffer[start + _HEADER_BYTES : after])
                start = after
                continue
            if kind in _LAST_TYPES:
                self.is_complete = True
                break
            if after > end:
                break
            others.append(buffer[start:after])
            start = after
        self.message_bytes += start - self._begin - sum(map(len, others))
        if is_lost or self.is_complete:
            others.append(buffer[start:end])
            self.is_complete, start = True, end
            self._connection.receiver = None  # libpq finds out that the connection is lost
        self._begin = start
        if others:
            self._connection.feed(b"".join(others))

    def _make_room(self) -> None:
        """Move the incomplete message to the start of the buffer, and make the buffer large enough for it."""
        rest = self._buffer[self._begin : self._end]
        size = _BLOCK_BYTES
        if len(rest) >= _HEADER_BYTES:
            size = max(size, 1 + _read_header(rest)[1])
        if size != len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        self._buffer[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)
