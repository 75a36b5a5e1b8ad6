"""Cache of tiles, valid as long as the tables they were computed from have not changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from psycopg import sql

from cartoframes_lite.local.maps.queries import fetch, statement
from cartoframes_lite.local.postgres.session import Session

_MAX_AGE_S = 60.0  # results of functions such as now() change without a change of a table
_MAX_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500


@dataclass(frozen=True, slots=True)
class CachedTile:
    """A tile, and the state of the tables it was computed from."""

    tile: bytes
    state: str
    created_s: float

    @property
    def size_bytes(self) -> int:
        """Size in the cache."""
        return len(self.tile) + _ENTRY_BYTES


class TileCache:
    """LRU cache of tiles."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[Hashable, CachedTile] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> CachedTile | None:
        """Return a tile, which is valid if its tables are still in the same state; None if there is none."""
        cached = self._tiles.get(key)
        if cached is None or time.monotonic() - cached.created_s > _MAX_AGE_S:
            return None
        self._tiles.move_to_end(key)
        return cached

    def put(self, key: Hashable, tile: bytes, state: str) -> None:
        """Add or replace a tile."""
        old = self._tiles.pop(key, None)
        cached = self._tiles[key] = CachedTile(tile, state, time.monotonic())
        self._bytes += cached.size_bytes - (0 if old is None else old.size_bytes)
        while self._bytes > _MAX_BYTES:
            _, oldest = self._tiles.popitem(last=False)
            self._bytes -= oldest.size_bytes

    def clear(self) -> None:
        """Remove all tiles."""
        self._tiles.clear()
        self._bytes = 0


@lru_cache
def state_expression(tables: tuple[str, ...]) -> sql.SQL:
    """Return an SQL expression whose value changes whenever one of the tables changes.

    The value is NULL if a table is not in ``cdb_tablemetadata``, or the role of the session cannot read all its rows;
    and if there are no tables, since privileges on functions change without a change of a table. Each transaction that
    writes to a table updates the row of the table in ``cdb_tablemetadata``, and the row lock serializes them: snapshots
    that see different rows of the table also see different versions (xmin) of that row.
    """
    states = [
        sql.SQL(
            "(SELECT concat(tabname::oid, '/', m.xmin) FROM cartodb.cdb_tablemetadata m"
            " WHERE tabname = to_regclass({}) AND has_table_privilege(tabname, 'SELECT')"
            " AND NOT row_security_active(tabname))"
        ).format(sql.Literal(table))
        for table in tables
    ]
    return statement(sql.SQL(" || ',' || ").join(states).as_string() if states else "NULL")


async def state_of(session: Session, tables: tuple[str, ...]) -> str | None:
    """Return the state of some tables; None if it is not known."""
    result = await fetch(session, sql.SQL("SELECT {}").format(state_expression(tables)).as_string())
    return decode_state(result.get_value(0, 0))


def decode_state(value: bytes | None) -> str | None:
    """Decode the value of `state_expression`."""
    return None if value is None else value.decode()
