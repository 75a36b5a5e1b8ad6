"""COPY data over a connection, in blocks with backpressure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import psycopg
from psycopg.pq import ExecStatus

from cartoframes_lite.local.postgres.connection import FAILED, Connection
from cartoframes_lite.local.postgres.copy_rows import discard_rows, open_rows
from cartoframes_lite.local.postgres.errors import CONNECTION_FAILURE, SQLError, UnexpectedCopyError

# PostgreSQL sends data when its buffer is full, or the statement has ended.
_SEND_BUFFER_BYTES = 8192


async def start_copy(connection: Connection, expected: ExecStatus) -> None:
    """Read the results of the statements that were sent, until a COPY starts.

    Parameters
    ----------
    connection : Connection
    expected : ExecStatus
        ``COPY_IN`` or ``COPY_OUT``.

    Raises
    ------
    SQLError
        If a statement fails.
    UnexpectedCopyError
        If no COPY in the expected direction starts.
    """
    while (result := await connection.result()) is not None:
        if result.status in FAILED:
            while await connection.result():
                pass
            raise SQLError.of(result)
        if result.status == expected:
            return
        if result.status in (ExecStatus.COPY_IN, ExecStatus.COPY_OUT):
            if connection.is_active:
                connection.cancel()
            connection.close()
            raise UnexpectedCopyError
    raise UnexpectedCopyError


async def read_copy(connection: Connection, send: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    """Yield the data of a COPY TO STDOUT in blocks of about 256 KB, and end it.

    Parameters
    ----------
    connection : Connection
    send : callable
        Sends the statement, before the first block is read.

    Raises
    ------
    SQLError
        If the statement fails. Data received before the error is yielded first, except less than 8 KB: PostgreSQL
        would not have sent it yet.
    """
    await send()
    rows = open_rows(connection)
    await start_copy(connection, ExecStatus.COPY_OUT)
    block = await rows.read()
    has_sent = not rows.is_complete or rows.message_bytes > _SEND_BUFFER_BYTES
    if not has_sent:
        await finish_copy(connection)
    if block:
        yield block
    while not rows.is_complete:
        await asyncio.sleep(0)  # let other requests run, even if the client reads without a pause
        if block := await rows.read():
            yield block
    if has_sent:
        await finish_copy(connection)


async def write_copy(connection: Connection, data: bytes) -> None:
    """Send a block of data of a COPY FROM STDIN. Errors of PostgreSQL are raised by `end_copy`."""
    try:
        connection.pgconn.put_copy_data(data)
    except psycopg.OperationalError:
        raise SQLError("write ECONNRESET", sqlstate=CONNECTION_FAILURE) from None
    await connection.flush()


async def end_copy(connection: Connection, error: str | None = None) -> None:
    """Send the end of the data of a COPY FROM STDIN; with ``error``, abort it."""
    with suppress(psycopg.OperationalError):  # a lost connection is raised with the results
        connection.pgconn.put_copy_end(None if error is None else error.encode())
    await connection.flush()


async def finish_copy(connection: Connection) -> int:
    """Read the results after the data; return the number of rows copied, or raise SQLError."""
    rows, failure = 0, None
    while (result := await connection.result()) is not None:
        if result.status in FAILED:
            failure = failure or SQLError.of(result)
        elif result.status == ExecStatus.COPY_IN:  # a second COPY in the same query string: there is no data for it
            await end_copy(connection, "one COPY of data at a time")
        elif result.status == ExecStatus.COPY_OUT:
            await discard_rows(connection)
        elif (result.command_status or b"").startswith(b"COPY"):
            rows = result.command_tuples or 0
    if failure:
        raise failure
    return rows
