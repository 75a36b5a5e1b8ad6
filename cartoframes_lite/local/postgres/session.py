"""Asynchronous connections to PostgreSQL as the role of an API key.

They use libpq's non-blocking functions and not psycopg's cursors, because the SQL API exposes features of the simple
query protocol: several statements in one string, values as text, notices, rows before an error. Rows and COPY data are
processed in batches as they arrive, without a thread or an ``await`` for each: a binary COPY of 300,000 rows is about
as fast as with ``psql``.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import select
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField, ExecStatus, PollingStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

BLOCK_BYTES = 262_144  # of COPY data passed on at once; larger blocks were not faster
# PostgreSQL sends data when its buffer is full, or the statement has ended.
_SEND_BUFFER_BYTES = 8192
_COPY_DATA_HEADER_BYTES = 5  # of the protocol message of each row
_PROTOCOL_VIOLATION = "08P01"
_CONNECTION_FAILURE = "08006"
_CONNECTION_LOST = "Connection terminated"
_QUERY_CANCELED = "57014"
_TOO_LARGE = "54000"
_MIN_READ_BYTES = 8192  # libpq always has at least this much room in its input buffer
_RESULT_ROWS = 4  # a result of `execute` may be this many times as large as `max_row_bytes`
CANCEL_GRACE_S = 1.0  # a statement that is still running so long after its cancellation is terminated
FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


class SQLError(Exception):
    """A statement failed or was canceled.

    Attributes
    ----------
    message, detail, hint : str
        Texts of PostgreSQL's error; ``detail`` and ``hint`` may be empty.
    sqlstate : str
        Error code of five characters, empty if the connection could not be opened.
    """

    def __init__(self, message: str, *, sqlstate: str = "", detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.sqlstate, self.detail, self.hint = message, sqlstate, detail, hint

    @classmethod
    def of(cls, result: PGresult) -> SQLError:
        """Return the error of a failed result."""

        def field(which: DiagnosticField) -> str:
            return (result.error_field(which) or b"").decode("utf-8", "replace")

        if result.error_field(DiagnosticField.SQLSTATE) is None:  # an error of libpq, not of the server
            return cls(_CONNECTION_LOST, sqlstate=_CONNECTION_FAILURE)
        return cls(
            field(DiagnosticField.MESSAGE_PRIMARY),
            sqlstate=field(DiagnosticField.SQLSTATE),
            detail=field(DiagnosticField.MESSAGE_DETAIL),
            hint=field(DiagnosticField.MESSAGE_HINT),
        )


class UnexpectedCopyError(Exception):
    """The statement is not a COPY in the expected direction."""


class Session:
    """One connection. It runs one query string at a time.

    Attributes
    ----------
    notices : list of (str, str)
        Severity and message of the notices of this request, in order.
    time_limit_s : float, optional
        Timeout of all statements of a query string together, in seconds. ``statement_timeout`` of PostgreSQL applies
        to each statement, and statements can change it.
    max_row_bytes : int, optional
        Maximum size of a row of `results`, in bytes; a result of `execute` may be about four times as large.
    on_overrun : callable
        Called with this session when its statements keep running after they were canceled.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self.pgconn = pgconn
        self.notices: list[tuple[str, str]] = []
        self.time_limit_s: float | None = None
        self.max_row_bytes: int | None = None
        self._pending_bytes = 0  # received, of a row or result that is not complete yet
        self._max_pending_bytes: int | None = None
        self._is_single_row = False
        self._failure: SQLError | None = None
        self.on_overrun: Callable[[Session], object] = lambda session: None
        self._timer: asyncio.TimerHandle | None = None
        self._is_timed_out = False
        self._is_cleaning = False
        pgconn.notice_handler = self._keep_notice

    @classmethod
    async def connect(cls, conninfo: str) -> Self:
        """Open a connection.

        Raises
        ------
        SQLError
            If PostgreSQL cannot be reached or rejects the login.
        """
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        session = cls(pgconn)
        try:
            while (status := pgconn.connect_poll()) != PollingStatus.OK:
                if status == PollingStatus.FAILED:
                    raise SQLError(pgconn.get_error_message().strip())
                await session._wait(write=status == PollingStatus.WRITING)
        except BaseException:  # including the cancellation of the request
            pgconn.finish()
            raise
        pgconn.nonblocking = 1
        return session

    async def execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement and return its result, as text or binary; raise SQLError if it fails."""
        return await self._execute(query, parameters, binary=binary)

    async def _execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement; not overridden by subclasses, unlike `execute`."""
        values = [value if value is None else value.encode() for value in parameters]
        self._pending_bytes, self._is_single_row = 0, False
        self._max_pending_bytes = self.max_row_bytes and _RESULT_ROWS * self.max_row_bytes
        self.pgconn.send_query_params(encoded(query), values, result_format=int(binary))
        await self._flush()
        result = None
        while (last := await self._result()) is not None:
            if result is None or result.status not in FAILED:  # an error can be followed by that of a lost connection
                result = last
        assert result is not None  # every statement has a result
        if result.status in FAILED:
            raise SQLError.of(result)
        return result

    def error(self, result: PGresult) -> SQLError:
        """Return the error of a failed result of `results`."""
        if self._failure is not None:
            return self._failure
        return self._timeout_error() if self._is_timed_out else SQLError.of(result)

    async def results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements and yield their results in lists, as they arrive.

        Yields
        ------
        list of PGresult
            ``SINGLE_TUPLE`` for each row, then one result for each statement. An error is the last result
            and is not raised. A ``COPY FROM STDIN`` fails; the data of a ``COPY TO STDOUT`` is discarded.
        """
        with self._time_limit():
            async for results in self._results(query):
                yield results

    async def _results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements without a time limit."""
        pgconn = self.pgconn
        self._pending_bytes, self._max_pending_bytes, self._is_single_row = 0, self.max_row_bytes, True
        self._failure = None
        self._send(query)
        pgconn.set_single_row_mode()
        await self._flush()
        arrived: list[PGresult] = []
        failed = is_continued = False
        while True:
            while not self._is_busy():
                result = pgconn.get_result()
                self._pending_bytes = 0
                if result is None:
                    if arrived:
                        yield arrived
                    return
                if result.status == ExecStatus.COPY_IN:
                    pgconn.put_copy_end(b"No source stream defined")
                    await self._flush()
                elif result.status == ExecStatus.COPY_OUT:
                    await self._drain_copy()
                elif not failed:  # an error can be followed by that of a lost connection
                    if is_continued and self._is_too_large(result):
                        yield [*arrived, self._fail_row()]
                        return
                    arrived.append(result)
                    failed = result.status in FAILED
                is_continued = False
            if arrived:
                yield arrived
                arrived = []
                await asyncio.sleep(0)  # let other requests run, even if rows arrive without a pause
            self._read()
            is_continued = True  # only a row that needed another read can be too large
            if self._is_busy():
                try:
                    await self._receive()
                except SQLError:
                    yield [self._fail_row()]
                    return

    async def copy_out(self, query: str) -> AsyncIterator[bytes]:
        """Run a COPY TO STDOUT and yield its data in blocks of about ``BLOCK_BYTES``.

        Raises
        ------
        SQLError
            If the statement fails. Data received before the error is yielded first, except less than 8 KB: PostgreSQL
            would not have sent it yet.
        UnexpectedCopyError
            If the statement is not a COPY TO STDOUT.
        """
        await self._start_copy(query, ExecStatus.COPY_OUT)
        parts: list[bytes | memoryview] = []
        size = header_bytes = 0
        has_yielded = False
        while True:
            length, data = self._copy_data()
            if length == 0:
                self._read()
                length, data = self._copy_data()
            if length < 0:
                break
            if length == 0:
                await self._wait()
                self._read()
                continue
            parts.append(data)
            size += length
            header_bytes += _COPY_DATA_HEADER_BYTES
            if size >= BLOCK_BYTES:
                yield b"".join(parts)
                parts, size, has_yielded = [], 0, True
                await asyncio.sleep(0)  # let other requests run, even if the client reads without a pause
        if has_yielded or size + header_bytes > _SEND_BUFFER_BYTES:
            if parts:
                yield b"".join(parts)
            await self._finish_copy()
        else:
            await self._finish_copy()
            if parts:
                yield b"".join(parts)

    async def start_copy_in(self, query: str) -> None:
        """Start a COPY FROM STDIN; return when it waits for data."""
        await self._start_copy(query, ExecStatus.COPY_IN)

    async def copy_in(self, data: bytes) -> None:
        """Send a block of data, with backpressure. Errors of PostgreSQL are raised by `end_copy_in`."""
        try:
            self.pgconn.put_copy_data(data)
        except psycopg.OperationalError:
            raise SQLError("write ECONNRESET", sqlstate=_CONNECTION_FAILURE) from None
        await self._flush()

    async def end_copy_in(self, error: str | None = None) -> int:
        """End a COPY FROM STDIN; with ``error``, abort it.

        Returns
        -------
        int
            Number of rows copied.

        Raises
        ------
        SQLError
            If the COPY failed or was aborted.
        """
        with suppress(psycopg.OperationalError):  # a lost connection is raised with the results
            self.pgconn.put_copy_end(None if error is None else error.encode())
        await self._flush()
        return await self._finish_copy()

    @property
    def is_running(self) -> bool:
        """Whether a statement of a request is running."""
        is_open = self.pgconn.status == pq.ConnStatus.OK
        return is_open and self.pgconn.transaction_status == TransactionStatus.ACTIVE and not self._is_cleaning

    def cancel(self) -> None:
        """Request the cancellation of the running statement."""
        with suppress(psycopg.OperationalError):  # the backend may have ended
            self.pgconn.get_cancel().cancel()

    def close(self) -> None:
        """Cancel the running statement, if any, and close the connection."""
        if self.is_running:
            self.cancel()
        if self.pgconn.status == pq.ConnStatus.OK:
            self.pgconn.finish()

    def _timeout_error(self) -> SQLError:
        """Return the error of statements that exceeded the time limit; the same as PostgreSQL's."""
        return SQLError("canceling statement due to statement timeout", sqlstate=_QUERY_CANCELED)

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Return a context manager that cancels the running statements after ``time_limit_s``."""
        self._is_timed_out = False
        if self.time_limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self.time_limit_s, self._stop)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _stop(self) -> None:
        """Cancel the running statements; call `on_overrun` if they catch the error and keep running."""
        was_timed_out, self._is_timed_out = self._is_timed_out, True
        if not self.is_running:
            return
        if was_timed_out:
            self.on_overrun(self)
        else:
            self.cancel()
            self._timer = asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._stop)

    async def begin_cleaning(self) -> bool:
        """Roll back an open transaction and send DISCARD ALL; return False if the session cannot be reused.

        DISCARD ALL runs while the response is sent to the client: `is_clean` waits for it before the next request.
        """
        status = self.pgconn.transaction_status
        try:
            if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                await self._execute("ROLLBACK")
            elif status != TransactionStatus.IDLE:
                return False
            self.pgconn.send_query(b"DISCARD ALL")
            self._is_cleaning = True
            await self._flush()
        except (SQLError, psycopg.OperationalError):
            return False
        return True

    async def is_clean(self) -> bool:
        """Wait for the end of `begin_cleaning`; return False if it failed or the connection was lost."""
        try:
            self.pgconn.consume_input()  # usually it has ended long before
            while (result := await self._result()) is not None:
                if result.status in FAILED:
                    return False
        except psycopg.OperationalError:
            return False
        self._is_cleaning = False
        self.notices.clear()
        return not self._is_lost()

    # libpq

    def _send(self, query: str) -> None:
        """Send statements with the simple query protocol."""
        self.pgconn.send_query(encoded(query))

    def _is_lost(self) -> bool:
        """Return whether PostgreSQL has closed an idle connection: its socket is readable then."""
        if self.pgconn.status != pq.ConnStatus.OK:
            return True
        return bool(select.select([self.pgconn.socket], [], [], 0)[0])

    def _keep_notice(self, result: PGresult) -> None:
        """Store a notice."""
        severity = result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) or b"NOTICE"
        message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
        self.notices.append((severity.decode(), message.decode("utf-8", "replace")))

    async def _wait(self, *, write: bool = False) -> None:
        """Wait until the socket is readable or, with ``write``, readable or writable."""
        loop, descriptor = asyncio.get_running_loop(), self.pgconn.socket
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(descriptor, wake)
        if write:
            loop.add_writer(descriptor, wake)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
            if write:
                loop.remove_writer(descriptor)

    def _is_busy(self) -> bool:
        """Return whether the next result has not arrived yet; False if the connection is lost."""
        return self.pgconn.status == pq.ConnStatus.OK and bool(self.pgconn.is_busy())

    def _read(self) -> None:
        """Read the data that has arrived. A lost connection is reported by the next result."""
        with suppress(psycopg.OperationalError):
            self.pgconn.consume_input()

    async def _flush(self) -> None:
        """Send the data that libpq has buffered. A lost connection is reported by the next result."""
        with suppress(psycopg.OperationalError):
            while self.pgconn.flush():
                await self._wait(write=True)
                self._read()

    async def _result(self) -> PGresult | None:
        """Return the next result, None after the last."""
        while self._is_busy():
            await self._receive()
        self._pending_bytes = 0
        return self.pgconn.get_result()

    async def _receive(self) -> None:
        """Wait for more data of an incomplete result; raise SQLError if the result is too large.

        libpq buffers the whole result and does not expose its size, so the unread bytes of the socket are counted
        before each read. With many rows, libpq may read only a part of them: only bytes that were read are counted.
        """
        await self._wait()
        if self._max_pending_bytes is None:
            self._read()
            return
        descriptor = self.pgconn.socket
        before = _unread_bytes(descriptor)
        if self._is_single_row:
            self._pending_bytes += before
        if self._pending_bytes <= self._max_pending_bytes:
            self._read()
            if self._is_single_row:
                return
            after = _unread_bytes(descriptor) if self.pgconn.status == pq.ConnStatus.OK else before
            self._pending_bytes += max(min(before, _MIN_READ_BYTES), before - after)
        if self._pending_bytes > self._max_pending_bytes:
            raise self._row_error()

    def _row_error(self) -> SQLError:
        """Return the error of a row that is too large."""
        return SQLError(f"Row too large, was more than {self._max_pending_bytes} bytes", sqlstate=_TOO_LARGE)

    def _fail_row(self) -> PGresult:
        """Store the error of a row that is too large; return a failed result for it."""
        self._failure = self._row_error()
        return self.pgconn.make_empty_result(ExecStatus.FATAL_ERROR)

    def _is_too_large(self, row: PGresult) -> bool:
        """Return whether a complete row is too large: data read outside of `_receive` was not counted."""
        if self._max_pending_bytes is None or row.status != ExecStatus.SINGLE_TUPLE:
            return False
        return sum(len(row.get_value(0, column) or b"") for column in range(row.nfields)) > self._max_pending_bytes

    def _copy_data(self) -> tuple[int, bytes | memoryview]:
        """Return length and data of a COPY row; length 0 if none has arrived, -1 after the last."""
        try:
            length, data = self.pgconn.get_copy_data(1)
        except psycopg.OperationalError:
            return -1, b""
        if length == 0 and self.pgconn.status != pq.ConnStatus.OK:
            return -1, b""
        return length, data

    async def _drain_copy(self) -> None:
        """Discard the data of a COPY TO STDOUT."""
        while (length := self._copy_data()[0]) >= 0:
            if length == 0:
                await self._wait()
                self._read()

    async def _start_copy(self, query: str, expected: ExecStatus) -> None:
        """Run statements until a COPY starts; raise UnexpectedCopyError if it is not in the expected direction."""
        self._send(query)
        await self._flush()
        while (result := await self._result()) is not None:
            if result.status in FAILED:
                while await self._result():
                    pass
                raise SQLError.of(result)
            if result.status == expected:
                return
            if result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT):
                self.close()
                raise UnexpectedCopyError
        raise UnexpectedCopyError

    async def _finish_copy(self) -> int:
        """Read the results after the data; return the number of rows copied."""
        rows, failure = 0, None
        while (result := await self._result()) is not None:
            if result.status in FAILED:
                failure = failure or SQLError.of(result)
            elif result.status == ExecStatus.COPY_IN:  # a second COPY in the same query string: there is no data for it
                with suppress(psycopg.OperationalError):
                    self.pgconn.put_copy_end(b"one COPY of data at a time")
                await self._flush()
            elif result.status == ExecStatus.COPY_OUT:
                await self._drain_copy()
            elif (result.command_status or b"").startswith(b"COPY"):
                rows = result.command_tuples or 0
        if failure:
            raise failure
        return rows


def _unread_bytes(descriptor: int) -> int:
    """Return the number of bytes in a socket that can be read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


# PostgreSQL's lexer takes quadratic time for a long run of operator characters with comments, and cannot be canceled.
_OPERATORS = re.compile(r"[-+*/<>=~!@#%^&|`?]{2000,}+")
_TOO_COMPLEX = "54001"


def encoded(query: str) -> bytes:
    """Encode statements as UTF-8; raise SQLError for NUL, where libpq would truncate, and for costly comments."""
    if "\0" in query:
        raise SQLError("invalid message format", sqlstate=_PROTOCOL_VIOLATION)
    if any("/*" in run[0] for run in _OPERATORS.finditer(query)):
        raise SQLError("the query has too many comments without whitespace between them", sqlstate=_TOO_COMPLEX)
    try:
        return query.encode()
    except UnicodeEncodeError:  # lone surrogates are replaced, as by Node.js
        return query.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
