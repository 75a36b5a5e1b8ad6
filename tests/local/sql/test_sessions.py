from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.sessions import IDLE_PER_ROLE, MAX_PER_ROLE, Sessions
from cartoframes_lite.local.state import State

Connect = Callable[[str | None], psycopg.Connection[Any]]
Run = Callable[[Session, str], Awaitable[object]]
LEFTOVERS = (
    "SELECT set_config('search_path', 'pg_catalog', false), set_config('statement_timeout', '5000', false)",
    "SELECT pg_advisory_lock(11)",
    "LISTEN changes",
    "CREATE TEMP TABLE left_here (n int)",
    "PREPARE left_here AS SELECT 1",
    "BEGIN; CREATE TABLE never_committed (n int); DECLARE left_open CURSOR FOR SELECT 1",
    "BEGIN; SELECT 1 / 0",
)
LOOKS = """
    SELECT concat_ws(' ', current_setting('search_path'), current_setting('statement_timeout'),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_listening_channels()), to_regclass('left_here'), to_regclass('never_committed'),
        (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name = 'left_open'))"""


@pytest.fixture
def sessions(state: State) -> Iterator[Sessions]:
    opened = Sessions(state)
    yield opened
    opened.close()


async def value(session: Session, query: str) -> str:
    return ((await session.execute(query)).get_value(0, 0) or b"").decode()


async def drain(session: Session, query: str) -> None:
    async for _ in session.results(query):
        pass


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_session_has_nothing_of_the_request_before(sessions: Sessions, state: State, leftover: str) -> None:
    async def scenario() -> None:
        async with sessions.open(state.owner_role) as session:
            fresh, first = await value(session, LOOKS), session
            await drain(session, leftover)
        async with sessions.open(state.owner_role) as session:
            assert session is first
            assert await value(session, LOOKS) == fresh
            assert session.notices == []

    asyncio.run(scenario())


def test_cleaning_does_not_wait_for_the_next_request(sessions: Sessions, state: State, connect: Connect) -> None:
    other = connect("master-key")

    async def scenario() -> None:
        async with sessions.open(state.owner_role) as session:
            await session.execute("SELECT pg_advisory_lock(12)")
            assert other.execute("SELECT pg_try_advisory_lock(12)").fetchone() == (False,)

    asyncio.run(scenario())
    give_up = time.monotonic() + 120
    while other.execute("SELECT pg_try_advisory_lock(12)").fetchone() == (False,):
        assert time.monotonic() < give_up


def test_a_lost_session_is_not_lent_again(sessions: Sessions, state: State) -> None:
    async def scenario() -> None:
        async with sessions.open(state.owner_role) as session:
            first, lost = session, await value(session, "SELECT pg_backend_pid()")
        with state.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (int(lost),))
        async with sessions.open(state.owner_role) as session:
            assert session is not first
            assert await value(session, "SELECT pg_backend_pid()") != lost

    asyncio.run(scenario())


def test_a_session_is_clean_after_an_error(sessions: Sessions, state: State) -> None:
    async def fail() -> None:
        async with sessions.open(state.owner_role) as session:
            await session.execute("SET search_path = pg_catalog")
            await session.execute("SELECT 1 / 0")

    async def scenario() -> None:
        async with sessions.open(state.owner_role) as first:
            pass
        with pytest.raises(SQLError, match="division by zero"):
            await fail()
        async with sessions.open(state.owner_role) as session:
            assert session is first
            assert "public" in await value(session, "SELECT current_setting('search_path')")

    asyncio.run(scenario())


def test_concurrent_requests_have_separate_sessions(sessions: Sessions, state: State) -> None:
    many = 3 * IDLE_PER_ROLE

    async def use(at: int) -> tuple[str, str]:
        async with sessions.open(state.owner_role) as session:
            await session.execute(f"SET search_path = s{at}")
            return await value(session, "SELECT pg_backend_pid(), pg_sleep(0.05)"), await value(
                session, "SELECT current_setting('search_path')"
            )

    async def together() -> list[tuple[str, str]]:
        requests: list[Awaitable[tuple[str, str]]] = [use(at) for at in range(many)]
        return await asyncio.gather(*requests)

    async def scenario() -> None:
        for _ in range(2):  # the second time with sessions that were kept
            found = await together()
            assert len({pid for pid, _ in found}) == many
            assert [path for _, path in found] == [f"s{at}" for at in range(many)]

    asyncio.run(scenario())


def test_one_role_cannot_exhaust_all_connections(sessions: Sessions, state: State) -> None:
    open_now = most = 0

    async def use(release: asyncio.Event) -> None:
        nonlocal open_now, most
        async with sessions.open(PUBLIC_ROLE):
            open_now += 1
            most = max(most, open_now)
            await release.wait()
            open_now -= 1

    async def scenario() -> None:
        release = asyncio.Event()
        using = [asyncio.create_task(use(release)) for _ in range(MAX_PER_ROLE + 20)]
        while open_now < MAX_PER_ROLE:
            await asyncio.sleep(0.01)
        async with sessions.open(state.owner_role) as session:
            assert await value(session, "SELECT 1") == "1"
        for task in using[-5:]:
            task.cancel()  # clients that go away while they wait
        release.set()
        await asyncio.gather(*using, return_exceptions=True)
        async with sessions.open(PUBLIC_ROLE) as session:
            assert await value(session, "SELECT 1") == "1"

    asyncio.run(scenario())
    assert most == MAX_PER_ROLE


def test_many_rows_may_be_more_than_one(sessions: Sessions, state: State) -> None:
    async def scenario() -> None:
        rows = 3 * state.plan.row_bytes // 1000
        async with sessions.open(PUBLIC_ROLE) as session:
            result = await session.execute(f"SELECT repeat('x', 1000) FROM generate_series(1, {rows})")
            assert result.ntuples == rows

    asyncio.run(scenario())


@pytest.mark.parametrize("run", [Session.execute, Session.read])
def test_buffered_results_are_limited(sessions: Sessions, state: State, run: Run) -> None:
    async def scenario() -> None:
        async def ask() -> None:
            async with sessions.open(PUBLIC_ROLE) as session:
                session.max_row_bytes = 10_000
                await run(session, "SELECT repeat('x', 1000) FROM generate_series(1, 100000)")

        with pytest.raises(SQLError, match="Row too large, was more than 40000 bytes"):
            await ask()
        async with sessions.open(PUBLIC_ROLE) as session:
            assert await value(session, "SELECT 1") == "1"

    asyncio.run(scenario())


@pytest.mark.parametrize("run", [Session.execute, Session.read])
def test_large_values_are_refused_whenever_they_arrive(sessions: Sessions, run: Run) -> None:
    async def scenario() -> None:
        async def ask() -> None:
            async with sessions.open(PUBLIC_ROLE) as session:
                session.max_row_bytes = 10_000
                await run(session, "SELECT repeat('x', 45000)")

        for _ in range(20):
            with pytest.raises(SQLError, match="Row too large, was more than 40000 bytes"):
                await ask()

    asyncio.run(scenario())
