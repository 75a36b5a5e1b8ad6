"""Layers of maps, stored in the database.

The map of a dataset gets its layers when they are first requested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from cartoframes_lite.local.catalog import dataset_tables, default_layers
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

KINDS = ("carto", "tiled", "background", "gmapsbase", "torque", "wms")
BASE_KINDS = ("tiled", "background", "gmapsbase", "wms")
# A copy is not published. It keeps the password, as in CARTO's exports.
_COPIED = ("description", "tags", "title", "license", "attributions", "source", "locked", "password_hash")
_PLAIN_NAME = re.compile("[a-z_][a-z0-9_]*")
_SELECT = (
    "SELECT l.id::text, l.kind, l.position, l.options, l.infowindow, l.tooltip, d.name AS table_name,"
    " l.dataset_id::text FROM cartodb_local.map_layers l"
    " LEFT JOIN cartodb_local.visualizations d ON d.id = l.dataset_id WHERE l.map_id = %s ORDER BY l.position, l.id"
)


@dataclass(frozen=True, slots=True)
class SavedLayer:
    """A layer of a map.

    Attributes
    ----------
    id : str
    kind : str
        One of `KINDS`.
    position : int
        From 0, the lowest layer first.
    options : mapping
        With the current name of the table.
    infowindow, tooltip : mapping or None
    dataset_id : str or None
        Dataset of a data layer.
    """

    id: str
    kind: str
    position: int
    options: Mapping[str, Any]
    infowindow: Mapping[str, Any] | None
    tooltip: Mapping[str, Any] | None
    dataset_id: str | None

    @property
    def is_base(self) -> bool:
        """Whether it is a base layer, not one with data."""
        return self.kind in BASE_KINDS

    @property
    def query(self) -> str:
        """The query of a data layer."""
        table = str(self.options.get("table_name"))
        quoted = table if _PLAIN_NAME.fullmatch(table) else '"' + table.replace('"', '""') + '"'
        return str(self.options.get("query") or f"SELECT * FROM {quoted}")

    @property
    def cartocss(self) -> str:
        """The style of a data layer."""
        return str(self.options.get("tile_style") or "").strip() or "#dummy{}"

    @property
    def name(self) -> str:
        """The name of a data layer: its alias, or the name of its table."""
        return str(self.options.get("table_name_alias") or self.options.get("table_name"))


class SavedLayers:
    """The layers of the account's maps.

    Parameters
    ----------
    state : State
    catalog : Catalog
    """

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._state, self._catalog = state, catalog

    def create_map(self, name: str, datasets: Sequence[Visualization]) -> Visualization:
        """Create a map that shows datasets over the default basemap.

        It is private if one of the datasets is; otherwise of privacy "link" if one of them is; otherwise public.

        Parameters
        ----------
        name : str
        datasets : sequence of Visualization
            The bottom layer first.
        """
        privacies = {"private" if one.privacy == "password" else one.privacy for one in datasets}
        privacy = next(one for one in ("private", "link", "public") if one in privacies)
        layers = [
            default_layers.BASEMAP_LAYER,
            *self._data_layers(datasets),
            default_layers.LABELS_LAYER,
        ]
        view = self._view(datasets[:1]) | {"scrollwheel": True}
        map_id = self._catalog.insert_map(name, privacy, view)
        with self._state.admin() as connection, connection.transaction():
            _insert(connection, map_id, layers)
        return self._catalog.find(map_id)

    def copy_map(self, source: Visualization, name: str) -> Visualization:
        """Create a copy of a map with its layers and metadata."""
        settings = None if source.map_id is None else source.map_settings
        map_id = self._catalog.insert_map(name, source.privacy, settings)
        self._catalog.update_details(map_id, {key: getattr(source, key) for key in _COPIED})
        with self._state.admin() as connection:
            connection.execute(
                "INSERT INTO cartodb_local.map_layers"
                " (map_id, dataset_id, position, kind, options, infowindow, tooltip)"
                " SELECT %s, dataset_id, position, kind, options, infowindow, tooltip"
                " FROM cartodb_local.map_layers WHERE map_id = %s",
                (map_id, source.id),
            )
        return self._catalog.find(map_id)

    def of(self, visualization: Visualization) -> list[SavedLayer]:
        """Return the layers of a map or dataset, the lowest first."""
        if visualization.is_dataset:
            self._insert_defaults(visualization)
        with self._state.admin() as connection:
            rows = connection.execute(_SELECT, (visualization.id,)).fetchall()
        layers = []
        for row in rows:
            table_name = row.pop("table_name")
            if table_name is not None:
                row["options"]["table_name"] = table_name
            layers.append(SavedLayer(**row))
        return layers

    def add(self, visualization: Visualization, values: Mapping[str, Any]) -> str:
        """Add a layer and return its id.

        Parameters
        ----------
        visualization : Visualization
        values : mapping
            ``kind``, ``options``, and optionally ``position``, ``infowindow``, ``tooltip`` and ``dataset_id``.
        """
        with self._state.admin() as connection:
            [layer_id] = _insert(connection, visualization.id, [values])
        return layer_id

    def update(self, layer: SavedLayer, values: Mapping[str, Any]) -> None:
        """Replace ``kind``, ``options``, ``position``, ``infowindow`` or ``tooltip`` of a layer."""
        merged = {
            "kind": layer.kind,
            "position": layer.position,
            "options": layer.options,
            "infowindow": layer.infowindow,
            "tooltip": layer.tooltip,
            **values,
        }
        with self._state.admin() as connection:
            connection.execute(
                "UPDATE cartodb_local.map_layers SET kind = %(kind)s, position = %(position)s, options = %(options)s,"
                " infowindow = %(infowindow)s, tooltip = %(tooltip)s WHERE id = %(id)s",
                {**_with_json(merged), "id": layer.id},
            )

    def delete(self, layer: SavedLayer) -> None:
        """Delete a layer."""
        with self._state.admin() as connection:
            connection.execute("DELETE FROM cartodb_local.map_layers WHERE id = %s", (layer.id,))

    def settings(self, visualization: Visualization) -> dict[str, Any]:
        """Return the settings of the map of a dataset or map: center, zoom and others."""
        changed = visualization.map_settings
        if visualization.is_dataset and "center" not in changed:
            changed = {**self._view([visualization]), **changed}
        return default_layers.settings(changed)

    def _insert_defaults(self, dataset: Visualization) -> None:
        """Insert the default layers of a dataset, unless it has layers."""
        with self._state.admin() as connection:
            known = connection.execute("SELECT FROM cartodb_local.map_layers WHERE map_id = %s LIMIT 1", (dataset.id,))
            if known.fetchone() is not None:
                return
        layers = [default_layers.BASEMAP_LAYER, *self._data_layers([dataset]), default_layers.LABELS_LAYER]
        with self._state.admin() as connection, connection.transaction():
            connection.execute("LOCK TABLE cartodb_local.map_layers IN SHARE ROW EXCLUSIVE MODE")
            known = connection.execute("SELECT FROM cartodb_local.map_layers WHERE map_id = %s LIMIT 1", (dataset.id,))
            if known.fetchone() is None:
                _insert(connection, dataset.id, layers)

    def _data_layers(self, datasets: Sequence[Visualization]) -> list[dict[str, Any]]:
        """Return the default data layers of datasets."""
        types = dataset_tables.geometry_types(self._state, self._geometry_tables(datasets))
        return [
            {
                **default_layers.data_layer(one.name, self._state.user, types.get(one.table_oid or 0, [])),
                "dataset_id": one.id,
            }
            for one in datasets
        ]

    def _view(self, datasets: Sequence[Visualization]) -> dict[str, Any]:
        """Return the settings of a map that shows all rows of datasets; no settings if there is no geometry."""
        bounds = dataset_tables.bounds(self._state, self._geometry_tables(datasets))
        return {} if bounds is None else default_layers.view_of(bounds)

    def _geometry_tables(self, datasets: Sequence[Visualization]) -> list[dataset_tables.GeometryTable]:
        """Return the tables of datasets with the types of their geometry."""
        oids = [one.table_oid for one in datasets if one.table_oid is not None]
        with self._state.admin() as connection:
            return dataset_tables.geometry_tables(connection, self._state.owner_role, oids)


def _insert(connection: Connection, map_id: str, layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Insert layers at their ``position``, by default on top of the others, and return their ids."""
    ids = []
    for layer in layers:
        row = connection.execute(
            "INSERT INTO cartodb_local.map_layers (map_id, dataset_id, kind, options, infowindow, tooltip, position)"
            " SELECT %(map_id)s, %(dataset_id)s, %(kind)s, %(options)s, %(infowindow)s, %(tooltip)s,"
            " coalesce(%(position)s::integer, max(position) + 1, 0)"
            " FROM cartodb_local.map_layers WHERE map_id = %(map_id)s RETURNING id::text",
            {**_with_json({"dataset_id": None, "position": None, **layer}), "map_id": map_id},
        ).fetchone()
        assert row is not None  # INSERT of one row
        ids.append(str(row["id"]))
    return ids


def _with_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a layer as parameters of a query."""
    optional = {name: values.get(name) for name in ("infowindow", "tooltip")}
    return {
        **values,
        "options": Jsonb(values.get("options") or {}),
        **{name: None if value is None else Jsonb(value) for name, value in optional.items()},
    }
