"""Read-only sessions, for requests without a key and for maps.

The setting ``default_transaction_read_only`` is only a default, which any statement can change. Here each statement of
a request is sent separately, with the extended query protocol, which accepts a single statement. It runs in a READ ONLY
transaction that already has a snapshot: PostgreSQL does not allow such a transaction to become READ WRITE. A ``COMMIT``
in the request ends the transaction, and the next statement starts a new one. Notifications are rolled back, since
PostgreSQL allows NOTIFY in READ ONLY transactions.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial

from psycopg.pq import DiagnosticField, TransactionStatus
from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.postgres.connection import FAILED
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.statements import first_word, statements

_LARGE_CHARACTERS = 1 << 16  # a longer query is split in a worker thread
_READ_ONLY_TRANSACTION = "25006"
# A query, so it also takes the snapshot. The setting can be turned on at any time, but off only before the first query.
_SET_READ_ONLY = "SELECT pg_catalog.set_config('transaction_read_only', 'on', true)"
# Does not match comments and quotes, so that PostgreSQL cannot parse the statement differently.
_BEGIN = re.compile(r"\s*(?:begin|start\s+transaction)\b[a-z,\s]*", re.IGNORECASE | re.ASCII)
_NOTIFYING = ("notify", "do")  # a DO block can execute anything
_ENDING = ("commit", "end")
_PLANNABLE = frozenset({"select", "with", "values", "table", "insert", "update", "delete", "merge"})
_DDL = frozenset({"create", "drop", "alter", "truncate", "grant", "revoke", "comment", "reindex", "cluster",
                       "refresh", "reassign", "security", "import"})  # fmt: skip  # a list of words


class ReadOnlySession(Session):
    """A session whose statements cannot write, whatever the privileges of its role.

    If the role does not have the privilege either, the error is that of the missing privilege, as on CARTO, where only
    privileges prevent writing.
    """

    _has_notifications = False  # whether a commit of the transaction could send notifications

    async def execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement as `Session.execute` does, read-only."""
        await self._protect(query)
        return await self._execute(query, parameters, binary=binary)

    async def results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements as `Session.results` does, read-only, until one fails."""
        split = partial(statements, query)
        parts = split() if len(query) < _LARGE_CHARACTERS else await run_in_threadpool(split)
        with self._start_time_limit():
            for statement in parts:
                await self._protect(statement)
                if self._time_limit.is_exceeded:
                    raise self._time_limit.error()
                failure = None
                async for results in self._results(statement):
                    if results[-1].status in FAILED:
                        failure = results.pop()
                    if results:
                        yield results
                if failure is not None:
                    yield [await self._privilege_failure(statement, failure)]
                    return

    def _send(self, query: str) -> None:
        """Send one statement with the extended query protocol, which rejects several statements."""
        self.connection.send_statement(query)

    async def _send_copy(self, query: str) -> None:
        """Send the statement of a COPY, read-only."""
        await self._protect(query)
        await super()._send_copy(query)

    async def _protect(self, statement: str) -> None:
        """Ensure that the next statement runs in a READ ONLY transaction with a snapshot."""
        status, word = self.connection.pgconn.transaction_status, first_word(statement)
        if _BEGIN.fullmatch(statement):
            if status == TransactionStatus.INTRANS:
                await self._execute("ROLLBACK" if self._has_notifications else "COMMIT")
            self._has_notifications = False
        elif status == TransactionStatus.INTRANS and not (self._has_notifications and word in _ENDING):
            await self._execute(_SET_READ_ONLY)
        else:
            begin = f"BEGIN TRANSACTION READ ONLY; {_SET_READ_ONLY}"
            await self._run(begin if status == TransactionStatus.IDLE else f"ROLLBACK; {begin}")
            self._has_notifications = False
        self._has_notifications = self._has_notifications or word in _NOTIFYING

    async def _privilege_failure(self, statement: str, failure: PGresult) -> PGresult:
        """Return the error of the missing privilege if the role could not run a statement anyway, else ``failure``."""
        if failure.error_field(DiagnosticField.SQLSTATE) != _READ_ONLY_TRANSACTION.encode():
            return failure
        word = first_word(statement)
        if word in _PLANNABLE:
            await self._protect("")
            statement = f"EXPLAIN {statement}"  # checks privileges without running the statement
        elif word in _DDL and not (word == "create" and await self._can_create()):
            await self._run("ROLLBACK; BEGIN TRANSACTION READ WRITE")
        else:
            return failure
        try:
            results = [result async for bunch in self._results(statement) for result in bunch]
        finally:
            await self._run("ROLLBACK")
        return next((result for result in results if result.status in FAILED), failure)

    async def _can_create(self) -> bool:
        """Return whether the role can create objects in a schema.

        Then CREATE cannot be tried out: functions called by CREATE TABLE AS have effects that a rollback does not undo.
        """
        result = await self.execute(
            "SELECT pg_catalog.bool_or(pg_catalog.has_schema_privilege(oid, 'CREATE')) FROM pg_catalog.pg_namespace"
        )
        return result.get_value(0, 0) == b"t"

    async def _run(self, query: str) -> None:
        """Run statements of this server, not of a request; raise SQLError if one fails."""
        self.connection.send(query)
        await self.connection.flush()
        failed = None
        while (result := await self.connection.result()) is not None:
            failed = result if result.status in FAILED else failed
        if failed is not None:
            raise SQLError.of(failed)
