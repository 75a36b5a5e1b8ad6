"""A connection for one prepared query, which several requests run at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

import psycopg
from psycopg.pq import ExecStatus

from cartoframes_lite.local.postgres.connection import FAILED, Connection
from cartoframes_lite.local.postgres.errors import SQLError

_NAME = b"query"

Values = list[bytes | None]


class PreparedQuery:
    """A query of this server with one parameter and one value as its result, on a connection of its own.

    No statement of a user ever runs on this connection, so it needs no cleaning, and the query stays prepared. In
    libpq's pipeline mode, requests send their parameters without waiting for the results of others.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self._socket = connection, connection.pgconn.socket
        self._loop = asyncio.get_running_loop()
        self._running: deque[tuple[Callable[[Values], object], Values]] = deque()
        connection.pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._receive)

    @classmethod
    async def connect(cls, conninfo: str, query: str) -> Self:
        """Open a connection and prepare a query; raise SQLError if PostgreSQL cannot be reached or rejects it."""
        connection = await Connection.connect(conninfo)
        try:
            connection.pgconn.send_prepare(_NAME, query.encode())
            await connection.flush()
            while (result := await connection.result()) is not None:
                if result.status in FAILED:
                    raise SQLError.of(result)
            return cls(connection)
        except psycopg.OperationalError as error:
            connection.close()
            raise SQLError(str(error)) from error
        except BaseException:  # including the cancellation of the request
            connection.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as libpq knows."""
        return self.connection.is_open

    def run(self, parameters: Sequence[str], on_values: Callable[[Values], object]) -> None:
        """Run the query with each of the parameters.

        Parameters
        ----------
        parameters : sequence of str
        on_values : callable
            Called with the value for each parameter, in order; None if the query failed or returned no row. Fewer
            values if the connection was lost.
        """
        self._running.append((on_values, []))
        pgconn = self.connection.pgconn
        try:
            for parameter in parameters:
                pgconn.send_query_prepared(_NAME, [parameter.encode()])
            pgconn.pipeline_sync()
            self._flush()
        except psycopg.OperationalError:
            self.close()

    def close(self) -> None:
        """Close the connection; the queries that are running return the values that have arrived."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self.connection.close()
        while self._running:
            self._finish()

    def _flush(self) -> None:
        """Send what libpq has buffered, now or when the socket is writable."""
        if self.connection.pgconn.flush():
            self._loop.add_writer(self._socket, self._flush_later)

    def _flush_later(self) -> None:
        """Send the rest of what libpq has buffered."""
        self._loop.remove_writer(self._socket)
        try:
            self._flush()
        except psycopg.OperationalError:
            self.close()

    def _receive(self) -> None:
        """Assign the results that have arrived."""
        pgconn = self.connection.pgconn
        try:
            pgconn.consume_input()
            while self._running and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:  # after the result of each query
                    continue
                if result.status == ExecStatus.PIPELINE_SYNC:
                    self._finish()
                else:
                    has_row = result.status == ExecStatus.TUPLES_OK and result.ntuples
                    self._running[0][1].append(result.get_value(0, 0) if has_row else None)
        except psycopg.OperationalError:
            self.close()
        if not self.is_open:
            self.close()

    def _finish(self) -> None:
        """Return the values of the oldest running queries."""
        on_values, values = self._running.popleft()
        on_values(values)
