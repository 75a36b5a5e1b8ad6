"""Run a query and write its result as the JSON of ``/sql``, in blocks."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from cartoframes_lite.local.http.responses import error_status
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.json_values import Rows, fields
from cartoframes_lite.local.sql.query import QueryRequest
from cartoframes_lite.local.sql.sessions import Sessions

BLOCK_CHARACTERS = 65_536


async def json_blocks(query: QueryRequest, role: str, sessions: Sessions) -> AsyncGenerator[bytes, None]:
    """Run a query as a role and yield its result as JSON.

    An error before the first row is raised; a later error is written into the JSON.
    """
    started = time.monotonic()
    async with sessions.open(role) as session:
        type_names = await sessions.type_names(session)
        writer = _JSONResult(query, session)
        if query.sql.strip():
            async for results in session.results(query.sql):
                for result in results:
                    await writer.add(result)
                if len(writer.text) > BLOCK_CHARACTERS:
                    yield writer.take()
        writer.finish(type_names, time.monotonic() - started)
        yield writer.take()


class _JSONResult:
    """Writer of the JSON response of ``/sql``."""

    def __init__(self, query: QueryRequest, session: Session) -> None:
        self._query, self._session = query, session
        self._row_writer: Rows | None = None
        self._rows = 0
        self._command_rows: int | None = None
        self._columns: PGresult | None = None
        self._error: SQLError | None = None
        self.text = ""
        self._parts = [f"{query.callback}(" if query.callback else "", '{"rows":[']

    async def add(self, result: PGresult) -> None:
        """Write a row, or handle the end of a statement."""
        status = result.status
        if status == ExecStatus.SINGLE_TUPLE:
            if self._row_writer is None:
                self._row_writer, self._columns = Rows(result, self._query.skip), result
            self._parts.append(("," if self._rows else "") + await self._row_writer.write_row(result))
            self._rows += 1
            if len(self._parts) > 500:
                self._join_parts()
        elif status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            self._row_writer = None
            self._command_rows = result.command_tuples
            if status == ExecStatus.TUPLES_OK:
                self._columns = result
        elif status != ExecStatus.EMPTY_QUERY:
            self._error = self._session.error(result)

    def take(self) -> bytes:
        """Return the output since the last call."""
        self._join_parts()
        block, self.text = self.text.encode(), ""
        return block

    def finish(self, type_names: dict[int, str], seconds: float) -> None:
        """Write the members after the rows; raise SQLError if the query failed before its first row."""
        if self._error and not self._rows:
            raise self._error
        members: dict[str, Any] = {
            "time": round(seconds, 3),
            "fields": {} if self._columns is None else fields(self._columns, type_names, self._query.skip),
            # A command without a row count, such as DROP: the rows of all statements before it.
            "total_rows": self._command_rows or self._rows,
        }
        if self._error:
            members["total_rows"] = self._rows
            members["error"] = error_status(self._error)[1]["error"]
        for severity, message in self._session.notices:
            members.setdefault(f"{severity.lower()}s", []).append(message)
        ending = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        self._parts.append(f"],{ending[1:]}" + (")" if self._query.callback else ""))

    def _join_parts(self) -> None:
        """Append the collected parts to ``text``."""
        self.text += "".join(self._parts)
        self._parts = []
