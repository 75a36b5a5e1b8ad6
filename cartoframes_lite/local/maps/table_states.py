"""States of tables: whether cached tiles still show what the tables contain."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.prepared import PreparedQuery
from cartoframes_lite.local.sql.sessions import Sessions

# A value that changes whenever the table changes. Each transaction that writes to a table updates the row of the table
# in cdb_tablemetadata, and the row lock serializes them: snapshots that see different rows of the table also see
# different versions (xmin) of that row. No row if the role of the session cannot read all rows of the table.
_QUERY = """
SELECT concat(tabname::oid, '/', m.xmin) FROM cartodb.cdb_tablemetadata m
 WHERE tabname = to_regclass($1) AND has_table_privilege(tabname, 'SELECT') AND NOT row_security_active(tabname)
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

    async def of(self, role: str, tables: tuple[str, ...]) -> str | None:
        """Return the state of some tables at a time after the call.

        Parameters
        ----------
        role : str
            Database role.
        tables : tuple of str
            As schema.name.

        Returns
        -------
        str or None
            Differs if a table has changed in the meantime. None if the state is not known: one of the tables is not in
            ``cdb_tablemetadata``, or the role cannot read all its rows; or there are no tables, since privileges on
            functions change without a change of a table.
        """
        if not tables:
            return None
        query = self._queries.get(role)
        if query is None or not query.is_open:
            query = await self._connect(role)
            if query is None:
                return None
        known = [value.decode() for value in await query.run(tables) if value is not None]
        return ",".join(known) if len(known) == len(tables) else None

    def close(self) -> None:
        """Close all connections."""
        for query in self._queries.values():
            query.close()

    async def _connect(self, role: str) -> PreparedQuery | None:
        """Open the connection of a role; None if that is not possible, and then the tile gets the error."""
        async with self._locks[role]:
            query = self._queries.get(role)
            if query is None or not query.is_open:
                conninfo = self._sessions.conninfo(role)
                options = f"{conninfo_to_dict(conninfo)['options']} {_OPTIONS}"
                self._queries.pop(role, None)
                with suppress(SQLError):
                    self._queries[role] = await PreparedQuery.connect(make_conninfo(conninfo, options=options), _QUERY)
            return self._queries.get(role)
