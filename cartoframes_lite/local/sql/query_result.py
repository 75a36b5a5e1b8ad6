"""Run a query of ``/sql``, with the result as JSON or in another format."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from cartoframes_lite.local.http.responses import JSON_TYPE
from cartoframes_lite.local.sql.formats import FORMATS
from cartoframes_lite.local.sql.gdal_formats import ExportOptions
from cartoframes_lite.local.sql.json_result import json_blocks
from cartoframes_lite.local.sql.query import QueryRequest
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.sql.statements import without_semicolon
from cartoframes_lite.local.sql.system_tables import reject_system_tables
from cartoframes_lite.local.state import Key

Blocks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query.

    Attributes
    ----------
    blocks : async generator of bytes
        Runs the query when it is iterated.
    headers : dict
        Content type, file name and caching.
    """

    blocks: Blocks
    headers: dict[str, str]


def run_query(query: QueryRequest, key: Key, sessions: Sessions) -> QueryResult:
    """Run a query as the role of an API key; only the master key may read system tables."""
    if query.format == "json":
        blocks, headers = json_blocks(query, key.role, sessions), query.headers(JSON_TYPE, "json")
    else:
        output_format = FORMATS[query.format]
        export = ExportOptions(without_semicolon(query.sql), query.skip, query.decimals, query.filename, query.callback)
        blocks = output_format.blocks(sessions, key.role, export)
        headers = query.headers(output_format.content_type, output_format.extension)
    if key.kind != "master":
        blocks = _without_system_tables(query, key.role, sessions, blocks)
    return QueryResult(blocks, headers)


async def _without_system_tables(query: QueryRequest, role: str, sessions: Sessions, blocks: Blocks) -> Blocks:
    """Yield the blocks of a result; raise RequestError first if the query reads system tables."""
    async with aclosing(blocks):
        async with sessions.open(role) as session:
            await reject_system_tables(session, query.text)
        async for block in blocks:
            yield block
