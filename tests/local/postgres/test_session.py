"""Errors of sessions whose connection breaks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from psycopg.pq import ExecStatus

from cartoframes_lite.local.http.responses import error_status
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.prepared import PreparedQuery
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.state import State

Work = Callable[[Session], Awaitable[object]]


def break_connection(session: Session | PreparedQuery) -> None:
    """Shut down the socket of a session."""
    with socket.socket(fileno=os.dup(session.connection.pgconn.socket)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


async def execute(session: Session) -> None:
    await session.execute("SELECT pg_sleep(60)")


async def read(session: Session) -> None:
    await session.read("SELECT pg_sleep(60)")


async def results(session: Session) -> None:
    async for arrived in session.results("SELECT pg_sleep(60)"):
        for result in arrived:
            assert result.status == ExecStatus.FATAL_ERROR
            raise SQLError.of(result)


async def copy_out(session: Session) -> None:
    async for _ in session.copy_out("COPY (SELECT pg_sleep(60)) TO STDOUT"):
        pass


async def start_copy_in(session: Session) -> None:
    await session.start_copy_in("COPY (SELECT pg_sleep(60)) TO STDOUT")


@pytest.mark.parametrize("work", [execute, read, results, copy_out, start_copy_in])
def test_broken_connections_raise_sqlerror(state: State, work: Work) -> None:
    async def scenario() -> None:
        session = await Session.connect(state.conninfo(state.owner_role))
        running = asyncio.ensure_future(work(session))
        await asyncio.sleep(0.1)
        break_connection(session)
        with pytest.raises(SQLError) as caught:
            await asyncio.wait_for(running, 10)
        assert error_status(caught.value) == (400, {"error": ["Connection terminated"]})
        assert not await session.begin_cleaning()
        session.close()

    asyncio.run(scenario())


def test_reads_cannot_write_and_leave_no_settings(state: State) -> None:
    async def scenario() -> None:
        session = await Session.connect(state.conninfo(state.owner_role))
        await session.execute("CREATE TABLE t AS SELECT 1 AS a")
        await session.execute(
            "CREATE FUNCTION grow() RETURNS int LANGUAGE sql AS"
            " $$ INSERT INTO t SELECT 2 WHERE set_config('transaction_read_only', 'off', true) = 'off' RETURNING a $$"
        )
        with pytest.raises(
            SQLError, match=r"cannot execute INSERT in a read-only transaction|must be set before any query"
        ):
            await session.read("SELECT grow()")
        with pytest.raises(SQLError, match="multiple commands"):
            await session.read("SELECT 1; COMMIT")
        with pytest.raises(SQLError, match="must be set before any query"):
            await session.read("SELECT set_config('transaction_read_only', 'off', true)")
        read = await session.read("SELECT a, set_config('search_path', 'pg_catalog', false) FROM public.t")
        assert [read.get_value(0, column) for column in range(2)] == [b"1", b"pg_catalog"]
        assert (await session.read("SELECT count(*) FROM t")).get_value(0, 0) == b"1"
        await session.execute("BEGIN")
        assert (await session.read("SELECT current_setting('transaction_read_only')")).get_value(0, 0) == b"on"
        session.close()

    asyncio.run(scenario())


def test_broken_connections_end_uploads(state: State) -> None:
    async def scenario() -> None:
        session = await Session.connect(state.conninfo(state.owner_role))
        await session.execute("CREATE TABLE t (a text)")
        await session.start_copy_in("COPY t FROM STDIN")
        break_connection(session)

        async def send() -> None:
            for _ in range(100):  # what has gone into a buffer is not known to be lost
                await session.copy_in(b"x" * 100_000 + b"\n")
            await session.end_copy_in()

        with pytest.raises(SQLError) as caught:
            await asyncio.wait_for(send(), 10)
        status, members = error_status(caught.value)
        assert (status, members["error"]) in ((400, ["Connection terminated"]), (400, ["write ECONNRESET"]))
        session.close()

    asyncio.run(scenario())


def test_unreachable_databases_are_a_500(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(SQLError) as caught:
        asyncio.run(Session.connect(f"host={tmp_path}"))
    assert error_status(caught.value) == (500, {"error": ["cannot connect to the database"]})
