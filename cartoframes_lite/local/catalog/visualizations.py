"""The account's datasets and maps: which there are, who may see them, and what is known of them.

Kept in the database, so that a restart changes nothing. Tables need not be announced: each look at the catalog
first brings it up to date with the tables that there are.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from cartoframes_lite.local.catalog import dataset_tables, sharing
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.state import State

DATASET_PRIVACIES = frozenset({"public", "private", "link"})
MAP_PRIVACIES = DATASET_PRIVACIES | {"password"}
# What can be changed freely, and the same for datasets and maps.
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
)

# Row counts are estimates, as CARTO's are. A table that is being rewritten is not waited for.
CATALOG = """
SELECT v.id::text AS id, v.type, v.name, v.schema_name AS schema, v.table_oid::bigint AS table_oid,
       v.table_id::text AS table_id, v.display_name, v.title, v.description, v.tags, v.license, v.attributions,
       v.source, v.kind, v.locked, v.transition_options, v.map_id::text AS map_id,
       v.permission_id::text AS permission_id, v.acl, v.created_at,
       greatest(v.updated_at, m.updated_at) AS updated_at, coalesce(m.updated_at, v.created_at) AS table_updated_at,
       CASE WHEN v.type <> 'table' THEN v.map_privacy
            WHEN has_table_privilege(%(public)s, v.table_oid, 'SELECT') IS NOT TRUE THEN 'private'
            WHEN v.is_link THEN 'link' ELSE 'public' END AS privacy,
       CASE WHEN v.table_oid IN (SELECT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted)
            THEN c.relpages::bigint * 8192 ELSE pg_total_relation_size(v.table_oid) END AS size,
       CASE WHEN c.reltuples < 0 THEN pg_stat_get_live_tuples(c.oid) ELSE c.reltuples::bigint END AS row_count,
       (SELECT count(*) FROM cartodb_local.layers l WHERE l.dataset_id = v.id) AS dependents
FROM cartodb_local.visualizations v
LEFT JOIN pg_class c ON c.oid = v.table_oid
LEFT JOIN cartodb.cdb_tablemetadata m ON m.tabname = v.table_oid
WHERE v.type <> 'table' OR c.oid IS NOT NULL
"""


class MissingPasswordError(ValueError):
    """A map cannot be protected by a password that it does not have."""


@dataclass(frozen=True, slots=True)
class Visualization:
    """A dataset or a map.

    Attributes
    ----------
    id : str
    type : str
        "table" for a dataset, "derived" for a map.
    name : str
        Of a dataset, the name of its table.
    schema, table_oid, table_id : str, int, str
        Of its table. None for a map.
    privacy : {"public", "link", "private", "password"}
    acl : list of dict
        Whom it is shared with: members ``type``, ``id`` and ``access``.
    size : int or None
        Bytes of the table with its indexes.
    row_count : int or None
        Estimate.
    dependents : int
        Number of maps that show the dataset.
    display_name, title, description, tags, license, attributions, source, kind, locked, transition_options
        As in the API.
    map_id, permission_id : str
    created_at, updated_at, table_updated_at : datetime
        With time zone; the last one is when the rows were changed.
    """

    id: str
    type: str
    name: str
    schema: str | None
    table_oid: int | None
    table_id: str | None
    privacy: str
    acl: list[dict[str, str]]
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
    map_id: str
    permission_id: str
    created_at: datetime
    updated_at: datetime
    table_updated_at: datetime

    @property
    def is_dataset(self) -> bool:
        """Whether it is a dataset."""
        return self.type == "table"

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name of a dataset's table."""
        assert self.schema is not None  # that of a dataset
        return self.schema, self.name


class Catalog:
    """The datasets and maps of an account. Safe to use from several threads.

    Parameters
    ----------
    state : State
        The account.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @contextmanager
    def up_to_date(self) -> Iterator[Connection]:
        """Lend the connection with all rights, in a transaction, after the tables that are new were registered."""
        with self._changing() as connection:
            self._register(connection)
            yield connection

    # Looking

    def find(self, which: str) -> Visualization:
        """Return a dataset or map.

        Parameters
        ----------
        which : str
            Id, or name, or ``schema.name``. Among those of one name: a dataset first, in the schema ``public``.

        Raises
        ------
        LookupError
            If there is none.
        """
        if _is_id(which):
            return self._one("id = %(which)s", which)
        return self._one("%(which)s IN (name, schema || '.' || name)", which)

    def of_table(self, which: str) -> Visualization:
        """Return the dataset of a table: by its name, ``schema.name``, or the id of table or dataset.

        Raises
        ------
        LookupError
            If there is no such dataset.
        """
        if _is_id(which):
            return self._one("type = 'table' AND %(which)s IN (id, table_id)", which)
        return self._one("type = 'table' AND %(which)s IN (name, schema || '.' || name)", which)

    def of_permission(self, permission_id: str) -> Visualization:
        """Return what a permission is about; LookupError if there is none."""
        return self._one("permission_id = %(which)s", permission_id)

    def by_ids(self, ids: Sequence[str]) -> list[Visualization]:
        """Return the datasets and maps of some ids, in their order; those that are gone are left out."""
        with self.up_to_date() as connection:
            rows = _rows(connection, "id = ANY(%(which)s)", list(ids))
        found = {row.id: row for row in rows}
        return [found[one] for one in ids if one in found]

    def maps_of(self, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Return the maps that show some datasets, by the ids of those; the latest map first."""
        return self._related("dataset_id", "map_id", "updated_at DESC, id", ids)

    def datasets_of(self, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Return the datasets that some maps show, by the ids of those; the lowest layer first."""
        return self._related("map_id", "dataset_id", "position", ids)

    # Changing

    def create_map(self, name: str, tables: Sequence[str], privacy: str) -> str:
        """Create a map.

        Parameters
        ----------
        name : str
        tables : sequence of str
            Names or ids of the tables that it shows, the lowest layer first.
        privacy : {"public", "link", "private"}

        Returns
        -------
        str
            Id of the map.

        Raises
        ------
        LookupError
            If there is no dataset of one of these tables.
        """
        shown = dict.fromkeys(self.of_table(table).id for table in tables)
        map_id = str(uuid.uuid4())
        with self._state.admin() as connection, connection.transaction():
            connection.execute(
                "INSERT INTO cartodb_local.visualizations (id, type, name, map_privacy) VALUES (%s, 'derived', %s, %s)",
                (map_id, name, privacy),
            )
            for position, dataset_id in enumerate(shown):
                connection.execute(
                    "INSERT INTO cartodb_local.layers VALUES (%s, %s, %s)", (map_id, dataset_id, position)
                )
        return map_id

    def set_privacy(self, visualization_id: str, privacy: str) -> None:
        """Let everybody see a dataset or map, or only its owner.

        Parameters
        ----------
        visualization_id : str
        privacy : {"public", "private", "link", "password"}
            "link" is public, but not listed; "password" is for maps that have one.

        Raises
        ------
        LookupError
            If there is none of this id.
        MissingPasswordError
            If the map has no password.
        """
        changed = self.find(visualization_id)
        with self._changing() as connection:
            if changed.is_dataset:
                _grant_to_public(connection, changed.table, public=privacy != "private")
            elif privacy == "password" and not _has_password(connection, changed.id):
                raise MissingPasswordError("a map with privacy password needs a password")
            connection.execute(
                "UPDATE cartodb_local.visualizations SET updated_at = now(), is_link = type = 'table' AND %(link)s,"
                " map_privacy = CASE WHEN type <> 'table' THEN %(privacy)s END WHERE id = %(id)s",
                {"privacy": privacy, "link": privacy == "link", "id": changed.id},
            )

    def describe(self, visualization_id: str, details: Mapping[str, Any]) -> None:
        """Change what is told of a dataset or map.

        Parameters
        ----------
        visualization_id : str
        details : mapping
            Some of `DETAILS`, for maps also ``name`` and ``password_hash``.
        """
        values = {name: Jsonb(value) if name == "transition_options" else value for name, value in details.items()}
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values]
        with self._state.admin() as connection:
            connection.execute(
                sql.SQL("UPDATE cartodb_local.visualizations SET {} WHERE id = %(visualization_id)s").format(
                    sql.SQL(", ").join([*assignments, sql.SQL("updated_at = now()")])
                ),
                {**values, "visualization_id": visualization_id},
            )

    def share(self, visualization: Visualization, acl: sharing.Acl) -> None:
        """Share a dataset or map with members of the organization, and no longer with others.

        Parameters
        ----------
        visualization : Visualization
        acl : sequence of dict
            As in `sharing.store`.
        """
        with self._changing() as connection:
            sharing.store(connection, visualization.id, acl)
            if visualization.is_dataset:
                sharing.grant(connection, self._state.owner_role, *visualization.table, acl)

    def delete(self, visualization: Visualization) -> None:
        """Delete a map, or a dataset with its table and all maps that show it.

        Raises
        ------
        psycopg.Error
            If PostgreSQL refuses to drop the table.
        """
        gone = [visualization.id]
        if visualization.is_dataset:
            gone += [shown.id for shown in self.maps_of(gone).get(visualization.id, [])]
            dataset_tables.drop(self._state, *visualization.table)
        with self._state.admin() as connection:
            connection.execute("DELETE FROM cartodb_local.visualizations WHERE id = ANY(%s::uuid[])", (gone,))
            connection.execute("SELECT cartodb_local.follow_tables()")  # its synchronization goes, too

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """Lend the connection with all rights, in a transaction. Others wait for it: it must not wait for long."""
        with self._state.admin() as connection, connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '2s'")  # GRANT waits for who alters the table
            yield connection

    def _register(self, connection: Connection) -> None:
        """Bring the datasets up to date with the tables."""
        replaced = connection.execute(
            "SELECT register_tables::text AS id FROM cartodb_local.register_tables()"
        ).fetchall()
        if replaced:
            for dataset in _rows(connection, "id = ANY(%(which)s)", [row["id"] for row in replaced]):
                sharing.grant(connection, self._state.owner_role, *dataset.table, dataset.acl)
        if not self._state.plan.private_datasets:
            for dataset in _rows(connection, "type = 'table' AND privacy = %(which)s", "private"):
                _grant_to_public(connection, dataset.table, public=True)

    def _one(self, condition: str, which: str) -> Visualization:
        """Return the first that meets a condition."""
        with self.up_to_date() as connection:
            rows = _rows(connection, condition, which)
        if not rows:
            raise LookupError(which)
        return rows[0]

    def _related(self, of: str, wanted: str, order: str, ids: Sequence[str]) -> dict[str, list[Visualization]]:
        """Return what stands on one side of the layers, by the ids on the other side."""
        query = sql.SQL(
            "SELECT l.{of}::text AS of_id, c.* FROM cartodb_local.layers l"
            " JOIN ({catalog}) c ON c.id = l.{wanted}::text WHERE l.{of} = ANY(%(ids)s::uuid[]) ORDER BY {order}"
        ).format(of=sql.Identifier(of), wanted=sql.Identifier(wanted), catalog=sql.SQL(CATALOG), order=sql.SQL(order))
        with self._state.admin() as connection:
            rows = connection.execute(query, {"public": PUBLIC_ROLE, "ids": list(ids)}).fetchall()
        found: defaultdict[str, list[Visualization]] = defaultdict(list)
        for row in rows:
            found[row.pop("of_id")].append(Visualization(**row))
        return found


def _rows(connection: Connection, condition: str, which: object) -> list[Visualization]:
    """Return those that meet a condition: datasets first, in the schema ``public``."""
    query = sql.SQL(
        "SELECT {columns} FROM ({catalog}) AS catalog WHERE {condition}"
        " ORDER BY type <> 'table', schema <> 'public', created_at, id"
    ).format(
        columns=sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(Visualization)),
        catalog=sql.SQL(CATALOG),
        condition=sql.SQL(condition),
    )
    rows = connection.execute(query, {"public": PUBLIC_ROLE, "which": which}).fetchall()
    return [Visualization(**row) for row in rows]


def _is_id(which: str) -> bool:
    """Tell whether this is an id as the catalog writes it."""
    try:
        return str(uuid.UUID(which)) == which
    except ValueError:
        return False


def _grant_to_public(connection: Connection, table: tuple[str, str], *, public: bool) -> None:
    """Let everybody read a table, or only the account's owner."""
    verb = "GRANT SELECT ON {} TO {}" if public else "REVOKE SELECT ON {} FROM PUBLIC, {}"
    connection.execute(sql.SQL(verb).format(sql.Identifier(*table), sql.Identifier(PUBLIC_ROLE)))


def _has_password(connection: Connection, map_id: str) -> bool:
    """Tell whether a map has a password."""
    row = connection.execute(
        "SELECT password_hash IS NOT NULL AS has FROM cartodb_local.visualizations WHERE id = %s", (map_id,)
    ).fetchone()
    return row is not None and bool(row["has"])
