"""Tiles that were made already, as long as the tables they show have not changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from psycopg import sql

from cartoframes_lite.local.maps.queries import read, statement
from cartoframes_lite.local.postgres.session import Session

_LONGEST_S = 60.0  # functions and times in a query change without a table being changed
_MOST_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500


@dataclass(frozen=True, slots=True)
class KeptTile:
    """A tile, and the state of the tables that it shows."""

    tile: bytes
    state: str
    made: float

    @property
    def size_bytes(self) -> int:
        """What it takes of the cache."""
        return len(self.tile) + _ENTRY_BYTES


class TileCache:
    """Keeps the tiles that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, KeptTile] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> KeptTile | None:
        """Return a tile; it is good if its tables are still in that state."""
        kept = self._kept.get(key)
        if kept is None or time.monotonic() - kept.made > _LONGEST_S:
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: Hashable, tile: bytes, state: str) -> None:
        """Keep a tile in place of the one before."""
        old = self._kept.pop(key, None)
        kept = self._kept[key] = KeptTile(tile, state, time.monotonic())
        self._bytes += kept.size_bytes - (0 if old is None else old.size_bytes)
        while self._bytes > _MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size_bytes

    def forget(self) -> None:
        """Forget all tiles."""
        self._kept.clear()
        self._bytes = 0


@lru_cache
def state_expression(tables: tuple[str, ...]) -> sql.SQL:
    """Return an expression of what changes when one of some tables does.

    It is NULL if that is not known of all of them, or the session's role may not read all rows of one; and of no table,
    since the rights on functions change without one. Each transaction that writes a table leaves a version of its own
    of the table's row in ``cdb_tablemetadata``, and waits there for the one before: two snapshots that see different
    rows of the table see different versions.
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
    """Return what changes when one of some tables does, None if that is not known."""
    result = await read(session, sql.SQL("SELECT {}").format(state_expression(tables)).as_string())
    return read_state(result.get_value(0, 0))


def read_state(value: bytes | None) -> str | None:
    """Read what `state_expression` gave."""
    return None if value is None else value.decode()
