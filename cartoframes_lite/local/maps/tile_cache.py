"""Tiles that were made already, as long as the tables they show have not changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from psycopg import sql

from ..session import Session

_LONGEST_S = 60.0  # functions and times in a query change without a table being changed
_MOST_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500


class TileCache:
    """Keeps the tiles that were used last."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        """Return a tile."""
        made, tile = self._tiles.get(key, (0.0, b""))
        if not made or time.monotonic() - made > _LONGEST_S:
            return None
        self._tiles.move_to_end(key)
        return tile

    def put(self, key: Hashable, tile: bytes) -> None:
        """Keep a tile."""
        _, old = self._tiles.pop(key, (0.0, None))
        self._bytes += len(tile) + _ENTRY_BYTES - (0 if old is None else len(old) + _ENTRY_BYTES)
        self._tiles[key] = (time.monotonic(), tile)
        while self._bytes > _MOST_BYTES:
            _, (_, oldest) = self._tiles.popitem(last=False)
            self._bytes -= len(oldest) + _ENTRY_BYTES

    def forget(self) -> None:
        """Forget all tiles."""
        self._tiles.clear()
        self._bytes = 0


async def state_of(session: Session, tables: Sequence[str]) -> str | None:
    """Return what changes when one of some tables does.

    Returns
    -------
    str or None
        None if that is not known of all of them, or the session's role may not read one.
    """
    query = sql.SQL(
        "SELECT string_agg(tabname::oid || '@' || updated_at || '/' || m.xmin, ',' ORDER BY tabname::oid)"
        " FROM cartodb.cdb_tablemetadata m"
        " WHERE tabname = ANY (SELECT to_regclass(name) FROM unnest({tables}::text[]) name)"
        " HAVING count(*) = {count} AND coalesce(bool_and(has_table_privilege(tabname, 'SELECT')), true)"
    ).format(tables=sql.Literal(list(tables)), count=sql.Literal(len(tables)))
    result = await session.execute(query.as_string())
    if not result.ntuples:
        return None
    return (result.get_value(0, 0) or b"").decode()
