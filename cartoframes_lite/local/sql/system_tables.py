"""Check of the SQL API that only the master key reads system tables.

Each statement that can be a subquery is planned, and its plan is searched for tables whose names start with ``pg_``.
This is CARTO's behavior, not protection: a query that cannot be planned on its own, ends in a comment or calls a
function that is not inlined passes the check. PostgreSQL's privileges apply in any case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session

_SYNTAX_ERROR = "42601"
_TOKEN = re.compile(r""""[^"]*"|'[^']*'|[^'"$;]+|[$;'"]""")
# A JSON string: quotes in it are escaped with a backslash.
_RELATION = re.compile(rb'"Relation Name": ("(?:[^"\\]|\\.)*")')
_LARGE_CHARACTERS = 1 << 16  # a longer query is split in a worker thread
_MAX_OPEN_DOLLARS = 1000  # the end of each is searched for in the rest of the text


async def reject_system_tables(session: Session, query: str) -> None:
    """Raise RequestError if a query reads a system table.

    Parameters
    ----------
    session : Session
        Session of the key's role. Its notices are cleared.
    query : str
        Statements of the request, unchanged.

    Raises
    ------
    RequestError
        403 if a statement reads a system table.
    """
    found: list[str] = []
    try:
        split = partial(dict.fromkeys, statements(query))
        for statement in split() if len(query) < _LARGE_CHARACTERS else await run_in_threadpool(split):
            found += await _relations(session, statement)
    except SQLError:  # as on CARTO, the query itself fails later
        return
    finally:
        session.notices.clear()
    if any(re.search(r"\bpg_", name, re.ASCII) for name in found):
        raise RequestError("system tables are forbidden", status=403)


def statements(query: str) -> Iterator[str]:
    """Yield the statements between semicolons outside of quotes. As on CARTO, comments are not recognized.

    A quote that is not closed also ends a statement.
    """
    start = position = open_dollars = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        assert token is not None  # every character matches
        end: int = token.end()
        if token[0] == "$":
            end = _end_of_dollar_quote(query, position)
            if end < 0:
                open_dollars += 1
                if open_dollars > _MAX_OPEN_DOLLARS:
                    return
        if token[0] in (";", "'", '"') or end < 0:
            yield from filter(None, [query[start:position].strip()])
            start = end = position + 1
        position = end
    yield from filter(None, [query[start:].strip()])


def _end_of_dollar_quote(query: str, start: int) -> int:
    """Return the position after a dollar-quoted string, -1 if none starts at ``start``."""
    tag_end = query.find("$", start + 1) + 1
    if not tag_end:
        return -1
    tag = query[start:tag_end]
    closing = query.find(tag, tag_end)
    return -1 if closing < 0 else closing + len(tag)


async def _relations(session: Session, statement: str) -> list[str]:
    """Return the names of the tables that a statement reads, empty if it is not a query."""
    try:
        plan = await session.execute(f"EXPLAIN (FORMAT JSON, VERBOSE) SELECT * FROM ({statement}) AS affected")
    except SQLError as error:
        if error.sqlstate == _SYNTAX_ERROR:  # INSERT, DDL
            return []
        raise
    return [json.loads(name) for name in _RELATION.findall(plan.get_value(0, 0) or b"")]
