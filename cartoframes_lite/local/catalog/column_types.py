"""Columns of the tables of datasets, and CARTO's names of their types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cartoframes_lite.local.postgres.logins import Connection

# Type names of CARTO by those of PostgreSQL; other types keep their names, also ``date``.
_CARTO_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "decimal", "real", "double precision"), "number"),
    **dict.fromkeys(("serial",), "number"),
    **dict.fromkeys(("text", "character varying", "varchar", "character", "char"), "string"),
    **dict.fromkeys(("timestamp with time zone", "timestamp without time zone", "timestamptz"), "date"),
}
_DATABASE_TYPES: Mapping[str, str] = {"number": "double precision", "string": "text", "date": "timestamptz"}
_KINDS = {"point": "point", "linestring": "multilinestring", "polygon": "multipolygon"}


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes
    ----------
    name : str
    database_type : str
        Type in PostgreSQL, with its length or precision; ``geometry`` for any geometry.
    """

    name: str
    database_type: str

    @property
    def carto_type(self) -> str:
        """CARTO's name of the type."""
        return carto_type(self.database_type)


def carto_type(name: str) -> str:
    """Return CARTO's name of a PostgreSQL type, such as ``number``."""
    name = name.lower()
    plain = re.sub(r"\([0-9]+(,[0-9]+)?\)$", "", name).rstrip()
    if plain != name and not plain.startswith(("numeric", "char", "varchar")):
        return name
    return _CARTO_TYPES.get(plain, name)


def database_type(name: str) -> str:
    """Return the PostgreSQL type of one of CARTO's names, in lower case; other names are types already."""
    return _DATABASE_TYPES.get(name.lower(), name.lower())


def columns(connection: Connection, table_oid: int) -> list[TableColumn]:
    """Return the columns of a table in CARTO's order, without ``the_geom_webmercator``.

    ``cartodb_id`` and ``the_geom`` come first, then the others by name, ``created_at`` and ``updated_at`` last.
    """
    rows = connection.execute(
        "SELECT attname AS name, CASE WHEN t.typname = 'geometry' THEN 'geometry'"
        " ELSE format_type(atttypid, atttypmod) END AS database_type"
        " FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type t ON t.oid = atttypid"
        " WHERE attrelid = %s::oid AND attnum > 0 AND NOT attisdropped AND attname <> 'the_geom_webmercator'",
        (table_oid,),
    ).fetchall()
    positions = {"cartodb_id": 0, "the_geom": 1, "created_at": 3, "updated_at": 4}
    return sorted((TableColumn(**row) for row in rows), key=lambda one: (positions.get(one.name, 2), one.name))


def schema(found: Sequence[TableColumn], geometry_kind: str) -> list[list[str]]:
    """Return columns as in the API: name and type; of a geometry also "geometry" and the kind of the table's geometry.

    Parameters
    ----------
    found : sequence of TableColumn
    geometry_kind : str
        As returned by `geometry_kind`.
    """
    return [
        [one.name, "geometry", "geometry", geometry_kind]
        if one.database_type == "geometry"
        else [one.name, one.carto_type]
        for one in found
    ]


def geometry_kind(types: Sequence[str]) -> str:
    """Return CARTO's kind of the first of a table's geometry types, such as ``multipolygon`` for ``ST_Polygon``."""
    kind = types[0].lower().removeprefix("st_") if types else ""
    return _KINDS.get(kind.removeprefix("multi"), "geometry")
