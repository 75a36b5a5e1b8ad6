"""Sessions: connections to PostgreSQL as the role of an API key, reused by one request after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from cartoframes_lite.local.postgres import copy
from cartoframes_lite.local.postgres.connection import FAILED, Connection
from cartoframes_lite.local.postgres.copy_rows import discard_rows
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.result_size import ResultSizeLimit
from cartoframes_lite.local.postgres.time_limit import TimeLimit

_RESULT_ROWS = 4  # a result of `execute` may be this many times as large as `max_row_bytes`


class Session:
    """A connection that runs one query string at a time.

    Attributes
    ----------
    connection : Connection
    time_limit_s : float, optional
        Timeout of all statements of a query string together, in seconds. ``statement_timeout`` of PostgreSQL applies
        to each statement, and statements can change it.
    max_row_bytes : int, optional
        Maximum size of a row of `results`, in bytes; a result of `execute` may be about four times as large.
    on_overrun : callable
        Called with this session when its statements keep running after they were canceled.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.time_limit_s: float | None = None
        self.max_row_bytes: int | None = None
        self.on_overrun: Callable[[Session], object] = lambda session: None
        self._time_limit = TimeLimit(connection, None, lambda: None)
        self._row_error: SQLError | None = None  # of a row that is too large
        self._is_cleaning = False

    @classmethod
    async def connect(cls, conninfo: str) -> Self:
        """Open a session; raise SQLError if PostgreSQL cannot be reached or rejects the login."""
        return cls(await Connection.connect(conninfo))

    @property
    def notices(self) -> list[tuple[str, str]]:
        """Severity and message of the notices of this request, in order."""
        return self.connection.notices

    @property
    def backend_pid(self) -> int:
        """Process id of the backend."""
        return self.connection.pgconn.backend_pid

    @property
    def is_running(self) -> bool:
        """Whether a statement of a request is running."""
        return self.connection.is_active and not self._is_cleaning

    def cancel(self) -> None:
        """Request the cancellation of the running statement."""
        self.connection.cancel()

    def close(self) -> None:
        """Cancel the running statement, if any, and close the connection."""
        if self.is_running:
            self.cancel()
        self.connection.close()

    async def execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement and return its result, as text or binary; raise SQLError if it fails."""
        return await self._execute(query, parameters, binary=binary)

    async def _execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement; not overridden by subclasses, unlike `execute`."""
        limit = ResultSizeLimit(self.max_row_bytes and _RESULT_ROWS * self.max_row_bytes)
        self.connection.send_statement(query, parameters, binary=binary)
        await self.connection.flush()
        result = None
        while (last := await self.connection.result(limit)) is not None:
            limit.start_row()
            if result is None or result.status not in FAILED:  # an error can be followed by that of a lost connection
                result = last
        assert result is not None  # every statement has a result
        if result.status in FAILED:
            raise SQLError.of(result)
        limit.check(result)
        return result

    async def read(self, query: str, *, binary: bool = False) -> PGresult:
        """Run a query in a READ ONLY transaction of its own, in one round trip; raise SQLError if it fails.

        After its first snapshot, PostgreSQL does not allow a READ ONLY transaction to become READ WRITE. It is rolled
        back: settings that the query changes end with it.
        """
        if self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            await self._execute("ROLLBACK")
        limit = ResultSizeLimit(self.max_row_bytes and _RESULT_ROWS * self.max_row_bytes)
        statements = ("BEGIN READ ONLY", query, "ROLLBACK")
        results = await self.connection.run_pipeline(statements, limit, binary=binary)
        failure = next((result for result in results if result.status in FAILED), None)
        if failure is None:
            limit.check(results[1])
            return results[1]
        with suppress(SQLError, psycopg.OperationalError):  # the connection may be lost; raise the first error
            await self._execute("ROLLBACK")
        raise SQLError.of(failure)

    async def results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements and yield their results in lists, as they arrive.

        Yields
        ------
        list of PGresult
            ``SINGLE_TUPLE`` for each row, then one result for each statement. An error is the last result
            and is not raised. A ``COPY FROM STDIN`` fails; the data of a ``COPY TO STDOUT`` is discarded.
        """
        with self._start_time_limit():
            async for results in self._results(query):
                yield results

    async def _results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements without a time limit."""
        connection, limit = self.connection, ResultSizeLimit(self.max_row_bytes, single_row=True)
        self._row_error = None
        self._send(query)
        connection.pgconn.set_single_row_mode()
        await connection.flush()
        arrived: list[PGresult] = []
        failed = is_continued = False
        while True:
            while not connection.is_busy():
                result = connection.pgconn.get_result()
                limit.start_row()
                if result is None:
                    if arrived:
                        yield arrived
                    return
                if result.status == ExecStatus.COPY_IN:
                    await copy.end_copy(connection, "No source stream defined")
                elif result.status == ExecStatus.COPY_OUT:
                    await discard_rows(connection)
                elif not failed:  # an error can be followed by that of a lost connection
                    if is_continued and limit.is_exceeded_by(result):
                        yield [*arrived, self._fail_row(limit.error())]
                        return
                    arrived.append(result)
                    failed = result.status in FAILED
                is_continued = False
            if arrived:
                yield arrived
                arrived = []
                await asyncio.sleep(0)  # let other requests run, even if rows arrive without a pause
            connection.read()
            is_continued = True  # only a row that needed another read can be too large
            if connection.is_busy():
                try:
                    await connection.receive(limit)
                except SQLError as error:
                    yield [self._fail_row(error)]
                    return

    def error(self, result: PGresult) -> SQLError:
        """Return the error of a failed result of `results`."""
        if self._row_error is not None:
            return self._row_error
        return self._time_limit.error() if self._time_limit.is_exceeded else SQLError.of(result)

    def copy_out(self, query: str) -> AsyncIterator[bytes]:
        """Run a COPY TO STDOUT and yield its data in blocks; see `copy.read_copy` for errors."""
        return copy.read_copy(self.connection, partial(self._send_copy, query))

    async def start_copy_in(self, query: str) -> None:
        """Start a COPY FROM STDIN; return when it waits for data. See `copy.start_copy` for errors."""
        await self._send_copy(query)
        await copy.start_copy(self.connection, ExecStatus.COPY_IN)

    async def copy_in(self, data: bytes) -> None:
        """Send a block of data, with backpressure. Errors of PostgreSQL are raised by `end_copy_in`."""
        await copy.write_copy(self.connection, data)

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
        await copy.end_copy(self.connection, error)
        return await copy.finish_copy(self.connection)

    async def begin_cleaning(self) -> bool:
        """Roll back an open transaction and send DISCARD ALL; return False if the session cannot be reused.

        DISCARD ALL runs while the response is sent to the client: `is_clean` waits for it before the next request.
        """
        status = self.connection.pgconn.transaction_status
        try:
            if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                await self._execute("ROLLBACK")
            elif status != TransactionStatus.IDLE:
                return False
            self.connection.send("DISCARD ALL")
            self._is_cleaning = True
            await self.connection.flush()
        except (SQLError, psycopg.OperationalError):
            return False
        return True

    async def is_clean(self) -> bool:
        """Wait for the end of `begin_cleaning`; return False if it failed or the connection was lost."""
        try:
            self.connection.pgconn.consume_input()  # usually it has ended long before
            while (result := await self.connection.result()) is not None:
                if result.status in FAILED:
                    return False
        except psycopg.OperationalError:
            return False
        self._is_cleaning = False
        self.notices.clear()
        return not self.connection.is_lost()

    def _send(self, query: str) -> None:
        """Send statements."""
        self.connection.send(query)

    async def _send_copy(self, query: str) -> None:
        """Send the statements of a COPY."""
        self._send(query)
        await self.connection.flush()

    def _start_time_limit(self) -> TimeLimit:
        """Return a context manager that cancels the running statements after ``time_limit_s``."""
        self._time_limit = TimeLimit(self.connection, self.time_limit_s, partial(self.on_overrun, self))
        return self._time_limit

    def _fail_row(self, error: SQLError) -> PGresult:
        """Store the error of a row that is too large; return a failed result for it."""
        self._row_error = error
        return self.connection.pgconn.make_empty_result(ExecStatus.FATAL_ERROR)
