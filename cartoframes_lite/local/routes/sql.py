"""``/sql``: queries, answered as JSON or in another format."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..access import Caller, Door, RefusedError
from ..answers import JSON_TYPE, RequestError, Streamed, explain, failure, safe_callback
from ..bodies import Parameters, body_parameters
from ..pool import Sessions
from ..session import Session, SQLError
from ..sql_text import first_word, without_semicolon
from ..system_tables import refuse_system_tables
from .json_values import Rows, fields
from .sql_formats import FORMATS
from .sql_gdal import Export

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
BLOCK_CHARACTERS = 65_536
CARTO_VERSION = "6.0.0"  # of the SQL API whose behaviour this server has
_VERSION = "/api/{version:str}"
_INTEGER = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_LONGEST_INTEGER = 308  # digits that fit into a double
_MOST_DECIMALS = 2**31 - 1  # an integer of PostGIS
_LONGEST_NAME = 200  # of a file, without its extension
_MOST_CHARACTERS = 1_000_000  # of a query, as CARTO documents it


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of ``/sql``.

    Attributes
    ----------
    text : str
        The parameter ``q``.
    sql : str
        The same with order and page applied.
    format : str
    skip : frozenset of str
        Columns to leave out.
    decimals : int
        Digits after the point of coordinates.
    filename : str
        Without extension.
    callback : str
        JSONP, empty for none.
    inline : bool
        Whether the answer is shown rather than saved.
    """

    text: str
    sql: str
    format: str
    skip: frozenset[str]
    decimals: int
    filename: str
    callback: str
    inline: bool

    @classmethod
    def of(cls, parameters: Parameters) -> Query:
        """Read parameters; raise RequestError if they are wrong."""
        sql = parameters.get("q")
        if not isinstance(sql, str):
            raise RequestError("You must indicate a sql query")
        if len(sql) > _MOST_CHARACTERS:
            raise RequestError(f"the query has more than {_MOST_CHARACTERS} characters", status=413)
        chosen = parameters.get("format") or "json"
        chosen = str(chosen[-1] if isinstance(chosen, list) else chosen).lower()
        if chosen not in ("json", *FORMATS):
            raise RequestError(f"Invalid format: {chosen}")
        skip = parameters.get("skipfields") or []
        skip = ",".join(map(str, skip)) if isinstance(skip, list) else str(skip)
        decimals = _integer(parameters.get("dp") or 6)
        if decimals is None or abs(decimals) > _MOST_DECIMALS:
            raise RequestError("dp must be a number")
        return cls(
            text=sql,
            sql=paged(ordered(sql, parameters), parameters),
            format=chosen,
            skip=frozenset(filter(None, skip.split(","))),
            decimals=decimals,
            filename=_filename(parameters.get("filename")),
            callback=safe_callback(str(parameters.get("callback") or "")),
            inline=not (parameters.get("format") or parameters.get("filename")),
        )

    def headers(self, content_type: str, extension: str) -> dict[str, str]:
        """Return the headers of the answer."""
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        disposition = "inline" if self.inline else "attachment"
        return {
            "Content-Type": content_type,
            "Content-Disposition": (f'{disposition}; filename={self.filename}.{extension}; modification-date="{now}";'),
            "Cache-Control": "no-cache,max-age=0,must-revalidate,public",
        }


def routes(door: Door, sessions: Sessions) -> list[Route]:
    """Return the routes of queries, version and health."""

    async def query(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response()
        callback = request.query_params.get("callback", "")
        try:
            caller = door.let_in(request, "query", body=await body_parameters(request))
        except RefusedError as refused:
            return failure(refused.reason, headers=refused.headers, callback=callback)
        except RequestError as error:
            return failure(error, callback=callback)
        if suffix := request.path_params.get("format"):
            caller.parameters.setdefault("format", suffix)
        try:
            asked = Query.of(caller.parameters)
        except RequestError as error:
            return failure(error, headers=caller.headers, callback=callback)
        return _answer(caller, asked, sessions, callback)

    async def options(request: Request) -> Response:
        return Response()

    async def version(request: Request) -> Response:
        return JSONResponse({"cartodb_sql_api": CARTO_VERSION}, headers={"Content-Type": JSON_TYPE})

    async def health(request: Request) -> Response:
        return JSONResponse({"enabled": False, "ok": True}, headers={"Content-Type": JSON_TYPE})

    return [
        Route(f"{_VERSION}/sql", query, methods=METHODS),
        Route(f"{_VERSION}/sql.{{format:str}}", query, methods=METHODS),
        Route(f"{_VERSION}/sql/{{rest:path}}", options, methods=["OPTIONS"]),
        Route(f"{_VERSION}/version", version),
        Route(f"{_VERSION}/health", health),
    ]


def ordered(sql: str, parameters: Parameters) -> str:
    """Add the ORDER BY of ``order_by`` and ``sort_order`` to a query that returns rows."""
    column = parameters.get("order_by")
    if not isinstance(column, str) or not column or not _returns_rows(sql):
        return sql
    direction = str(parameters.get("sort_order") or "").upper()
    quoted = '"' + column.replace('"', '""') + '"'
    return f"{wrapped(sql)} ORDER BY {quoted} {direction if direction in ('ASC', 'DESC') else ''}"


def paged(sql: str, parameters: Parameters) -> str:
    """Add the LIMIT and OFFSET of ``rows_per_page`` and ``page``; both have to be given."""
    limit, page = (_integer(parameters.get(name)) for name in ("rows_per_page", "page"))
    if limit is None or page is None or not _returns_rows(sql):
        return sql
    return f"{wrapped(sql)} LIMIT {limit} OFFSET {limit * page}"


def wrapped(sql: str) -> str:
    """Return a query that selects everything from a query."""
    return f"SELECT * FROM ({without_semicolon(sql)}\n) AS cdbq_1"


def _answer(caller: Caller, asked: Query, sessions: Sessions, error_callback: str) -> Response:
    """Build the response to a query. Errors take the callback of the query string only."""
    if asked.format == "json":
        blocks = _json_blocks(caller, asked, sessions)
        headers = asked.headers(JSON_TYPE, "json")
    else:
        chosen = FORMATS[asked.format]
        export = Export(without_semicolon(asked.sql), asked.skip, asked.decimals, asked.filename, asked.callback)
        blocks = chosen.blocks(sessions, caller.key.role, export)
        headers = asked.headers(chosen.content_type, chosen.extension)
    if caller.key.kind != "master":
        blocks = _checked(caller, asked, sessions, blocks)
    return Streamed(blocks, headers={**caller.headers, **headers}, callback=error_callback)


async def _checked(
    caller: Caller, asked: Query, sessions: Sessions, blocks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of an answer if the query reads no system tables."""
    async with aclosing(blocks):
        async with sessions.open(caller.key.role) as session:
            await refuse_system_tables(session, asked.text)
        async for block in blocks:
            yield block


async def _json_blocks(caller: Caller, asked: Query, sessions: Sessions) -> AsyncGenerator[bytes, None]:
    """Run a query and write its result; an error before the first row is raised, a later one written."""
    started = time.monotonic()
    async with sessions.open(caller.key.role) as session:
        type_names = await sessions.type_names(session)
        outcome = _Outcome(asked, session)
        if asked.sql.strip():
            async for results in session.results(asked.sql):
                for result in results:
                    await outcome.add(result)
                if len(outcome.text) > BLOCK_CHARACTERS:
                    yield outcome.take()
        outcome.finish(type_names, time.monotonic() - started)
        yield outcome.take()


class _Outcome:
    """The answer of ``/sql`` while it grows."""

    def __init__(self, asked: Query, session: Session) -> None:
        self._asked, self._session = asked, session
        self._writer: Rows | None = None
        self._rows = 0
        self._counted: int | None = None
        self._columns: PGresult | None = None
        self._error: SQLError | None = None
        self.text = ""
        self._parts = [f"{asked.callback}(" if asked.callback else "", '{"rows":[']

    async def add(self, result: PGresult) -> None:
        """Take a row, or the end of a statement."""
        status = result.status
        if status == ExecStatus.SINGLE_TUPLE:
            if self._writer is None:
                self._writer, self._columns = Rows(result, self._asked.skip), result
            self._parts.append(("," if self._rows else "") + await self._writer.written(result))
            self._rows += 1
            if len(self._parts) > 500:
                self._gather()
        elif status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            self._writer = None
            self._counted = result.command_tuples
            if status == ExecStatus.TUPLES_OK:
                self._columns = result
        elif status != ExecStatus.EMPTY_QUERY:
            self._error = self._session.error(result)

    def take(self) -> bytes:
        """Return what has been written since the last time."""
        self._gather()
        block, self.text = self.text.encode(), ""
        return block

    def finish(self, type_names: dict[int, str], seconds: float) -> None:
        """Write what follows the rows; raise SQLError if an error has come before any."""
        if self._error and not self._rows:
            raise self._error
        members: dict[str, Any] = {
            "time": round(seconds, 3),
            "fields": {} if self._columns is None else fields(self._columns, type_names, self._asked.skip),
            # A statement that counts nothing, such as DROP, leaves the rows of all before it.
            "total_rows": self._counted or self._rows,
        }
        if self._error:
            members["total_rows"] = self._rows
            members["error"] = explain(self._error)[1]["error"]
        for severity, message in self._session.notices:
            members.setdefault(f"{severity.lower()}s", []).append(message)
        ending = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        self._parts.append(f"],{ending[1:]}" + (")" if self._asked.callback else ""))

    def _gather(self) -> None:
        """Join the parts."""
        self.text += "".join(self._parts)
        self._parts = []


def _returns_rows(sql: str) -> bool:
    """Say whether a query can be wrapped into another: SELECT or WITH."""
    return first_word(sql) in ("select", "with")


def _integer(value: Any) -> int | None:
    """Read the integer that a parameter starts with; None if there is none, or one that JavaScript calls infinite."""
    found = _INTEGER.match(str(value))
    return int(found[1]) if found and len(found[1]) <= _LONGEST_INTEGER else None


def _filename(value: Any) -> str:
    """Return the name of the file without directory, extension and what a header cannot hold."""
    name = str(value or "").replace("\\", "/").rsplit("/", 1)[-1].lstrip(".")
    stem = name.rpartition(".")[0] or name or "cartodb-query"
    return re.sub(r"[;()\[\]<>'\"\s]|[^\x20-\x7e]", "_", stem[:_LONGEST_NAME])
