"""Cache of tiles, valid as long as the tables they were computed from have not changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

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

    def __contains__(self, key: Hashable) -> bool:
        """Return whether there is a tile, valid or not."""
        return key in self._tiles

    def get(self, key: Hashable, state: str | None) -> bytes | None:
        """Return a tile if its tables are still in the same state; None if there is none, or the state is not known."""
        cached = self._tiles.get(key)
        if cached is None or cached.state != state or time.monotonic() - cached.created_s > _MAX_AGE_S:
            return None
        self._tiles.move_to_end(key)
        return cached.tile

    def put(self, key: Hashable, tile: bytes, state: str | None) -> None:
        """Add or replace a tile, if the state of its tables is known."""
        if state is None:
            return
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
