"""Create empty tables for datasets, and set geometries from columns with coordinates."""

from __future__ import annotations

import re

from psycopg import sql

from cartoframes_lite.local.catalog.dataset_tables import as_owner
from cartoframes_lite.local.catalog.names import free_table_name, sanitize_column
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

GEOMETRY_KINDS = frozenset({"geometry", "point", "multilinestring", "multipolygon"})
_DEFAULT_COLUMNS = "name text, description text"
_LONGITUDE = r"^[-+]?(([0-9]|[1-9][0-9]|1[0-7][0-9])([.][0-9]+)?|180)$"
_LATITUDE = r"^[-+]?(([0-9]|[1-8][0-9])([.][0-9]+)?|90)$"


def create(state: State, name: str, columns: str | None) -> str:
    """Create an empty CARTO table in the schema ``public``.

    Parameters
    ----------
    state : State
    name : str
        Requested name. It is sanitized, and gets a suffix ``_1``, ``_2``, ... if it is taken.
    columns : str, optional
        Columns as in SQL: ``code varchar, did integer``. None means ``name`` and ``description``.

    Returns
    -------
    str
        Name of the table.

    Raises
    ------
    psycopg.Error
        If the columns are not valid SQL.
    """
    with as_owner(state) as connection, connection.transaction():
        free = free_table_name(name, _relations(connection))
        definitions = ", ".join(["cartodb_id serial PRIMARY KEY", *_definitions(columns or _DEFAULT_COLUMNS)])
        table = sql.Identifier("public", free)
        # Prepared: PostgreSQL does not prepare several statements, whatever the columns contain.
        connection.execute(
            sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(definitions)),
            prepare=True,
        )
        connection.execute("SELECT cartodb.cdb_cartodbfytable('public', %s::regclass)", (table.as_string(connection),))
        return free


def geometry_kind(name: str) -> str:
    """Return CARTO's kind of a requested geometry type, such as ``multilinestring`` for ``line``.

    Raises
    ------
    ValueError
        If CARTO does not support the type.
    """
    plain = name.lower().removeprefix("multi")
    kind = {"line": "multilinestring", "geometry": "geometry", "point": "point"}.get(plain, f"multi{plain}")
    if kind not in GEOMETRY_KINDS:
        raise ValueError(f"unsupported geometry type {name!r}")
    return kind


def set_points(state: State, table: tuple[str, str], latitude: str, longitude: str) -> None:
    """Set the geometry of the rows with a valid latitude and longitude, in degrees, in two columns.

    Raises
    ------
    psycopg.Error
        If the table does not have the columns.
    """
    statement = sql.SQL(
        "UPDATE {table} SET the_geom ="
        " ST_SetSRID(ST_MakePoint(valid.longitude::float8, valid.latitude::float8), 4326)"
        " FROM (SELECT cartodb_id, replace(trim({longitude}::text), ',', '.') AS longitude,"
        " replace(trim({latitude}::text), ',', '.') AS latitude FROM {table}) valid"
        " WHERE valid.cartodb_id = {table}.cartodb_id"
        " AND valid.longitude ~ {longitudes} AND valid.latitude ~ {latitudes}"
    ).format(
        longitudes=sql.Literal(_LONGITUDE),
        latitudes=sql.Literal(_LATITUDE),
        table=sql.Identifier(*table),
        latitude=sql.Identifier(latitude),
        longitude=sql.Identifier(longitude),
    )
    with as_owner(state) as connection:
        connection.execute(statement)


def _relations(connection: Connection) -> list[str]:
    """Return the names of all relations in the schema ``public``."""
    rows = connection.execute(
        "SELECT relname AS name FROM pg_catalog.pg_class WHERE relnamespace = 'public'::regnamespace"
    ).fetchall()
    return [row["name"] for row in rows]


def _definitions(columns: str) -> list[str]:
    """Split column definitions; sanitize quoted names, and replace PRIMARY KEY by UNIQUE: cartodb_id is the key."""
    found = []
    for definition in columns.split(","):
        quoted = re.match(r'\s*"([^"]+)"(.*)\Z', definition, re.DOTALL)
        if quoted is not None:
            definition = f"{sanitize_column(quoted[1])} {quoted[2]}"
        found.append(re.sub(r"primary\s+key", "UNIQUE", definition, flags=re.IGNORECASE))
    return found
