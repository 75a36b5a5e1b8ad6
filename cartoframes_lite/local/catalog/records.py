"""Read and write single rows of the tables of datasets, by their ``cartodb_id``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.column_types import TableColumn, columns
from cartoframes_lite.local.catalog.dataset_tables import as_owner
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.state import State

_MAX_ID = 2**63 - 1
_GEOMETRY = "the_geom"
# Types of columns whose values are changed to fit the value; columns of other types reject it.
_WIDER_TYPES = {"number": "double precision", "string": "text"}
_UNFIT = re.compile(r'^invalid input syntax for [^:]*+: "(.*)"$|^value "(.*)" is out of range for ', re.DOTALL)
_TOO_LONG = re.compile(r"^value too long for type (.*)$")


class InvalidColumnsError(ValueError):
    """The table has no columns of these names."""


class InvalidGeometryError(ValueError):
    """The geometry is not valid GeoJSON."""


class Records:
    """Rows of a table.

    Parameters
    ----------
    state : State
    table_oid : int
    schema, name : str
        Of the table.
    """

    def __init__(self, state: State, table_oid: int, schema: str, name: str) -> None:
        self._state, self._oid = state, table_oid
        self._table = sql.Identifier(schema, name)

    def find(self, cartodb_id: object) -> dict[str, Any]:
        """Return a row in JSON types, the geometry as GeoJSON text; raise LookupError if it does not exist."""
        with as_owner(self._state) as connection:
            return self._find(connection, _checked_id(cartodb_id))

    def insert(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Insert a row and return it. A number or text that does not fit into its column changes the column's type.

        Raises
        ------
        InvalidColumnsError
            If the table has no column of one of the names.
        InvalidGeometryError
        psycopg.Error
            If PostgreSQL rejects the row.
        """
        with as_owner(self._state) as connection, connection.transaction():
            row = self._execute(connection, "INSERT INTO {table} {values} RETURNING cartodb_id", values, None)
            assert row is not None  # INSERT returns the row
            self._set_geometry(connection, values, row["cartodb_id"])
            return self._find(connection, row["cartodb_id"])

    def update(self, cartodb_id: object, values: Mapping[str, Any]) -> dict[str, Any]:
        """Update a row and return it; as `insert`, and LookupError if the row does not exist."""
        row_id = _checked_id(cartodb_id)
        with as_owner(self._state) as connection, connection.transaction():
            self._find(connection, row_id)
            if values.keys() - {_GEOMETRY}:
                update = "UPDATE {table} SET {assignments} WHERE cartodb_id = {row_id} RETURNING cartodb_id"
                self._execute(connection, update, values, row_id)
            self._check_columns(connection, values)
            self._set_geometry(connection, values, row_id)
            return self._find(connection, row_id)

    def delete(self, cartodb_ids: str) -> None:
        """Delete the rows of a comma-separated list of ids; raise LookupError if one is not a number."""
        ids = [_checked_id(one) for one in cartodb_ids.split(",")]
        with as_owner(self._state) as connection:
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE cartodb_id = ANY({})").format(self._table, sql.Literal(ids))
            )

    def _find(self, connection: Connection, row_id: int) -> dict[str, Any]:
        """Select a row; raise LookupError if it does not exist."""
        found = columns(connection, self._oid)
        # Literals instead of parameters: names may contain "%", which psycopg reads as a placeholder.
        query = sql.SQL("SELECT {} FROM {} WHERE cartodb_id = {}").format(
            sql.SQL(", ").join(map(_expression, found)), self._table, sql.Literal(row_id)
        )
        with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            row = cursor.execute(query).fetchone()
        if row is None:
            raise LookupError(row_id)
        return {column.name: _json_value(column, value) for column, value in zip(found, row, strict=True)}

    def _check_columns(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Raise InvalidColumnsError if the table lacks one of the columns."""
        known = {column.name for column in columns(connection, self._oid)} | {"the_geom_webmercator"}
        if unknown := values.keys() - known:
            raise InvalidColumnsError(", ".join(sorted(unknown)))

    def _execute(
        self, connection: Connection, statement: LiteralString, values: Mapping[str, Any], row_id: int | None
    ) -> dict[str, Any] | None:
        """Execute an INSERT or UPDATE of all values but the geometry; change types of columns and repeat it."""
        self._check_columns(connection, values)
        texts = {name: _text(value) for name, value in values.items() if name != _GEOMETRY}
        names = sql.SQL(", ").join(map(sql.Identifier, texts))
        literals = sql.SQL(", ").join(map(sql.Literal, texts.values()))
        query = sql.SQL(statement).format(
            table=self._table,
            row_id=sql.Literal(row_id),
            values=sql.SQL("({}) VALUES ({})").format(names, literals) if texts else sql.SQL("DEFAULT VALUES"),
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(text)) for name, text in texts.items()
            ),
        )
        for _ in range(len(texts)):  # each column is changed once at most
            try:
                with connection.transaction():
                    return connection.execute(query).fetchone()
            except psycopg.errors.DataError as error:
                if not self._widen(connection, error, texts):
                    raise
        return connection.execute(query).fetchone()

    def _widen(self, connection: Connection, error: psycopg.Error, texts: Mapping[str, str | None]) -> bool:
        """Change the type of the column that rejected a value; return whether there is a wider type."""
        message = error.diag.message_primary or ""
        unfit, too_long = _UNFIT.match(message), _TOO_LONG.match(message)
        is_refused: Callable[[TableColumn], bool]
        if unfit is not None:
            value = unfit[1] if unfit[1] is not None else unfit[2]
            is_refused = lambda column: texts.get(column.name) == value  # noqa: E731  # shorter than two functions
        elif too_long is not None:
            is_refused = lambda column: column.database_type == too_long[1]  # noqa: E731  # as above
        else:
            return False
        for column in columns(connection, self._oid):
            wider = _WIDER_TYPES.get(column.carto_type)
            if wider is not None and wider != column.database_type and column.name in texts and is_refused(column):
                connection.execute(
                    sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}").format(
                        self._table, sql.Identifier(column.name), sql.SQL(wider)
                    )
                )
                return True
        return False

    def _set_geometry(self, connection: Connection, values: Mapping[str, Any], row_id: int) -> None:
        """Set the geometry of a row from GeoJSON text; nothing if there is none."""
        geometry = values.get(_GEOMETRY)
        if geometry is None or geometry == "" or geometry == "GeoJSON":
            return
        try:
            connection.execute(
                sql.SQL(
                    "UPDATE {} SET the_geom = ST_Transform(ST_GeomFromGeoJSON({}::text), 4326) WHERE cartodb_id = {}"
                ).format(
                    self._table,
                    sql.Literal(geometry if isinstance(geometry, str) else json.dumps(geometry)),
                    sql.Literal(row_id),
                )
            )
        except (psycopg.errors.InternalError, psycopg.errors.DataError) as error:
            raise InvalidGeometryError(error.diag.message_primary or "") from error


def _checked_id(cartodb_id: object) -> int:
    """Return an id as a number; raise LookupError if it is not one."""
    text = str(cartodb_id)
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _MAX_ID:
        raise LookupError(text)
    return int(text)


def _text(value: Any) -> str | None:
    """Return a value of a request as the text of an SQL literal. As on CARTO, the text ``null`` is NULL."""
    if value is None or value == "null":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _expression(column: TableColumn) -> sql.Composable:
    """Return the SQL expression that reads a column."""
    identifier = sql.Identifier(column.name)
    if column.name == _GEOMETRY and column.database_type == "geometry":
        return sql.SQL("ST_AsGeoJSON({}, 8)").format(identifier)
    if column.carto_type == "number" or column.database_type == "boolean":
        return identifier
    return sql.SQL("{}::text").format(identifier)


def _json_value(column: TableColumn, value: Any) -> Any:
    """Convert a value as CARTO's application does: numerics are text, times have milliseconds."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        text = f"{value:f}"
        whole, _, fraction = text.partition(".")
        return f"{whole}.{fraction.rstrip('0') or '0'}"
    if isinstance(value, float) and not isfinite(value):
        return None
    if column.carto_type == "date" and value is not None:
        return _time(value)
    return value


def _time(text: str) -> str:
    """Return PostgreSQL's text of a date or time with milliseconds and offset; unchanged if Python has no such time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:  # infinity, or a year before 1 or after 9999
        return text
    return (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)).isoformat(timespec="milliseconds")
