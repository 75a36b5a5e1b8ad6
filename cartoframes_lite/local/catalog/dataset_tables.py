"""Operations on the tables of datasets, with the privileges of the account's owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cartoframes_lite.local.postgres.logins import Connection, connect
from cartoframes_lite.local.state import State

READ_LOCK_TIMEOUT = "200ms"  # reads do not wait for a table that another session has locked
_WRITE_LOCK_TIMEOUT = "10s"
_SAMPLE_ROWS, _SAMPLE_VALUES = 10_000, 10  # of geometry


@dataclass(frozen=True, slots=True)
class GeometryTable:
    """A table with a column ``the_geom`` in EPSG:4326.

    Attributes
    ----------
    oid : int
    schema, name : str
    kind : str
        Geometry type declared in PostGIS, such as ``PointZ``; ``Geometry`` allows any.
    """

    oid: int
    schema: str
    name: str
    kind: str


@contextmanager
def as_owner(state: State, lock_timeout: str = _WRITE_LOCK_TIMEOUT) -> Iterator[Connection]:
    """Open a connection of the owner in autocommit mode with a lock timeout."""
    with connect(state.conninfo(state.owner_role), autocommit=True) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (lock_timeout,))
        yield connection


def rename(state: State, schema: str, old: str, new: str) -> None:
    """Rename a table; raise psycopg.Error if PostgreSQL cannot do that."""
    with as_owner(state) as connection:
        connection.execute(
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(schema, old), sql.Identifier(new))
        )


def drop(state: State, schema: str, name: str) -> None:
    """Drop a table; raise psycopg.Error if that fails, for example if a view depends on it."""
    with as_owner(state) as connection:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, name)))


def columns(connection: Connection, table_oid: int) -> list[tuple[str, str]]:
    """Return (name, type) of each column of a table, in table order."""
    rows = connection.execute(
        "SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (table_oid,),
    ).fetchall()
    return [(row["name"], row["type"].rpartition(".")[2]) for row in rows]


def geometry_tables(connection: Connection, owner_role: str, oids: Sequence[int] | None = None) -> list[GeometryTable]:
    """Return the tables with geometry that the owner may read. `oids` limits the search; None means all."""
    rows = connection.execute(
        "SELECT t.oid::bigint AS oid, schema_name AS schema, t.name,"
        " substring(format_type(a.atttypid, a.atttypmod) FROM 'geometry\\((.*),4326\\)') AS kind"
        " FROM cartodb_local.user_tables t"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = 'the_geom' AND NOT a.attisdropped"
        " WHERE format_type(a.atttypid, a.atttypmod) LIKE '%%geometry(%%,4326)'"
        " AND has_table_privilege(%s, t.oid, 'SELECT') AND (%s::bigint[] IS NULL OR t.oid::bigint = ANY(%s))",
        (owner_role, oids, oids),
    ).fetchall()
    return [GeometryTable(**row) for row in rows]


def geometry_types(state: State, tables: Iterable[GeometryTable]) -> dict[int, list[str]]:
    """Return the types of some geometries of tables by OID, such as ``["ST_Point"]``; tables without any are omitted.

    As in CARTO, these are the first ten values that are not NULL, of the first 10,000 rows.
    """
    query = (
        "SELECT {oid}::bigint AS oid, pg_catalog.array_agg(DISTINCT ST_GeometryType(the_geom)) AS types FROM"
        " (SELECT the_geom FROM (SELECT the_geom FROM {table} LIMIT {rows}) sample"
        " WHERE the_geom IS NOT NULL LIMIT {values}) found HAVING count(*) > 0"
    )
    limits = {"rows": sql.Literal(_SAMPLE_ROWS), "values": sql.Literal(_SAMPLE_VALUES)}
    return {row["oid"]: row["types"] for row in _query_tables(state, query, list(tables), **limits)}


def bounds(state: State, tables: Iterable[GeometryTable]) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of the geometries of tables in degrees, None if there are none."""
    query = (
        "SELECT {oid} AS oid, ST_XMin(box) AS west, ST_YMin(box) AS south, ST_XMax(box) AS east, ST_YMax(box) AS north"
        " FROM (SELECT ST_Extent(the_geom) AS box FROM {table}) extent WHERE box IS NOT NULL"
    )
    rows = _query_tables(state, query, list(tables))
    if not rows:
        return None
    return (
        min(row["west"] for row in rows),
        min(row["south"] for row in rows),
        max(row["east"] for row in rows),
        max(row["north"] for row in rows),
    )


def _query_tables(
    state: State, query: LiteralString, tables: Sequence[GeometryTable], **values: sql.Composable
) -> list[dict[str, Any]]:
    """Run a query for several tables as one UNION ALL; return no rows if one of the tables is locked or dropped."""
    if not tables:
        return []
    parts = [
        sql.SQL(query).format(oid=sql.Literal(table.oid), table=sql.Identifier(table.schema, table.name), **values)
        for table in tables
    ]
    try:
        with as_owner(state, READ_LOCK_TIMEOUT) as connection:
            return connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
    except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return []
