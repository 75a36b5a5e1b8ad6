"""Add, change and drop columns of the tables of datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.column_types import TableColumn, columns, database_type
from cartoframes_lite.local.catalog.dataset_tables import as_owner
from cartoframes_lite.local.catalog.names import is_rejected_column, sanitize_column
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

_SERIAL_TYPES = frozenset({"smallserial", "serial", "bigserial"})
_FIXED = frozenset({"cartodb_id", "the_geom", "created_at", "updated_at"})
# Expressions that convert any value of a column, by its type and the new one; other values become NULL.
_CONVERSIONS: Mapping[tuple[str, str], LiteralString] = {
    ("string", "double precision"): "pg_temp.carto_number({column}, {thousands}, {point})",
    ("string", "timestamptz"): "pg_temp.carto_date({column})",
    ("string", "boolean"): "CASE WHEN {column} <> '' THEN trim({column}) !~* '^(0|f|false)$' END",
    ("number", "boolean"): "{column} <> 0",
    ("number", "timestamptz"): "NULL::timestamptz",
    ("boolean", "double precision"): "{column}::integer",
    ("boolean", "timestamptz"): "NULL::timestamptz",
    ("date", "double precision"): "extract(epoch FROM {column})",
    ("date", "boolean"): "NULL::boolean",
}
_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.carto_number(value text, thousands text, point text) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
    plain text := trim(value);
BEGIN
    IF point IS NOT NULL THEN
        plain := trim(translate(replace(replace(plain, thousands, ''), point, '.'), '$€', ''));
    END IF;
    RETURN CASE WHEN plain ~ '^[-+]?[0-9]+(\\.[0-9]+)?$' THEN plain::float8 END;
END $$;
CREATE OR REPLACE FUNCTION pg_temp.carto_date(value text) RETURNS timestamptz
LANGUAGE plpgsql AS $$
BEGIN
    IF value ~ '^[0-9]{9,11}$' THEN
        RETURN to_timestamp(value::bigint);
    END IF;
    RETURN value::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
"""


class ColumnError(ValueError):
    """The column cannot be added or changed."""


def add(state: State, table: tuple[str, str], name: str, requested_type: str) -> TableColumn:
    """Add a column.

    Returns
    -------
    TableColumn
        With the sanitized name and the requested type.

    Raises
    ------
    ColumnError
        If the name or the type is not allowed.
    psycopg.Error
        If PostgreSQL cannot add the column.
    """
    if is_rejected_column(name):
        raise ColumnError(f"invalid column name {name!r}")
    column = TableColumn(sanitize_column(name), database_type(requested_type))
    with as_owner(state) as connection, connection.transaction():
        statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}").format(
            sql.Identifier(*table),
            sql.Identifier(column.name),
            _type(connection, column.database_type, allowed=_SERIAL_TYPES),
        )
        connection.execute(statement)
        _touch(connection, table)
    return column


def change(state: State, table: tuple[str, str], name: str, new_name: str | None, new_type: str | None) -> TableColumn:
    """Rename a column and change its type; values that do not fit the new type become NULL.

    Parameters
    ----------
    state : State
    table : tuple of (str, str)
        Schema and name of the table.
    name : str
    new_name, new_type : str, optional
        None or an empty text means no change.

    Raises
    ------
    ColumnError
        If the column is one of CARTO's own, or the new name is in use.
    psycopg.Error
        If PostgreSQL cannot change the column.
    """
    old = sanitize_column(name)
    if old in _FIXED:
        raise ColumnError("This column cannot be modified")
    with as_owner(state) as connection, connection.transaction():
        if new_name and new_name != name:
            old = _rename(connection, table, old, sanitize_column(new_name))
        found = _find(connection, table, old)
        if new_type and new_type not in (found.carto_type, found.database_type):
            _convert(connection, table, found, new_type)
        _touch(connection, table)
        return _find(connection, table, old)


def drop(state: State, table: tuple[str, str], name: str) -> None:
    """Drop a column.

    Raises
    ------
    ColumnError
        If the column is one of CARTO's own.
    psycopg.Error
        If there is no such column, or PostgreSQL cannot drop it.
    """
    if name in _FIXED:
        raise ColumnError("This column cannot be dropped")
    with as_owner(state) as connection, connection.transaction():
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(sql.Identifier(*table), sql.Identifier(name))
        )
        _touch(connection, table)


def _rename(connection: Connection, table: tuple[str, str], old: str, new: str) -> str:
    """Rename a column and return its new name."""
    if new in _FIXED:
        raise ColumnError("That column name is reserved, please choose a different one")
    try:
        connection.execute(
            sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                sql.Identifier(*table), sql.Identifier(old), sql.Identifier(new)
            )
        )
    except psycopg.errors.DuplicateColumn as error:
        raise ColumnError("Column already exists") from error
    return new


def _convert(connection: Connection, table: tuple[str, str], column: TableColumn, new_type: str) -> None:
    """Change the type of a column by a cast, or if that fails by a conversion that may lose values."""
    target = database_type(new_type)
    identifier = sql.Identifier(column.name)
    pg_type = _type(connection, target)
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}")
    try:
        with connection.transaction():
            cast = sql.SQL("CAST({} AS {})").format(identifier, pg_type)
            connection.execute(statement.format(sql.Identifier(*table), identifier, pg_type, cast))
        return
    except psycopg.errors.Error:
        conversion = _CONVERSIONS.get((column.carto_type, target))
        if conversion is None:
            raise
    thousands, point = _separators(connection, table, identifier) if column.carto_type == "string" else (None, None)
    connection.execute(_FUNCTIONS)
    expression = sql.SQL(conversion).format(
        column=identifier, thousands=sql.Literal(thousands), point=sql.Literal(point)
    )
    connection.execute(statement.format(sql.Identifier(*table), identifier, pg_type, expression))


def _separators(
    connection: Connection, table: tuple[str, str], column: sql.Identifier
) -> tuple[str, str] | tuple[None, None]:
    """Return the separators of thousands and of decimals in the numbers of a text column; None if it has none."""
    row = connection.execute(
        sql.SQL(
            "SELECT coalesce(bool_or({column} ~ '[.].*[.,]'"
            " OR {column} ~ '^[^.,]*,([0-9]{{1,2}}|[0-9]{{4,}})$'), false) AS point_first,"
            " coalesce(bool_or({column} ~ ',.*[.,]'), false) AS comma_first FROM {table}"
        ).format(column=column, table=sql.Identifier(*table))
    ).fetchone()
    assert row is not None  # an aggregate always returns one row
    if row["comma_first"]:
        return ",", "."
    return (".", ",") if row["point_first"] else (None, None)


def _type(connection: Connection, name: str, *, allowed: frozenset[str] = frozenset()) -> sql.SQL:
    """Return a type as SQL; raise psycopg.Error if PostgreSQL has no type of this name."""
    if name not in allowed:
        connection.execute("SELECT %s::regtype", (name,))  # accepts the name of a single type only
    return sql.SQL(f"{name}\n")


def _find(connection: Connection, table: tuple[str, str], name: str) -> TableColumn:
    """Return a column; raise ColumnError if the table has no such column."""
    row = connection.execute(
        "SELECT %s::regclass::oid::bigint AS oid", (sql.Identifier(*table).as_string(connection),)
    ).fetchone()
    assert row is not None  # a SELECT without FROM returns one row
    for column in columns(connection, row["oid"]):
        if column.name == name:
            return column
    raise ColumnError(f"Column {name} doesn't exist")


def _touch(connection: Connection, table: tuple[str, str]) -> None:
    """Set the time of the last change of a table, which a change of its columns does not set."""
    connection.execute(
        "SELECT cartodb.cdb_tablemetadatatouch(%s::regclass)", (sql.Identifier(*table).as_string(connection),)
    )
