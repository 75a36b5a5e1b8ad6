"""Catalog of the account's datasets and maps, with their metadata and privacy.

Stored in the database, so that it survives a restart. New tables need no explicit registration: each read of the
catalog registers them first.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from cartoframes_lite.local.catalog import dataset_tables, sharing
from cartoframes_lite.local.catalog.passwords import check_password
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.state import State

PRIVACIES = ("public", "link", "private", "password")
BUILDER_VERSION = 3
# Attributes of datasets and maps that clients may set.
DETAILS = (
    "display_name",
    "title",
    "description",
    "tags",
    "license",
    "attributions",
    "source",
    "kind",
    "locked",
    "transition_options",
    "active_layer_id",
    "version",
    "updated_at",
)

# Row counts are PostgreSQL's estimates, -1 before there is one, and sizes are halved, both as in CARTO.
# pg_total_relation_size would wait for an exclusive lock.
CATALOG_QUERY = """
SELECT v.id::text AS id, v.type, v.name, v.schema_name AS schema, v.table_oid::bigint AS table_oid,
       v.table_id::text AS table_id, v.display_name, v.title, v.description, v.tags, v.license, v.attributions,
       v.source, v.kind, v.locked, v.transition_options, v.map_id::text AS map_id,
       v.permission_id::text AS permission_id, v.acl, coalesce(v.acl_updated_at, v.created_at) AS acl_updated_at,
       v.created_at, v.version, v.is_liked, v.map_settings, v.bbox,
       v.active_layer_id::text AS active_layer_id, v.password_hash,
       EXISTS (SELECT FROM cartodb_local.mapcaps p WHERE p.map_id = v.id) AS has_mapcap,
       greatest(v.updated_at, m.updated_at) AS updated_at, coalesce(m.updated_at, v.created_at) AS table_updated_at,
       CASE WHEN v.type <> 'table' THEN v.map_privacy
            WHEN has_table_privilege(%(public)s, v.table_oid, 'SELECT') IS NOT TRUE
            THEN CASE WHEN v.password_hash IS NULL THEN 'private' ELSE 'password' END
            WHEN v.is_link THEN 'link' ELSE 'public' END AS privacy,
       CASE WHEN v.table_oid IN (SELECT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted)
            THEN c.relpages::bigint * 4096 ELSE pg_total_relation_size(v.table_oid) / 2 END AS size,
       c.reltuples::bigint AS row_count,
       (SELECT count(*) FROM cartodb_local.map_datasets l WHERE l.dataset_id = v.id) AS dependents
FROM cartodb_local.visualizations v
LEFT JOIN pg_class c ON c.oid = v.table_oid
LEFT JOIN cartodb.cdb_tablemetadata m ON m.tabname = v.table_oid
WHERE v.type <> 'table' OR c.oid IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Visualization:
    """A dataset or a map.

    Attributes
    ----------
    id : str
    type : str
        "table" for a dataset, "derived" for a map.
    name : str
        Name of the map or of the dataset's table.
    schema, table_oid, table_id : str, int, str
        Schema, OID and API id of the dataset's table. None for a map.
    privacy : {"public", "link", "private", "password"}
    acl : list of dict
        Access control list: entries with the keys ``type``, ``id`` and ``access``.
    acl_updated_at : datetime
        Time of the last change of `acl`.
    size : int or None
        Half the size of the table and its indexes in bytes.
    row_count : int or None
        Estimated number of rows, -1 if unknown.
    dependents : int
        Number of maps that show the dataset.
    display_name, title, description, tags, license, attributions, source, kind, locked, transition_options
        As in the API.
    map_id : str or None
        None for a map that was created empty.
    permission_id : str
    active_layer_id : str or None
    version : int
        3 if it was made with Builder.
    is_liked : bool
        Whether the account has added it to its favorites.
    has_mapcap : bool
        Whether a version of the map was published.
    map_settings : dict
        Center, zoom and other attributes of the map that differ from the defaults.
    bbox : list of float or None
        West, south, east and north in degrees of an imported dataset.
    password_hash : str or None
        Set if the privacy is "password". Not part of the repr.
    created_at, updated_at, table_updated_at : datetime
        With time zone. `table_updated_at` is the time of the last change of the rows.
    """

    id: str
    type: str
    name: str
    schema: str | None
    table_oid: int | None
    table_id: str | None
    privacy: str
    acl: list[dict[str, str]]
    acl_updated_at: datetime
    size: int | None
    row_count: int | None
    dependents: int
    display_name: str | None
    title: str | None
    description: str | None
    tags: list[str]
    license: str | None
    attributions: str | None
    source: str | None
    kind: str
    locked: bool
    transition_options: dict[str, Any]
    map_id: str | None
    permission_id: str
    active_layer_id: str | None
    version: int
    is_liked: bool
    has_mapcap: bool
    map_settings: dict[str, Any]
    bbox: list[float] | None
    password_hash: str | None = field(repr=False)
    created_at: datetime
    updated_at: datetime
    table_updated_at: datetime

    @property
    def is_dataset(self) -> bool:
        """Whether it is a dataset."""
        return self.type == "table"

    @property
    def is_published(self) -> bool:
        """Whether it is not private and, if it is a map of Builder, a version of it was published."""
        needs_mapcap = self.version == BUILDER_VERSION and self.type == "derived"
        return self.privacy != "private" and (self.has_mapcap or not needs_mapcap)

    @property
    def is_accessible_to_all(self) -> bool:
        """Whether callers without a key and a password may view it."""
        return self.privacy in ("public", "link") and self.is_published

    def is_password(self, password: object) -> bool:
        """Return whether a text is the password of a dataset or map with privacy "password"."""
        return (
            self.privacy == "password"
            and isinstance(password, str)
            and self.password_hash is not None
            and check_password(password, self.password_hash)
        )

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name of a dataset's table."""
        assert self.schema is not None  # set for datasets
        return self.schema, self.name


class Catalog:
    """Catalog of the datasets and maps of an account. Thread-safe.

    Parameters
    ----------
    state : State
        The account.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @contextmanager
    def up_to_date(self) -> Iterator[Connection]:
        """Register new tables and yield the administrator's connection, in a transaction."""
        with self._transaction() as connection:
            self._register_tables(connection)
            yield connection

    def find(self, id_or_name: str) -> Visualization:
        """Return a dataset or map.

        Parameters
        ----------
        id_or_name : str
            Id or name, also after ``public.``. For an ambiguous name, datasets come before maps.

        Raises
        ------
        LookupError
            If it does not exist.
        """
        schema, _, name = id_or_name.rpartition(".")
        if schema not in ("", "public"):
            raise LookupError(id_or_name)
        with suppress(LookupError):
            if is_uuid(name):
                return self._find_one("id = %(value)s", name)
        return self._find_one("%(value)s = name", name)

    def find_by_table(self, id_or_name: str) -> Visualization:
        """Return a dataset by table name, ``schema.name``, table id or dataset id.

        Raises
        ------
        LookupError
            If it does not exist.
        """
        if is_uuid(id_or_name):
            return self._find_one("type = 'table' AND %(value)s IN (id, table_id)", id_or_name)
        return self._find_one("type = 'table' AND %(value)s IN (name, schema || '.' || name)", id_or_name)

    def find_by_permission(self, permission_id: str) -> Visualization:
        """Return the dataset or map of a permission; raise LookupError if it does not exist."""
        return self._find_one("permission_id = %(value)s", permission_id)

    def find_by_map(self, map_id: str) -> Visualization:
        """Return the dataset or map with a map; raise LookupError if it does not exist."""
        return self._find_one("map_id = %(value)s", map_id)

    def by_ids(self, ids: Sequence[str]) -> list[Visualization]:
        """Return registered datasets and maps by id, in the order of the ids; omit deleted ones."""
        with self._state.admin() as connection:
            rows = _rows(connection, "id = ANY(%(value)s)", list(ids))
        found = {row.id: row for row in rows}
        return [found[one] for one in ids if one in found]

    def maps_by_dataset(self, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Return the maps that show each dataset, keyed by dataset id; last updated first."""
        return self._related("dataset_id", "map_id", "updated_at DESC, id", ids)

    def datasets_by_map(self, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Return the datasets of each map, keyed by map id; bottom layer first."""
        return self._related("map_id", "dataset_id", "position", ids)

    def dataset_names(self) -> set[str]:
        """Return the names of all datasets."""
        with self.up_to_date() as connection:
            rows = connection.execute("SELECT name FROM cartodb_local.visualizations WHERE type = 'table'").fetchall()
        return {row["name"] for row in rows}

    def unused_name(self, name: str) -> str:
        """Return a name for a map: the given one, or with `` 1``, `` 2`` and so on if it is taken."""
        with self.up_to_date() as connection:
            rows = connection.execute("SELECT name FROM cartodb_local.visualizations").fetchall()
        taken, found, number = {row["name"] for row in rows}, name, 0
        while found in taken:
            number += 1
            found = f"{name} {number}"
        return found

    def insert_map(self, name: str, privacy: str, settings: Mapping[str, Any] | None) -> str:
        """Create a map without layers and return its id.

        Parameters
        ----------
        name : str
        privacy : {"public", "link", "private", "password"}
        settings : mapping or None
            See `Visualization.map_settings`. None means that it has no map.
        """
        with self._state.admin() as connection:
            row = connection.execute(
                "INSERT INTO cartodb_local.visualizations (type, name, map_privacy, map_id, map_settings)"
                " VALUES ('derived', %s, %s, CASE WHEN %s THEN gen_random_uuid() END, %s) RETURNING id::text",
                (name, privacy, settings is not None, Jsonb(dict(settings or {}))),
            ).fetchone()
        assert row is not None  # INSERT of one row
        return str(row["id"])

    def set_privacy(self, visualization_id: str, privacy: str, password_hash: str | None = None) -> None:
        """Set the privacy of a dataset or map.

        Parameters
        ----------
        visualization_id : str
        privacy : {"public", "private", "link", "password"}
            "link" is public but not listed.
        password_hash : str, optional
            For the privacy "password". None keeps the password; any other privacy removes it.

        Raises
        ------
        LookupError
            If the dataset or map does not exist.
        """
        changed = self.find(visualization_id)
        with self._transaction() as connection:
            if changed.is_dataset:
                _grant_to_public(connection, changed.table, public=privacy in ("public", "link"))
            connection.execute(
                "UPDATE cartodb_local.visualizations SET updated_at = now(), is_link = type = 'table' AND %(link)s,"
                " map_privacy = CASE WHEN type <> 'table' THEN %(privacy)s END, password_hash ="
                " CASE WHEN %(privacy)s = 'password' THEN coalesce(%(password_hash)s, password_hash) END"
                " WHERE id = %(id)s",
                {
                    "privacy": privacy,
                    "link": privacy == "link",
                    "password_hash": password_hash,
                    "id": changed.id,
                },
            )

    def update_details(self, visualization_id: str, details: Mapping[str, Any]) -> None:
        """Update the metadata of a dataset or map.

        Parameters
        ----------
        visualization_id : str
        details : mapping
            Values by keys in `DETAILS`, ``map_settings`` and ``password_hash``; for maps also ``name``. The time of
            the last change is `updated_at`, now by default.
        """
        values = {
            name: Jsonb(value) if name in ("transition_options", "map_settings") else value
            for name, value in details.items()
        }
        assignments: list[sql.Composable] = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
        ]
        if "updated_at" not in values:
            assignments.append(sql.SQL("updated_at = now()"))
        with self._state.admin() as connection:
            connection.execute(
                sql.SQL("UPDATE cartodb_local.visualizations SET {} WHERE id = %(visualization_id)s").format(
                    sql.SQL(", ").join(assignments)
                ),
                {**values, "visualization_id": visualization_id},
            )

    def set_liked(self, visualization_id: str, *, liked: bool) -> bool:
        """Add a dataset or map to the favorites or remove it; return whether that changed anything."""
        with self._state.admin() as connection:
            cursor = connection.execute(
                "UPDATE cartodb_local.visualizations SET is_liked = %(liked)s"
                " WHERE id = %(id)s AND is_liked <> %(liked)s",
                {"liked": liked, "id": visualization_id},
            )
        return bool(cursor.rowcount)

    def store_bbox(self, dataset: Visualization) -> None:
        """Store the box of an imported dataset for searches. As in CARTO, that of other datasets is not known."""
        with self._state.admin() as connection:
            tables = dataset_tables.geometry_tables(connection, self._state.owner_role, [dataset.table_oid or 0])
        bounds = dataset_tables.bounds(self._state, tables)
        with self._state.admin() as connection:
            connection.execute(
                "UPDATE cartodb_local.visualizations SET bbox = %s WHERE id = %s",
                (None if bounds is None else list(bounds), dataset.id),
            )

    def share(self, visualization: Visualization, acl: sharing.Acl) -> None:
        """Replace the access control list of a dataset or map.

        Parameters
        ----------
        visualization : Visualization
        acl : sequence of dict
            As in `sharing.store`.
        """
        with self._transaction() as connection:
            sharing.store(connection, visualization.id, acl)
            if visualization.is_dataset:
                sharing.grant(connection, self._state.owner_role, *visualization.table, acl)

    def delete(self, visualization: Visualization) -> None:
        """Delete a map, or a dataset with its table and the maps that show nothing else.

        Raises
        ------
        psycopg.Error
            If PostgreSQL cannot drop the table.
        """
        if visualization.is_dataset:
            dataset_tables.drop(self._state, *visualization.table)
        with self._state.admin() as connection, connection.transaction():
            if visualization.is_dataset:
                connection.execute("SELECT cartodb_local.delete_maps_of(ARRAY[%s::uuid])", (visualization.id,))
            connection.execute("DELETE FROM cartodb_local.visualizations WHERE id = %s", (visualization.id,))
            connection.execute("SELECT cartodb_local.follow_tables()")  # deletes its synchronization

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Open a transaction on the administrator's shared connection, with a short lock timeout."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")  # GRANT waits for a concurrent ALTER TABLE
            yield connection

    def _register_tables(self, connection: Connection) -> None:
        """Register new tables as datasets and restore the grants of replaced tables."""
        replaced = connection.execute(
            "SELECT register_tables::text AS id FROM cartodb_local.register_tables()"
        ).fetchall()
        if replaced:
            for dataset in _rows(connection, "id = ANY(%(value)s)", [row["id"] for row in replaced]):
                sharing.grant(connection, self._state.owner_role, *dataset.table, dataset.acl)
        if not self._state.plan.private_datasets:
            for dataset in _rows(connection, "type = 'table' AND privacy = %(value)s", "private"):
                _grant_to_public(connection, dataset.table, public=True)

    def _find_one(self, condition: str, value: str) -> Visualization:
        """Return the first dataset or map that satisfies a condition; raise LookupError if there is none."""
        with self.up_to_date() as connection:
            rows = _rows(connection, condition, value)
        if not rows:
            raise LookupError(value)
        return rows[0]

    def _related(self, key: str, related: str, order: str, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Join maps and datasets by their layers: return the `related` side, keyed by the ids of the other."""
        query = sql.SQL(
            "SELECT l.{key}::text AS key_id, c.* FROM cartodb_local.map_datasets l"
            " JOIN ({catalog}) c ON c.id = l.{related}::text WHERE l.{key} = ANY(%(ids)s::uuid[]) ORDER BY {order}"
        ).format(
            key=sql.Identifier(key),
            related=sql.Identifier(related),
            catalog=sql.SQL(CATALOG_QUERY),
            order=sql.SQL(order),
        )
        with self._state.admin() as connection:
            rows = connection.execute(query, {"public": PUBLIC_ROLE, "ids": list(ids)}).fetchall()
        found: defaultdict[str, list[Visualization]] = defaultdict(list)
        for row in rows:
            found[row.pop("key_id")].append(Visualization(**row))
        return found


def _rows(connection: Connection, condition: str, value: object) -> list[Visualization]:
    """Return datasets and maps that satisfy a condition on ``%(value)s``: datasets and the schema ``public`` first."""
    query = sql.SQL(
        "SELECT {columns} FROM ({catalog}) AS catalog WHERE {condition}"
        " ORDER BY type <> 'table', schema <> 'public', created_at, id"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(Visualization)),
        catalog=sql.SQL(CATALOG_QUERY),
        condition=sql.SQL(condition),
    )
    rows = connection.execute(query, {"public": PUBLIC_ROLE, "value": value}).fetchall()
    return [Visualization(**row) for row in rows]


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in canonical form, as used for ids."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _grant_to_public(connection: Connection, table: tuple[str, str], *, public: bool) -> None:
    """Grant SELECT on a table to the public role, or revoke it."""
    verb = "GRANT SELECT ON {} TO {}" if public else "REVOKE SELECT ON {} FROM PUBLIC, {}"
    connection.execute(sql.SQL(verb).format(sql.Identifier(*table), sql.Identifier(PUBLIC_ROLE)))
