from __future__ import annotations

import asyncio

import pytest

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.prepared import PreparedQuery, Values
from cartoframes_lite.local.state import State
from tests.local.postgres.test_session import break_connection

QUERY = "SELECT 10 / nullif($1::int, -1) WHERE $1::int < 100"


async def run(query: PreparedQuery, *parameters: str) -> Values:
    values: asyncio.Future[Values] = asyncio.get_running_loop().create_future()
    query.run(parameters, values.set_result)
    return await asyncio.wait_for(values, 10)


def test_concurrent_requests_get_their_own_values(state: State) -> None:
    async def scenario() -> None:
        query = await PreparedQuery.connect(state.conninfo(state.owner_role), QUERY)
        requests = [run(query, str(number), str(-number)) for number in range(2, 11)]
        expected = [[b"%d" % (10 // number), b"-%d" % (10 // number)] for number in range(2, 11)]
        assert await asyncio.gather(*requests) == expected
        query.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("parameter", ["100", "0", "x", "-1"])
def test_no_row_null_and_errors_are_none(state: State, parameter: str) -> None:
    async def scenario() -> None:
        query = await PreparedQuery.connect(state.conninfo(state.owner_role), QUERY)
        one, other, later = await asyncio.gather(run(query, "5", parameter), run(query, "2"), run(query, "1"))
        assert (one, other, later) == ([b"2", None], [b"5"], [b"10"])
        query.close()

    asyncio.run(scenario())


def test_broken_connections_return_no_values(state: State) -> None:
    async def scenario() -> None:
        query = await PreparedQuery.connect(state.conninfo(state.owner_role), "SELECT pg_sleep($1::float8)")
        running = asyncio.ensure_future(run(query, "60"))
        await asyncio.sleep(0.05)
        assert query.is_open
        break_connection(query)
        assert await running == []
        assert not query.is_open
        query.close()

    asyncio.run(scenario())


def test_invalid_queries_are_errors(state: State) -> None:
    with pytest.raises(SQLError, match="no_table"):
        asyncio.run(PreparedQuery.connect(state.conninfo(state.owner_role), "SELECT * FROM no_table"))
