"""Limit of the size of results while they are received."""

from __future__ import annotations

import fcntl
import sys
import termios
from contextlib import suppress
from itertools import product, starmap

import psycopg
from psycopg import pq
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from cartoframes_lite.local.postgres.errors import SQLError

_TOO_LARGE = "54000"  # SQLSTATE
_MIN_READ_BYTES = 8192  # libpq always has at least this much room in its input buffer


class ResultSizeLimit:
    """Limit of the size of a result or, in single-row mode, of each row.

    libpq buffers the whole result and does not expose its size, so the unread bytes of the socket are counted before
    each read. With many rows, libpq may read only a part of them: only bytes that were read are counted.

    Parameters
    ----------
    max_bytes : int or None
        None: no limit.
    single_row : bool
    """

    def __init__(self, max_bytes: int | None, *, single_row: bool = False) -> None:
        self._max_bytes, self._single_row = max_bytes, single_row
        self._size = 0  # received, of a row or result that is not complete yet

    def start_row(self) -> None:
        """Start to count the next row or result."""
        self._size = 0

    def read(self, pgconn: PGconn) -> None:
        """Read the data that has arrived, as `Connection.read` does; raise SQLError if the result is too large."""
        before = 0 if self._max_bytes is None else unread_bytes(pgconn)
        if self._single_row:
            self._size += before
            self._check()
        with suppress(psycopg.OperationalError):
            pgconn.consume_input()
        if not self._single_row and self._max_bytes is not None:
            after = unread_bytes(pgconn) if pgconn.status == pq.ConnStatus.OK else before
            self._size += max(min(before, _MIN_READ_BYTES), before - after)
            self._check()

    def check(self, result: PGresult) -> None:
        """Raise SQLError if a complete result is too large: data that arrived while `read` ran was not counted."""
        if self._max_bytes is not None:
            values = starmap(result.get_value, product(range(result.ntuples), range(result.nfields)))
            self._size = sum(len(value) for value in values if value is not None)
            self._check()

    def is_exceeded_by(self, row: PGresult) -> bool:
        """Return whether a complete row is too large: data that was not read by `read` was not counted."""
        if self._max_bytes is None or row.status != ExecStatus.SINGLE_TUPLE:
            return False
        return sum(len(row.get_value(0, column) or b"") for column in range(row.nfields)) > self._max_bytes

    def error(self) -> SQLError:
        """Return the error of a row or result that is too large."""
        return SQLError(f"Row too large, was more than {self._max_bytes} bytes", sqlstate=_TOO_LARGE)

    def _check(self) -> None:
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise self.error()


def unread_bytes(pgconn: PGconn) -> int:
    """Return the number of bytes in the socket that can be read."""
    return int.from_bytes(fcntl.ioctl(pgconn.socket, termios.FIONREAD, bytes(4)), sys.byteorder)
