"""Rows of a query as the JSON of ``/sql``, block by block."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from cartoframes_lite.local.http.authentication import AuthenticatedRequest
from cartoframes_lite.local.http.responses import error_status
from cartoframes_lite.local.postgres.session import Session, SQLError
from cartoframes_lite.local.sql.json_values import Rows, fields
from cartoframes_lite.local.sql.query import QueryRequest
from cartoframes_lite.local.sql.sessions import Sessions

BLOCK_CHARACTERS = 65_536


async def json_blocks(
    caller: AuthenticatedRequest, asked: QueryRequest, sessions: Sessions
) -> AsyncGenerator[bytes, None]:
    """Run a query and write its result; an error before the first row is raised, a later one written."""
    started = time.monotonic()
    async with sessions.open(caller.key.role) as session:
        type_names = await sessions.type_names(session)
        outcome = _JSONResult(asked, session)
        if asked.sql.strip():
            async for results in session.results(asked.sql):
                for result in results:
                    await outcome.add(result)
                if len(outcome.text) > BLOCK_CHARACTERS:
                    yield outcome.take()
        outcome.finish(type_names, time.monotonic() - started)
        yield outcome.take()


class _JSONResult:
    """The answer of ``/sql`` while it grows."""

    def __init__(self, asked: QueryRequest, session: Session) -> None:
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
            members["error"] = error_status(self._error)[1]["error"]
        for severity, message in self._session.notices:
            members.setdefault(f"{severity.lower()}s", []).append(message)
        ending = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
        self._parts.append(f"],{ending[1:]}" + (")" if self._asked.callback else ""))

    def _gather(self) -> None:
        """Join the parts."""
        self.text += "".join(self._parts)
        self._parts = []
