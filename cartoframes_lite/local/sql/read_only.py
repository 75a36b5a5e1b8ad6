"""Sessions that cannot write: of requests without a key, and of maps.

The setting ``default_transaction_read_only`` is no more than a default, which any statement may change. Here each
statement of a request is sent alone, by a protocol that takes no second one, and runs in a READ ONLY transaction that
has a snapshot: PostgreSQL lets nothing in it make it READ WRITE. A ``COMMIT`` of the request ends that transaction, and
the next statement begins another one of the kind. What it would notify others of is rolled back: PostgreSQL lets NOTIFY
pass there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import partial

from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.postgres.session import FAILED, Session, SQLError, encoded
from cartoframes_lite.local.sql.statements import first_word, statements

_LARGE_CHARACTERS = 1 << 16  # a longer text is split beside the event loop
_READ_ONLY_TRANSACTION = "25006"
# Setting it is also a query, which takes the snapshot. It can be set at any time; unset only before the first query.
_PROTECT = "SELECT pg_catalog.set_config('transaction_read_only', 'on', true)"
# Without comments and quotes, so that PostgreSQL cannot take it for anything else.
_BEGIN = re.compile(r"\s*(?:begin|start\s+transaction)\b[a-z,\s]*", re.IGNORECASE | re.ASCII)
_NOTIFYING = ("notify", "do")  # a block may execute anything
_ENDING = ("commit", "end")
_PLANNED = frozenset({"select", "with", "values", "table", "insert", "update", "delete", "merge"})
_DEFINING = frozenset({"create", "drop", "alter", "truncate", "grant", "revoke", "comment", "reindex", "cluster",
                       "refresh", "reassign", "security", "import"})  # fmt: skip  # a list of words


class ReadOnlySession(Session):
    """A session whose statements change nothing, whatever they say and whoever's role it is.

    Where a role also lacks the right, the error is that of the missing right, as on a server where such statements
    are refused by rights alone.
    """

    _may_notify = False  # whether the transaction may have notifications that a commit would send

    async def execute(self, query: str, parameters: Sequence[str | None] = (), *, binary: bool = False) -> PGresult:
        """Run one statement that only reads, as `Session.execute` does."""
        await self._protect(query)
        return await self._execute(query, parameters, binary=binary)

    async def results(self, query: str) -> AsyncIterator[list[PGresult]]:
        """Run statements that only read, as `Session.results` does, up to the first that fails."""
        split = partial(statements, query)
        parts = split() if len(query) < _LARGE_CHARACTERS else await run_in_threadpool(split)
        with self._in_time():
            for statement in parts:
                await self._protect(statement)
                if self._is_late:
                    raise self._timed_out()
                failure = None
                async for results in self._results(statement):
                    if results[-1].status in FAILED:
                        failure = results.pop()
                    if results:
                        yield results
                if failure is not None:
                    yield [await self._real_failure(statement, failure)]
                    return

    def _send(self, query: str) -> None:
        """Hand one statement to libpq: by this protocol PostgreSQL refuses several."""
        self.pgconn.send_query_params(encoded(query), [])

    async def _start_copy(self, query: str, wanted: ExecStatus) -> None:
        """Run a COPY up to its data."""
        await self._protect(query)
        await super()._start_copy(query, wanted)

    async def _protect(self, statement: str) -> None:
        """Make sure that the next statement runs in a transaction that cannot write."""
        status, word = self.pgconn.transaction_status, first_word(statement)
        if _BEGIN.fullmatch(statement):
            if status == TransactionStatus.INTRANS:
                await self._execute("ROLLBACK" if self._may_notify else "COMMIT")
            self._may_notify = False
        elif status == TransactionStatus.INTRANS and not (self._may_notify and word in _ENDING):
            await self._execute(_PROTECT)
        else:
            begin = f"BEGIN TRANSACTION READ ONLY; {_PROTECT}"
            await self._run(begin if status == TransactionStatus.IDLE else f"ROLLBACK; {begin}")
            self._may_notify = False
        self._may_notify = self._may_notify or word in _NOTIFYING

    async def _real_failure(self, statement: str, failure: PGresult) -> PGresult:
        """Return why a statement fails beside that it writes, if the role has no right to do what it says."""
        if failure.error_field(DiagnosticField.SQLSTATE) != _READ_ONLY_TRANSACTION.encode():
            return failure
        word = first_word(statement)
        if word in _PLANNED:
            await self._protect("")
            statement = f"EXPLAIN {statement}"  # checks the rights, and runs nothing
        elif word in _DEFINING and not (word == "create" and await self._may_create()):
            await self._run("ROLLBACK; BEGIN TRANSACTION READ WRITE")
        else:
            return failure
        try:
            results = [result async for bunch in self._results(statement) for result in bunch]
        finally:
            await self._run("ROLLBACK")
        return next((result for result in results if result.status in FAILED), failure)

    async def _may_create(self) -> bool:
        """Tell whether the role was given a schema to create in: what CREATE TABLE AS runs cannot be rolled back."""
        result = await self.execute(
            "SELECT pg_catalog.bool_or(pg_catalog.has_schema_privilege(oid, 'CREATE')) FROM pg_catalog.pg_namespace"
        )
        return result.get_value(0, 0) == b"t"

    async def _run(self, query: str) -> None:
        """Run statements of the server's own."""
        self.pgconn.send_query(query.encode())
        await self._flush()
        failed = None
        while (result := await self._result()) is not None:
            failed = result if result.status in FAILED else failed
        if failed is not None:
            raise SQLError.of(failed)
