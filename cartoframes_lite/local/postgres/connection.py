"""Asynchronous connection over libpq's non-blocking functions.

psycopg's own connections and cursors hide features of the simple query protocol that the SQL API exposes: several
statements in one string, values as text, notices, rows before an error. Results and COPY data are processed in batches
as they arrive, without a thread or an ``await`` for each.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField, ExecStatus, PollingStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.query_encoding import encode_query
from cartoframes_lite.local.postgres.result_size import ResultSizeLimit, unread_bytes

_FEED_BYTES = 8192  # of a socket pair, which has room for more
FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


class Connection:
    """A connection to PostgreSQL.

    The loss of a connection is not raised while data is sent or received: it is the error of the next result.

    Attributes
    ----------
    pgconn : psycopg.pq.PGconn
    notices : list of (str, str)
        Severity and message of the notices, in order.
    receiver : callable, optional
        Reads the socket in place of libpq, and gives to `feed` what libpq is to handle. Called when data has arrived.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self.pgconn = pgconn
        self.notices: list[tuple[str, str]] = []
        self.receiver: Callable[[], object] | None = None
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
        connection = cls(pgconn)
        try:
            while (status := pgconn.connect_poll()) != PollingStatus.OK:
                if status == PollingStatus.FAILED:
                    raise SQLError(pgconn.get_error_message().strip())
                await connection.wait(write=status == PollingStatus.WRITING)
        except BaseException:  # including the cancellation of the request
            pgconn.finish()
            raise
        pgconn.nonblocking = 1
        return connection

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as libpq knows."""
        return bool(self.pgconn.status == pq.ConnStatus.OK)

    @property
    def is_unix(self) -> bool:
        """Whether the connection is a Unix socket, which libpq never encrypts."""
        return self.pgconn.host.startswith(b"/")

    @property
    def is_active(self) -> bool:
        """Whether a statement is running."""
        return self.is_open and self.pgconn.transaction_status == TransactionStatus.ACTIVE

    def is_lost(self) -> bool:
        """Return whether PostgreSQL has closed an idle connection: its socket is readable then."""
        if not self.is_open:
            return True
        readable = select.poll()  # not `select`, which is limited to 1024 open files
        readable.register(self.pgconn.socket, select.POLLIN)
        return bool(readable.poll(0))

    def cancel(self) -> None:
        """Request the cancellation of the running statement."""
        with suppress(psycopg.OperationalError):  # the backend may have ended
            self.pgconn.get_cancel().cancel()

    def close(self) -> None:
        """Close the connection."""
        if self.is_open:
            self.pgconn.finish()

    def send(self, query: str) -> None:
        """Send statements with the simple query protocol."""
        self.pgconn.send_query(encode_query(query))

    def send_statement(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> None:
        """Send one statement with the extended query protocol, which rejects several statements."""
        values = [value if value is None else value.encode() for value in parameters]
        self.pgconn.send_query_params(encode_query(query), values, result_format=int(binary))

    async def run_pipeline(
        self, statements: Sequence[str], limit: ResultSizeLimit, *, binary: bool = False
    ) -> list[PGresult]:
        """Run statements one after the other, until one fails, in one round trip; return their results in order.

        Each is sent with the extended query protocol. Results of statements after the failed one have the status
        ``PIPELINE_ABORTED``. Raises SQLError if a result exceeds the limit.
        """
        results: list[PGresult] = []
        self.pgconn.enter_pipeline_mode()
        for statement in statements:
            self.send_statement(statement, binary=binary)
        self.pgconn.pipeline_sync()
        await self.flush()
        while True:
            while self.is_busy():
                await self.receive(limit)
            result = self.pgconn.get_result()
            if result is not None and result.status != ExecStatus.PIPELINE_SYNC:
                results.append(result)
                limit.start_row()
            elif result is not None:
                self.pgconn.exit_pipeline_mode()
                return results
            elif not self.is_open:  # otherwise the end of the result of a statement
                return results

    async def flush(self) -> None:
        """Wait until libpq has sent the data that it has buffered."""
        with suppress(psycopg.OperationalError):
            while self.pgconn.flush():
                await self.wait(write=True)
                self.read()

    async def result(self, limit: ResultSizeLimit | None = None) -> PGresult | None:
        """Return the next result, None after the last; raise SQLError if it exceeds the limit."""
        while self.is_busy():
            await self.receive(limit)
        return self.pgconn.get_result()

    async def receive(self, limit: ResultSizeLimit | None = None) -> None:
        """Wait for more data of an incomplete result; raise SQLError if it exceeds the limit."""
        await self.wait()
        if limit is None:
            self.read()
        else:
            limit.read(self.pgconn)

    def is_busy(self) -> bool:
        """Return whether the next result has not arrived yet; False if the connection is lost."""
        return self.is_open and bool(self.pgconn.is_busy())

    def read(self) -> None:
        """Read the data that has arrived."""
        with suppress(psycopg.OperationalError):
            if self.receiver is None:
                self.pgconn.consume_input()
            else:
                self.receiver()

    def feed(self, data: bytes) -> None:
        """Let libpq read data as if it came from PostgreSQL.

        Meanwhile the file descriptor that libpq reads from belongs to a socket pair.
        """
        descriptor = self.pgconn.socket
        saved = os.dup(descriptor)
        try:
            source, target = socket.socketpair()
            with source, target:
                target.setblocking(False)
                os.dup2(target.fileno(), descriptor, inheritable=False)
                for start in range(0, len(data), _FEED_BYTES):
                    source.sendall(data[start : start + _FEED_BYTES])
                    while unread_bytes(self.pgconn):
                        self.pgconn.consume_input()
        finally:
            if self.is_open:  # otherwise libpq has closed the descriptor
                os.dup2(saved, descriptor, inheritable=False)
            os.close(saved)

    def copy_data(self) -> tuple[int, bytes | memoryview]:
        """Return length and data of a COPY row; length 0 if none has arrived, -1 after the last."""
        try:
            length, data = self.pgconn.get_copy_data(1)
        except psycopg.OperationalError:
            return -1, b""
        if length == 0 and not self.is_open:
            return -1, b""
        return length, data

    async def wait(self, *, write: bool = False, until: Callable[[], bool] | None = None) -> None:
        """Wait until the socket is readable or, with ``write``, readable or writable.

        With ``until``, which is called each time, wait until it returns True.
        """
        loop, descriptor = asyncio.get_running_loop(), self.pgconn.socket
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if ready.done():
                return
            try:
                if until is None or until():
                    ready.set_result(None)
            except (psycopg.Error, OSError, MemoryError) as error:
                ready.set_exception(error)

        loop.add_reader(descriptor, wake)
        if write:
            loop.add_writer(descriptor, wake)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
            if write:
                loop.remove_writer(descriptor)

    def _keep_notice(self, result: PGresult) -> None:
        """Store a notice."""
        severity = result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) or b"NOTICE"
        message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
        self.notices.append((severity.decode(), message.decode("utf-8", "replace")))
