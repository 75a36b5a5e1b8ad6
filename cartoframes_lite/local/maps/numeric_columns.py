"""SQL expressions for numeric columns that may contain NaN and infinity."""

from __future__ import annotations

from psycopg import sql

from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.postgres.session import Session

_FLOAT_OIDS = ("700", "701", "1700")
_SPECIAL = "('NaN'::float8, 'Infinity'::float8, '-Infinity'::float8)"


async def type_of(session: Session, source: sql.Composable, value: sql.Composable) -> str | None:
    """Return the type OID of an expression; None if there are no rows or no such column."""
    query = sql.SQL("SELECT pg_typeof({})::oid FROM {} AS cdb_typed LIMIT 1").format(value, source)
    try:
        result = await session.read(query.as_string())
    except SQLError as error:
        if not error.sqlstate.startswith("42"):  # a missing column is reported by the query itself
            raise
        return None
    return (result.get_value(0, 0) or b"").decode() if result.ntuples else None


async def is_float(session: Session, source: sql.Composable, value: sql.Composable) -> bool:
    """Return whether the type of an expression has NaN and infinity."""
    return await type_of(session, source, value) in _FLOAT_OIDS


def null_if_special(value: sql.Composable) -> sql.Composed:
    """Return an expression that is NULL for NaN and infinity."""
    return sql.SQL("CASE WHEN {value} NOT IN " + _SPECIAL + " THEN {value} END").format(value=value)


def special_counts(value: sql.Composable) -> sql.Composed:
    """Return the columns that count NaN and infinity."""
    return sql.SQL(
        "sum(CASE WHEN {value} = 'NaN'::float8 THEN 1 ELSE 0 END) AS nans,"
        " sum(CASE WHEN {value} IN ('Infinity'::float8, '-Infinity'::float8) THEN 1 ELSE 0 END) AS infinities"
    ).format(value=value)
