"""Published versions of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from cartoframes_lite.local.catalog.map_layers import SavedLayer
from cartoframes_lite.local.catalog.visualizations import Visualization
from cartoframes_lite.local.state import State

_COLUMNS = "id::text, related_ids, created_at"


@dataclass(frozen=True, slots=True)
class Mapcap:
    """A published version of a map.

    Attributes
    ----------
    id : str
    related_ids : dict
        Ids of the map and its layers, as in the API.
    created_at : datetime
        With time zone.
    """

    id: str
    related_ids: dict[str, Any]
    created_at: datetime


def create(state: State, a_map: Visualization, layers: Sequence[SavedLayer]) -> Mapcap:
    """Publish the current version of a map; it replaces the one published before."""
    related_ids = {
        "visualization_id": a_map.id,
        "map_id": a_map.map_id,
        "layers": [{"layer_id": layer.id, "widgets": []} for layer in layers],
    }
    with state.admin() as connection, connection.transaction():
        connection.execute("DELETE FROM cartodb_local.mapcaps WHERE map_id = %s", (a_map.id,))
        row = connection.execute(
            f"INSERT INTO cartodb_local.mapcaps (map_id, related_ids) VALUES (%s, %s) RETURNING {_COLUMNS}",
            (a_map.id, Jsonb(related_ids)),
        ).fetchone()
    assert row is not None  # INSERT of one row
    return Mapcap(**row)


def of(state: State, a_map: Visualization) -> list[Mapcap]:
    """Return the published versions of a map: one or none."""
    with state.admin() as connection:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM cartodb_local.mapcaps WHERE map_id = %s", (a_map.id,))
        return [Mapcap(**row) for row in rows]


def find(state: State, a_map: Visualization, mapcap_id: str) -> Mapcap:
    """Return a published version of a map; raise LookupError if it does not exist."""
    for mapcap in of(state, a_map):
        if mapcap.id == mapcap_id:
            return mapcap
    raise LookupError(mapcap_id)


def delete(state: State, mapcap: Mapcap) -> None:
    """Delete a published version: the map is not published any more."""
    with state.admin() as connection:
        connection.execute("DELETE FROM cartodb_local.mapcaps WHERE id = %s", (mapcap.id,))
