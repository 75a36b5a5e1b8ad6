"""Expressions for columns of numbers, some of which may be NaN or infinite."""

from __future__ import annotations

from psycopg import sql

from cartoframes_lite.local.maps.queries import read
from cartoframes_lite.local.postgres.session import Session, SQLError

_FLOAT_OIDS = ("700", "701", "1700")
_SPECIAL = "('NaN'::float8, 'Infinity'::float8, '-Infinity'::float8)"


async def type_of(session: Session, source: sql.Composable, value: sql.Composable) -> str | None:
    """Return the oid of the type of an expression; None if there is no row, or no such column."""
    query = sql.SQL("SELECT pg_typeof({})::oid FROM {} AS cdb_typed LIMIT 1").format(value, source)
    try:
        result = await read(session, query.as_string())
    except SQLError as error:
        if not error.sqlstate.startswith("42"):  # the error of the query itself says more
            raise
        return None
    return (result.get_value(0, 0) or b"").decode() if result.ntuples else None


async def is_float(session: Session, source: sql.Composable, value: sql.Composable) -> bool:
    """Say whether an expression can be NaN or infinite."""
    return await type_of(session, source, value) in _FLOAT_OIDS


def finite(value: sql.Composable) -> sql.Composed:
    """Return a value as NULL if it is no number."""
    return sql.SQL("CASE WHEN {value} NOT IN " + _SPECIAL + " THEN {value} END").format(value=value)


def counts(value: sql.Composable) -> sql.Composed:
    """Return the columns that count what is no number."""
    return sql.SQL(
        "sum(CASE WHEN {value} = 'NaN'::float8 THEN 1 ELSE 0 END) AS nans,"
        " sum(CASE WHEN {value} IN ('Infinity'::float8, '-Infinity'::float8) THEN 1 ELSE 0 END) AS infinities"
    ).format(value=value)
