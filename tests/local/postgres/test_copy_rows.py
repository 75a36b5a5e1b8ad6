"""Rows of a COPY TO STDOUT, read from a Unix socket and by libpq."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, suppress
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cartoframes_lite.local.postgres.errors import SQLError, UnexpectedCopyError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.read_only import ReadOnlySession
from cartoframes_lite.local.state import State

Work = Callable[[Session], Coroutine[Any, Any, Any]]
Run = Callable[[Work], Any]
_BUFFER_BYTES = 262_144
_FAILING = "COPY (SELECT 1 / ({rows} - n), repeat('x', {size}) FROM generate_series(0, {rows}) n) TO STDOUT"


class Relay:
    """Context manager that forwards connections to PostgreSQL; its responses are split into pieces, or cut.

    Parameters
    ----------
    state : State
    directory : Path, optional
        For a Unix socket; without it the relay listens on a TCP port.
    pieces : iterable of int
        Sizes of the pieces that responses are forwarded in, repeatedly.
    cut_at : int, optional
        Close the connection after this many bytes of responses.
    """

    def __init__(
        self, state: State, directory: Path | None = None, pieces: Iterable[int] = (65_536,), cut_at: int | None = None
    ) -> None:
        conninfo = state.conninfo(state.owner_role)
        target = conninfo_to_dict(conninfo)
        self._target = f"{target['host']}/.s.PGSQL.{target['port']}"
        self._pieces, self._left = cycle(pieces), cut_at
        if directory is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            host, port = self._listener.getsockname()
        else:
            host, port = str(directory), 5432
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(f"{host}/.s.PGSQL.{port}")
            self._listener.listen()
        self.conninfo = make_conninfo(conninfo, host=host, port=port, sslmode="disable", gssencmode="disable")
        self._threads = [threading.Thread(target=self._serve)]

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):  # the end
            while True:
                client = self._listener.accept()[0]
                self._threads.append(threading.Thread(target=self._forward, args=(client,)))
                self._threads[-1].start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            sending = threading.Thread(target=self._copy, args=(client, server, repeat(65_536)))
            sending.start()
            self._copy(server, client, self._pieces, self._left)
            sending.join()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket, pieces: Iterator[int], left: int | None = None) -> None:
        with suppress(OSError):
            while left != 0 and (data := source.recv(next(pieces))):
                target.sendall(data[:left])
                left = left and max(0, left - len(data))
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["unix", "tcp"])
def run(state: State, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return a function that runs a coroutine function with a session over a Unix socket or TCP."""
    if request.param == "unix":
        yield lambda work: asyncio.run(within(state.conninfo(state.owner_role), work))
        return
    with Relay(state) as relay:
        yield lambda work: asyncio.run(within(relay.conninfo, work))


async def within(conninfo: str, work: Work) -> Any:
    """Await a coroutine function with a session, for a limited time."""
    session = await Session.connect(conninfo)
    try:
        return await asyncio.wait_for(work(session), 60)
    finally:
        session.connection.close()  # `Session.close` may send a cancellation, during which no relay can run


async def blocks(session: Session, query: str) -> list[bytes]:
    """Return the blocks of a COPY TO STDOUT; the session is usable afterwards."""
    received = [block async for block in session.copy_out(query)]
    assert (await session.execute("SELECT 7")).get_value(0, 0) == b"7"
    return received


async def until_error(session: Session, query: str) -> tuple[bytes, str]:
    """Return the data and the error of a failing COPY TO STDOUT."""
    received = []
    try:
        async for block in session.copy_out(query):
            received.append(block)
    except SQLError as error:
        return b"".join(received), error.message
    pytest.fail("the COPY did not fail")


def expected(state: State, query: str) -> bytes:
    """Return the data of a COPY TO STDOUT as psycopg reads it."""
    with psycopg.connect(state.conninfo(state.owner_role)) as connection, connection.cursor().copy(query) as copy:
        return b"".join(bytes(block) for block in copy)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 WHERE false",
        "SELECT 1",
        "SELECT",
        "SELECT FROM generate_series(1, 100000)",
        "SELECT n, repeat('x', n % 300) FROM generate_series(1, 20000) n",
        "SELECT repeat('x', n) FROM unnest(ARRAY[0, 3000000, 1, 262144, 262133, 524288, 9, 100000, 200000]) n",
        f"SELECT {', '.join(f'n + {column}' for column in range(1600))} FROM generate_series(1, 300) n",
        "SELECT repeat('d', n % 7), decode('6400000009', 'hex') FROM generate_series(1, 50000) n",
    ],
    ids=["none", "one", "no_column", "short", "texts", "large_rows", "1600_columns", "headers_in_values"],
)
def test_rows_of_any_size_arrive_unchanged(state: State, run: Run, query: str) -> None:
    async def work(session: Session) -> None:
        for format_ in ("text", "binary"):
            copy = f"COPY ({query}) TO STDOUT WITH (FORMAT {format_})"
            received = await blocks(session, copy)
            assert b"".join(received) == expected(state, copy)
            assert all(received)

    run(work)


def test_rows_that_just_fill_the_buffer(state: State) -> None:
    async def work(session: Session) -> None:
        for size in range(_BUFFER_BYTES - 12, _BUFFER_BYTES + 4):
            query = f"COPY (SELECT repeat('x', {size}) FROM generate_series(1, 3)) TO STDOUT"
            assert b"".join(await blocks(session, query)) == 3 * (b"x" * size + b"\n")

    asyncio.run(within(state.conninfo(state.owner_role), work))


@pytest.mark.parametrize("seed", range(2))
def test_messages_split_at_any_byte(state: State, tmp_path: Path, seed: int) -> None:
    pieces = random.Random(seed)
    sizes = [pieces.choice([1, 2, 3, 4, 5, 6, 7, 50, 5000]) for _ in range(1000)]

    async def work(session: Session) -> None:
        query = "SELECT 1; COPY (SELECT n, repeat('x', n % 9) FROM generate_series(1, 3000) n) TO STDOUT"
        rows = b"".join(b"%d\t%s\n" % (n, b"x" * (n % 9)) for n in range(1, 3001))
        assert b"".join(await blocks(session, query)) == rows
        received, error = await until_error(session, _FAILING.format(rows=1000, size=20))
        assert (received.count(b"\n"), received[-21:], error) == (1000, b"x" * 20 + b"\n", "division by zero")

    with Relay(state, tmp_path, sizes) as relay:
        asyncio.run(within(relay.conninfo, work))


def test_whole_rows_come_before_an_error(run: Run) -> None:
    async def work(session: Session) -> None:
        for rows in (400, *range(40_000, 40_003)):
            received, error = await until_error(session, _FAILING.format(rows=rows, size=100))
            assert received == b"".join(b"%d\t%s\n" % (1 // (rows - n), b"x" * 100) for n in range(rows))
            assert error == "division by zero"
            assert await blocks(session, "COPY (SELECT 1) TO STDOUT") == [b"1\n"]

    run(work)


def test_an_early_error_comes_without_rows(run: Run) -> None:
    for query in (_FAILING.format(rows=50, size=100), "COPY missing TO STDOUT", "SELECT 1 / 0; COPY t TO STDOUT"):
        assert run(lambda session, query=query: until_error(session, query))[0] == b""


def test_a_connection_cut_within_a_row(state: State, tmp_path: Path) -> None:
    query = "COPY (SELECT repeat('x', 100) FROM generate_series(1, 100000)) TO STDOUT"
    login_bytes = 2000  # or less
    for cut_at in (3000, 20_000, 300_001, 300_003, 400_000):
        directory = tmp_path / str(cut_at)
        directory.mkdir()
        with Relay(state, directory, cut_at=cut_at) as relay:
            received, error = asyncio.run(within(relay.conninfo, lambda session: until_error(session, query)))
        assert error == "Connection terminated"
        rows = len(received) // 101
        assert received == (b"x" * 100 + b"\n") * rows
        assert rows == 0 if cut_at < 8192 else cut_at - login_bytes < rows * 106 < cut_at  # with headers


def test_notices_among_rows_are_kept(run: Run) -> None:
    async def work(session: Session) -> None:
        await session.execute(
            "CREATE FUNCTION shout(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN"
            " RAISE NOTICE '%', repeat('n', n % 200); RETURN n; END$$"
        )
        received = await blocks(session, "COPY (SELECT shout(n) FROM generate_series(1, 5000) n) TO STDOUT")
        assert b"".join(received) == b"".join(b"%d\n" % n for n in range(1, 5001))
        assert session.notices == [("NOTICE", "n" * (n % 200)) for n in range(1, 5001)]

    run(work)


@pytest.mark.parametrize(
    ("after", "error"),
    [
        ("COPY (SELECT generate_series(1, 100000)) TO STDOUT", None),
        ("SELECT repeat('x', 1000000)", None),
        ("CREATE TEMP TABLE t (a int); COPY t FROM STDIN", "COPY from stdin failed: one COPY of data at a time"),
        ("SELECT 1 / 0", "division by zero"),
    ],
)
def test_statements_around_a_copy(run: Run, after: str, error: str | None) -> None:
    async def work(session: Session) -> None:
        for rows in (3, 100_000):
            query = f"SELECT repeat('x', 1000000); COPY (SELECT generate_series(1, {rows})) TO STDOUT; {after}"
            data = b"".join(b"%d\n" % n for n in range(1, rows + 1))
            if error is None:
                assert b"".join(await blocks(session, query)) == data
            else:
                assert await until_error(session, query) == (b"" if rows == 3 else data, error)

    run(work)


@pytest.mark.parametrize("query", ["SELECT 1", "CREATE TEMP TABLE t (a int); COPY t FROM STDIN"])
def test_statements_without_the_copy_are_rejected(state: State, query: str) -> None:
    with pytest.raises(UnexpectedCopyError):
        asyncio.run(within(state.conninfo(state.owner_role), lambda session: blocks(session, query)))


def test_read_only_sessions_copy(state: State) -> None:
    async def scenario() -> None:
        session = await ReadOnlySession.connect(state.conninfo(state.owner_role))
        query = "COPY (SELECT generate_series(1, 100000)) TO STDOUT"
        assert b"".join([block async for block in session.copy_out(query)]).count(b"\n") == 100_000
        assert await session.begin_cleaning()
        assert await session.is_clean()
        session.close()

    asyncio.run(scenario())


def test_copies_leave_no_open_file(state: State) -> None:
    async def work(session: Session) -> None:
        async with aclosing(session.copy_out("COPY (SELECT generate_series(1, 300000)) TO STDOUT")) as rows:
            await anext(rows)
        assert session.is_running

    async def scenario() -> None:
        conninfo = state.conninfo(state.owner_role)
        for query in ("COPY (SELECT generate_series(1, 100000)) TO STDOUT", "COPY (SELECT 1) TO STDOUT") * 5:
            await within(conninfo, lambda session, query=query: blocks(session, query))
        for _ in range(5):
            await within(conninfo, lambda session: until_error(session, _FAILING.format(rows=9, size=1)))
            await within(conninfo, work)

    before = len(os.listdir("/dev/fd"))
    asyncio.run(scenario())
    assert len(os.listdir("/dev/fd")) == before


def test_other_tasks_run_between_blocks(run: Run) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def work(session: Session) -> list[int]:
        others = asyncio.create_task(take_turns())
        seen = [turns async for _ in session.copy_out("COPY (SELECT generate_series(1, 300000)) TO STDOUT")]
        others.cancel()
        return seen

    seen = run(work)
    assert len(seen) > 5
    assert len(set(seen)) == len(seen)
