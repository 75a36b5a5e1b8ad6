"""Connections to PostgreSQL as the role of an api key, driven by the event loop.

This sits on libpq's non-blocking calls and not on psycopg's cursors, because the SQL API hands on what the
simple query protocol gives: several statements in one string, values as text, notices, rows before an error.
Rows and blocks of COPY are handled in the bunches in which they arrive, without a thread or an ``await`` for
each: 300,000 rows of a binary COPY leave the server about as fast as ``psql`` writes them.
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

BLOCK_BYTES = 262_144  # one hand-over between database and socket; larger ones gained nothing
# PostgreSQL sends nothing before its buffer is full, or the statement has ended.
_SEND_BUFFER_BYTES = 8192
_COPY_DATA_HEAD_BYTES = 5  # of a message that carries a row
_PROTOCOL_VIOLATION = "08P01"
_CONNECTION_FAILURE = "08006"
_CONNECTION_LOST = "Connection terminated"
_QUERY_CANCELED = "57014"
_TOO_LARGE = "54000"
_LEAST_READ_BYTES = 8192  # for which libpq always has room
_RESULT_ROWS = 4  # largest rows in a result that is kept as a whole
CANCEL_GRACE_S = 1.0  # for a statement to end after it was asked to
FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


class SQLError(Exception):
    """PostgreSQL refused a statement, or stopped it.

    Attributes
    ----------
    message, detail, hint : str
        As PostgreSQL words them; ``detail`` and ``hint`` may be empty.
    sqlstate : str
        Code of five characters, empty if there was no connection to begin with.
    """

    def __init__(self, message: str, *, sqlstate: str = "", detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.sqlstate, self.detail, self.hint = message, sqlstate, detail, hint

    @classmethod
    def of(cls, result: PGresult) -> SQLError:
        """Read the error of a failed result."""

        def field(which: DiagnosticField) -> str:
            return (result.error_field(which) or b"").decode("utf-8", "replace")

        if result.error_field(DiagnosticField.SQLSTATE) is None:  # it is libpq that says so
            return cls(_CONNECTION_LOST, sqlstate=_CONNECTION_FAILURE)
        return cls(
            field(DiagnosticField.MESSAGE_PRIMARY),
            sqlstate=field(DiagnosticField.SQLSTATE),
            detail=field(DiagnosticField.MESSAGE_DETAIL),
            hint=field(DiagnosticField.MESSAGE_HINT),
        )


class UnexpectedCopyError(Exception):
    """The statement copies in the other direction, or does not copy at all."""


class Session:
    """One connection; one statement string at a time.

    Attributes
    ----------
    notices : list of (str, str)
        Severity and message of what the statements of this request raised, in order.
    time_limit_s : float, optional
        Longest time of all statements of one string together, in seconds: PostgreSQL's own limit is for each of them,
        and statements may set another one.
    most_bytes : int, optional
        Largest row of `results`, in bytes; a result of `execute` may have about four times as many.
    on_overrun : callable
        Called with this session when its statements go on after they were asked to stop.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self.pgconn = pgconn
        self.notices: list[tuple[str, str]] = []
        self.time_limit_s: float | None = None
        self.most_bytes: int | None = None
        self._arrived_bytes = 0  # of what is not complete yet
        self._most_arrived: int | None = None
        self._is_by_row = False
        self._failure: SQLError | None = None
        self.on_overrun: Callable[[Session], object] = lambda session: None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._is_cleaning = False
        pgconn.notice_handler = self._keep_notice

    @classmethod
    async def connect(cls, conninfo: str) -> Self:
        """Open a connection.

        Raises
        ------
        SQLError
            If PostgreSQL cannot be reached or refuses.
        """
        pgconn = pq.PGconn.connect_start(conninfo.encode())
        session = cls(pgconn)
        try:
            while (status := pgconn.connect_poll()) != PollingStatus.OK:
                if status == PollingStatus.FAILED:
                    raise SQLError(pgconn.get_error_message().strip())
                await session._wait(write=status == PollingStatus.WRITING)
        except BaseException:  # also when the request is given up meanwhile
            pgconn.finish()
            raise
        pgconn.nonblocking = 1
        return session

    async def execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement and return its result, as text or binary; raise SQLError if it fails."""
        return await self._execute(query, parameters, binary=binary)

    async def _execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement of the server's own, or of a request."""
        values = [value if value is None else value.encode() for value in parameters]
        self._arrived_bytes, self._is_by_row = 0, False
        self._most_arrived = self.most_bytes and _RESULT_ROWS * self.most_bytes
        self.pgconn.send_query_params(encoded(query), values, result_format=int(binary))
        await self._flush()
        result = None
        while (last := await self._result()) is not None:
            if result is None or result.status not in FAILED:  # the loss of the connection may follow an error
                result = last
        assert result is not None  # a statement has at least one
        if result.status in FAILED:
            raise SQLError.of(result)
        return result

    def error(self, result: PGresult) -> SQLError:
        """Read the error of a failed result of `results`."""
        if self._failure is not None:
            return self._failure
        return self._timed_out() if self._is_late else SQLError.of(result)

    async def results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements; yield lists of results as they arrive.

        Yields
        ------
        list of PGresult
            ``SINGLE_TUPLE`` for each row, then one result for each statement. A failure is the last result
            and is not raised. Data of a ``COPY`` is refused (in) or thrown away (out).
        """
        with self._in_time():
            async for results in self._results(query):
                yield results

    async def _results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements, without a limit of time."""
        pgconn = self.pgconn
        self._arrived_bytes, self._most_arrived, self._is_by_row = 0, self.most_bytes, True
        self._failure = None
        self._send(query)
        pgconn.set_single_row_mode()
        await self._flush()
        arrived: list[PGresult] = []
        failed = is_continued = False
        while True:
            while not self._is_busy():
                result = pgconn.get_result()
                self._arrived_bytes = 0
                if result is None:
                    if arrived:
                        yield arrived
                    return
                if result.status == ExecStatus.COPY_IN:
                    pgconn.put_copy_end(b"No source stream defined")
                    await self._flush()
                elif result.status == ExecStatus.COPY_OUT:
                    await self._drain_copy()
                elif not failed:  # the loss of the connection may follow an error
                    if is_continued and self._is_too_large(result):
                        yield [*arrived, self._fail_row()]
                        return
                    arrived.append(result)
                    failed = result.status in FAILED
                is_continued = False
            if arrived:
                yield arrived
                arrived = []
                await asyncio.sleep(0)  # rows that come quickly must not keep other requests waiting
            self._read()
            is_continued = True  # only a row that took more than one read can be large
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
            As soon as PostgreSQL reports it; what had been sent before is yielded first. Of a few rows nothing has.
        UnexpectedCopyError
            If the statement is another one.
        """
        await self._start_copy(query, ExecStatus.COPY_OUT)
        parts: list[bytes | memoryview] = []
        size = heads = 0
        flowing = False
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
            heads += _COPY_DATA_HEAD_BYTES
            if size >= BLOCK_BYTES:
                yield b"".join(parts)
                parts, size, flowing = [], 0, True
                await asyncio.sleep(0)  # a fast reader must not keep other requests waiting
        if flowing or size + heads > _SEND_BUFFER_BYTES:
            if parts:
                yield b"".join(parts)
            await self._finish_copy()
        else:
            await self._finish_copy()
            if parts:
                yield b"".join(parts)

    async def start_copy_in(self, query: str) -> None:
        """Run a COPY FROM STDIN up to where it waits for data."""
        await self._start_copy(query, ExecStatus.COPY_IN)

    async def copy_in(self, data: bytes) -> None:
        """Send a block of data as PostgreSQL takes it; libpq tells of an error only after the end of the COPY."""
        try:
            self.pgconn.put_copy_data(data)
        except psycopg.OperationalError:
            raise SQLError("write ECONNRESET", sqlstate=_CONNECTION_FAILURE) from None
        await self._flush()

    async def end_copy_in(self, error: str | None = None) -> int:
        """End a COPY FROM STDIN, or give it up with an error.

        Returns
        -------
        int
            Number of rows.

        Raises
        ------
        SQLError
            If PostgreSQL refused the data, or ``error`` was given.
        """
        with suppress(psycopg.OperationalError):  # the results tell of a lost connection
            self.pgconn.put_copy_end(None if error is None else error.encode())
        await self._flush()
        return await self._finish_copy()

    @property
    def is_running(self) -> bool:
        """Whether a statement of a request runs."""
        is_open = self.pgconn.status == pq.ConnStatus.OK
        return is_open and self.pgconn.transaction_status == TransactionStatus.ACTIVE and not self._is_cleaning

    def cancel(self) -> None:
        """Ask PostgreSQL to stop the running statement."""
        with suppress(psycopg.OperationalError):  # the backend may be gone already
            self.pgconn.get_cancel().cancel()

    def close(self) -> None:
        """Close the connection, after stopping what still runs in it."""
        if self.is_running:
            self.cancel()
        if self.pgconn.status == pq.ConnStatus.OK:
            self.pgconn.finish()

    def _timed_out(self) -> SQLError:
        """Return the error of statements that have taken too long, as PostgreSQL words it."""
        return SQLError("canceling statement due to statement timeout", sqlstate=_QUERY_CANCELED)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Stop what runs in this context when its time is over."""
        self._is_late = False
        if self.time_limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self.time_limit_s, self._stop)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _stop(self) -> None:
        """Stop the running statements; those that catch that, and go on, lose their connection."""
        was_late, self._is_late = self._is_late, True
        if not self.is_running:
            return
        if was_late:
            self.on_overrun(self)
        else:
            self.cancel()
            self._timer = asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._stop)

    async def begin_cleaning(self) -> bool:
        """Tell PostgreSQL to forget all that a request left in the session; return False if that is not possible.

        What is left of a transaction ends here. The rest takes PostgreSQL as long as the answer takes to reach its
        client: `is_clean` waits for it, before the next request.
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
        """Wait for the end of the cleaning; return False if it failed, or the connection was lost since."""
        try:
            self.pgconn.consume_input()  # most often it has ended long ago
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
        """Hand statements to libpq."""
        self.pgconn.send_query(encoded(query))

    def _is_lost(self) -> bool:
        """Say whether an idle connection was closed by PostgreSQL: it would have sent word of it."""
        if self.pgconn.status != pq.ConnStatus.OK:
            return True
        return bool(select.select([self.pgconn.socket], [], [], 0)[0])

    def _keep_notice(self, result: PGresult) -> None:
        """Keep a notice."""
        severity = result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) or b"NOTICE"
        message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
        self.notices.append((severity.decode(), message.decode("utf-8", "replace")))

    async def _wait(self, *, write: bool = False) -> None:
        """Wait until the socket can be read, or also written."""
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
        """Say whether the next result has to be waited for; of a lost connection it is that."""
        return self.pgconn.status == pq.ConnStatus.OK and bool(self.pgconn.is_busy())

    def _read(self) -> None:
        """Take what has arrived. A lost connection is told by the next result."""
        with suppress(psycopg.OperationalError):
            self.pgconn.consume_input()

    async def _flush(self) -> None:
        """Send what libpq has buffered. A lost connection is told by the next result."""
        with suppress(psycopg.OperationalError):
            while self.pgconn.flush():
                await self._wait(write=True)
                self._read()

    async def _result(self) -> PGresult | None:
        """Return the next result, None after the last."""
        while self._is_busy():
            await self._receive()
        self._arrived_bytes = 0
        return self.pgconn.get_result()

    async def _receive(self) -> None:
        """Wait for more of a result that is not complete; raise SQLError if there is too much of it.

        libpq keeps all of it, and does not tell how much that is. What waits in the socket is read at once if it
        belongs to one large row, for which libpq makes room. Of many rows only what was read for sure is counted.
        """
        await self._wait()
        if self._most_arrived is None:
            self._read()
            return
        descriptor = self.pgconn.socket
        before = _unread_bytes(descriptor)
        if self._is_by_row:
            self._arrived_bytes += before
        if self._arrived_bytes <= self._most_arrived:
            self._read()
            if self._is_by_row:
                return
            after = _unread_bytes(descriptor) if self.pgconn.status == pq.ConnStatus.OK else before
            self._arrived_bytes += max(min(before, _LEAST_READ_BYTES), before - after)
        if self._arrived_bytes > self._most_arrived:
            raise self._row_error()

    def _row_error(self) -> SQLError:
        return SQLError(f"Row too large, was more than {self._most_arrived} bytes", sqlstate=_TOO_LARGE)

    def _fail_row(self) -> PGresult:
        """Give up the statements for a row that is too large."""
        self._failure = self._row_error()
        return self.pgconn.make_empty_result(ExecStatus.FATAL_ERROR)

    def _is_too_large(self, row: PGresult) -> bool:
        """Tell whether a row that is complete has more bytes than allowed: all of it may have arrived at once."""
        if self._most_arrived is None or row.status != ExecStatus.SINGLE_TUPLE:
            return False
        return sum(len(row.get_value(0, column) or b"") for column in range(row.nfields)) > self._most_arrived

    def _copy_data(self) -> tuple[int, bytes | memoryview]:
        """Return length and data of a row of a COPY; length 0 if none has arrived, -1 if none will."""
        try:
            length, data = self.pgconn.get_copy_data(1)
        except psycopg.OperationalError:
            return -1, b""
        if length == 0 and self.pgconn.status != pq.ConnStatus.OK:
            return -1, b""
        return length, data

    async def _drain_copy(self) -> None:
        """Throw the data of a COPY TO STDOUT away."""
        while (length := self._copy_data()[0]) >= 0:
            if length == 0:
                await self._wait()
                self._read()

    async def _start_copy(self, query: str, wanted: ExecStatus) -> None:
        """Run statements up to the COPY."""
        self._send(query)
        await self._flush()
        while (result := await self._result()) is not None:
            if result.status in FAILED:
                while await self._result():
                    pass
                raise SQLError.of(result)
            if result.status == wanted:
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
            elif result.status == ExecStatus.COPY_IN:  # of a second COPY: there is nothing for it
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
    """Return how many bytes wait in a socket."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


# PostgreSQL reads such a run once more for each comment in it, and cannot be interrupted meanwhile.
_OPERATORS = re.compile(r"[-+*/<>=~!@#%^&|`?]{2000,}+")
_TOO_COMPLEX = "54001"


def encoded(query: str) -> bytes:
    """Encode statements; raise SQLError for what PostgreSQL cannot take, where libpq would cut the text off."""
    if "\0" in query:
        raise SQLError("invalid message format", sqlstate=_PROTOCOL_VIOLATION)
    if any("/*" in run[0] for run in _OPERATORS.finditer(query)):
        raise SQLError("the query has comments without blanks between them that are too long", sqlstate=_TOO_COMPLEX)
    try:
        return query.encode()
    except UnicodeEncodeError:  # half a character, which is replaced, as by Node.js
        return query.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
