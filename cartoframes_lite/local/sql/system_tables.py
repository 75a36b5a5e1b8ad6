"""System tables are for the master key alone: the check that the SQL API makes before a query of another key.

It plans each statement that can be a subquery and looks for tables whose names begin with ``pg_``. That keeps nothing
secret, and is not meant to: a query that cannot be planned on its own passes, and so does one that ends in a comment or
calls a function that is not inlined. PostgreSQL's own rights hold in any case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial

from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.postgres.session import Session, SQLError

_SYNTAX_ERROR = "42601"
_TOKEN = re.compile(r""""[^"]*"|'[^']*'|[^'"$;]+|[$;'"]""")
# Quotes in the strings of a plan have a backslash before them.
_RELATION = re.compile(rb'"Relation Name": ("(?:[^"\\]|\\.)*")')
_LARGE_CHARACTERS = 1 << 16  # a longer text is split beside the event loop
_MAX_OPEN_DOLLARS = 1000  # each is looked for to the end of the text


async def reject_system_tables(session: Session, query: str) -> None:
    """Check the statements of a query.

    Parameters
    ----------
    session : Session
        Of the key's role. Its notices are cleared.
    query : str
        Statements, as they came.

    Raises
    ------
    RequestError
        403 if one reads a system table.
    """
    found: list[str] = []
    try:
        split = partial(dict.fromkeys, statements(query))
        for statement in split() if len(query) < _LARGE_CHARACTERS else await run_in_threadpool(split):
            found += await _relations(session, statement)
    except SQLError:  # CARTO leaves it to the query itself to fail
        return
    finally:
        session.notices.clear()
    if any(re.search(r"\bpg_", name, re.ASCII) for name in found):
        raise RequestError("system tables are forbidden", status=403)


def statements(query: str) -> Iterator[str]:
    """Split at semicolons outside of quotes, as CARTO does: it knows nothing of comments.

    A quote that is never closed ends a statement, too.
    """
    start = position = open_dollars = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        assert token is not None  # every character is one
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
    """Return the position after a string in dollar quotes, -1 if none starts there."""
    tag_end = query.find("$", start + 1) + 1
    if not tag_end:
        return -1
    tag = query[start:tag_end]
    closing = query.find(tag, tag_end)
    return -1 if closing < 0 else closing + len(tag)


async def _relations(session: Session, statement: str) -> list[str]:
    """Return the names of the tables that a statement reads, none if it is no query."""
    try:
        plan = await session.execute(f"EXPLAIN (FORMAT JSON, VERBOSE) SELECT * FROM ({statement}) AS affected")
    except SQLError as error:
        if error.sqlstate == _SYNTAX_ERROR:  # INSERT, DDL
            return []
        raise
    return [json.loads(name) for name in _RELATION.findall(plan.get_value(0, 0) or b"")]
