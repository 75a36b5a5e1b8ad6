"""States of tables: whether cached tiles still show what the tables contain."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from functools import partial

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.prepared import PreparedQuery, Values
from cartoframes_lite.local.sql.sessions import Sessions

# A value that changes whenever the table changes. Each transaction that writes to a table updates the row of the table
# in cdb_tablemetadata, and the row lock serializes them: snapshots that see different rows of the table also see
# different versions (xmin) of that row. A table that has not changed since it got its trigger has no such row. ALTER
# TABLE fires no trigger, but writes the rows of pg_attribute for the columns that it adds, drops, renames or converts.
# The query returns nothing if the role of the session cannot read all rows of the table.
_QUERY = """
SELECT concat(oid, '/', m.xmin, ARRAY(SELECT xmin FROM pg_attribute WHERE attrelid = changed.oid AND attnum > 0))
  FROM (SELECT to_regclass($1)::oid AS oid OFFSET 0) changed LEFT JOIN cartodb.cdb_tablemetadata m ON tabname = oid
 WHERE has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid)
   AND (tabname IS NOT NULL
        OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = changed.oid AND tgenabled IN ('O', 'A')
                                            AND tgfoid = 'cartodb.cdb_tablemetadata_trigger'::regproc))
"""
# Planned once, and with the operators and functions of PostgreSQL whatever the settings of the role.
_OPTIONS = "-c plan_cache_mode=force_generic_plan -c search_path=pg_catalog,pg_temp"


class TableStates:
    """Ask PostgreSQL for the states of tables, over one connection for each role.

    Parameters
    ----------
    sessions : Sessions
        Provides the connection strings.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._queries: dict[str, PreparedQuery] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def ask(self, role: str, tables: tuple[str, ...]) -> asyncio.Future[str | None]:
        """Ask for the state of some tables, at a time after the call; sent at once if the connection is open.

        Parameters
        ----------
        role : str
            Database role.
        tables : tuple of str
            As schema.name.

        Returns
        -------
        asyncio.Future of str or None
            Differs if a table has changed in the meantime. None if the state is not known: one of the tables has no
            trigger that tracks its changes, or the role cannot read all its rows; or there are no tables, since
            privileges on functions change without a change of a table.
        """
        query = self._queries.get(role)
        if tables and (query is None or not query.is_open):
            return asyncio.ensure_future(self._ask_first(role, tables))
        state: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if query is None or not tables:
            state.set_result(None)
        else:
            query.run(tables, partial(_resolve, state, len(tables)))
        return state

    def close(self) -> None:
        """Close all connections."""
        for query in self._queries.values():
            query.close()

    async def _ask_first(self, role: str, tables: tuple[str, ...]) -> str | None:
        """Open the connection of a role and ask for the state of some tables."""
        return await self.ask(role, tables) if await self._connect(role) else None

    async def _connect(self, role: str) -> bool:
        """Open the connection of a role; return False if that is not possible, and then the tile gets the error."""
        async with self._locks[role]:
            query = self._queries.get(role)
            if query is None or not query.is_open:
                conninfo = self._sessions.conninfo(role)
                options = f"{conninfo_to_dict(conninfo)['options']} {_OPTIONS}"
                self._queries.pop(role, None)
                with suppress(SQLError):
                    self._queries[role] = await PreparedQuery.connect(make_conninfo(conninfo, options=options), _QUERY)
            return role in self._queries


def _resolve(state: asyncio.Future[str | None], tables: int, values: Values) -> None:
    """Return the state of a number of tables, if it is known for each, to the request that waits for it."""
    known = [value.decode() for value in values if value is not None]
    if not state.done():  # the request was canceled
        state.set_result(",".join(known) if len(known) == tables else None)
