"""Publish staging tables: rename them, or replace the rows of existing tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.catalog.names import append_number, free_table_name
from cartoframes_lite.local.imports.files.error_codes import ImportJobError
from cartoframes_lite.local.imports.files.tables import (
    Connection,
    StagedTable,
    postgres_errors,
    public,
    regclass,
    scalar,
)
from cartoframes_lite.local.plan import Plan

# Key of the advisory lock that serializes the choice of table names among imports (arbitrary number).
_NAMES_LOCK = 0x0CA27AB1
# Sessions other than imports may create a table of the same name in a long transaction.
_NAME_LOCK_TIMEOUT = "200ms"
_MAX_ATTEMPTS = 10
_CONFLICTS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.LockNotAvailable,
)
_INTEGERS = tuple(psycopg.postgres.types[name].oid for name in ("int2", "int4", "int8"))  # in order of width
_FLOATS = tuple(psycopg.postgres.types[name].oid for name in ("float4", "float8"))
_NUMERIC = psycopg.postgres.types["numeric"].oid
_ID = "cartodb_id"
_CARTO_COLUMNS = (_ID, "the_geom", "the_geom_webmercator")
# Types that CARTO treats as one; other types are only compatible with themselves.
_KINDS = (
    frozenset({*_INTEGERS, *_FLOATS, _NUMERIC}),
    frozenset(psycopg.postgres.types[name].oid for name in ("text", "varchar", "bpchar")),
    frozenset(psycopg.postgres.types[name].oid for name in ("timestamp", "timestamptz")),
)
_RENUMBERED = sql.SQL("row_number() OVER (ORDER BY cartodb_id)")
# Types whose values convert to a wider type without loss, by OID of the wider type.
_NARROWER = {
    **{oid: frozenset(_INTEGERS[:at]) for at, oid in enumerate(_INTEGERS)},
    _FLOATS[1]: frozenset({*_INTEGERS, _FLOATS[0]}),
    _NUMERIC: frozenset(_INTEGERS),
}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table."""

    type_oid: int
    type_name: str


def publish(
    connection: Connection,
    staged: Sequence[StagedTable],
    *,
    collision_strategy: str | None,
    plan: Plan,
    drop_columns: bool = False,
) -> list[str]:
    """Rename staging tables to their final names.

    Parameters
    ----------
    connection : psycopg.Connection
        The connection that staged the tables, in the same transaction.
    staged : sequence of StagedTable
    collision_strategy : {None, "skip", "overwrite"}
        If a name is taken: append a number (None), drop the staging table ("skip"), or replace the rows of the
        existing table ("overwrite").
    plan : Plan
        Limits.
    drop_columns : bool
        As in `replace`, for overwritten tables.

    Returns
    -------
    list of str
        Names of the new and overwritten tables.

    Raises
    ------
    ImportJobError
        8001 or 8002 if the storage or table quota is exceeded, 2012 or 2013 if a table cannot be overwritten.
    ValueError
        If the strategy is unknown.
    """
    if collision_strategy not in (None, "skip", "overwrite"):
        raise ValueError(f"unknown collision strategy {collision_strategy!r}")
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_NAMES_LOCK,))
    taken = _taken_names(connection)
    published = []
    for one in staged:
        if one.name not in taken or collision_strategy is None:
            published.append(_name(connection, one, taken, attempts=_MAX_ATTEMPTS if collision_strategy is None else 1))
        elif collision_strategy == "skip":
            connection.execute(sql.SQL("DROP TABLE {}").format(public(one.table)))
        else:
            replace(connection, one, one.name, drop_columns=drop_columns)
            published.append(one.name)
    _check_limits(connection, plan, new=len(published))
    return published


def replace(connection: Connection, staged: StagedTable, table: str, *, drop_columns: bool = False) -> None:
    """Replace the rows of a table by those of a staging table, and drop the staging table.

    The table keeps its grants, indexes and dependent objects. All of its columns must exist in the staging table
    with a type of the same kind, such as number; a wider type is taken over, and additional columns are added.

    Parameters
    ----------
    connection : psycopg.Connection
        The connection that staged the table, in the same transaction.
    staged : StagedTable
    table : str
        Name of the existing table in the schema public.
    drop_columns : bool
        Drop columns that are missing or of another kind in the staging table.

    Raises
    ------
    ImportJobError
        2012 if a column is missing or of another kind, 2013 if the table does not exist or has another owner, or if
        other objects depend on a column that changes, 8001 if the quota is exceeded.
    """
    kind = scalar(
        connection,
        sql.SQL("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"),
        (regclass(connection, table),),
    )
    if kind != "r":
        raise ImportJobError(2013, f"{table} is not a table")
    codes = dict.fromkeys(("InsufficientPrivilege", "DependentObjectsStillExist", "FeatureNotSupported"), 2013)
    with postgres_errors(2012, **codes):
        # Blocks writers; readers see either the old or the new rows.
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(public(table)))
        old, new = _columns(connection, table), _columns(connection, staged.table)
        if drop_columns:
            old = _drop_incompatible(connection, table, old, new)
        _check_columns(old, new)
        for name, column in new.items():
            if name not in old:
                added = sql.SQL("ALTER TABLE {} ADD COLUMN {} ").format(public(table), sql.Identifier(name))
                connection.execute(added + sql.SQL(column.type_name))
        connection.execute(sql.SQL("DELETE FROM {}").format(public(table)))
        for name, column in old.items():
            if name not in _CARTO_COLUMNS and not _holds(column, new[name]):
                changed = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE ").format(public(table), sql.Identifier(name))
                connection.execute(changed + sql.SQL(new[name].type_name))
        names = sql.SQL(", ").join(map(sql.Identifier, new))
        values = sql.SQL(", ").join(
            _RENUMBERED
            if name == _ID in old and not _ids_fit(connection, staged.table, old[_ID])
            else sql.Identifier(name)
            for name in new
        )
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY cartodb_id").format(
                public(table), names, values, public(staged.table)
            )
        )
        _continue_ids(connection, table)
        connection.execute(sql.SQL("DROP TABLE {}").format(public(staged.table)))
        connection.execute(sql.SQL("ANALYZE {}").format(public(table)))
        connection.execute("SELECT cartodb.cdb_tablemetadatatouch(%s::regclass)", (regclass(connection, table),))


def _taken_names(connection: Connection) -> set[str]:
    """Return the names in use in the schema public; a table cannot have the name of a type either."""
    rows = _rows(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typcategory <> 'A'",
    )
    return {row[0] for row in rows}


def _name(connection: Connection, staged: StagedTable, taken: set[str], *, attempts: int) -> str:
    """Rename a staging table to a free name; try the next name if another session is creating that table."""
    before = scalar(connection, sql.SQL("SELECT current_setting('lock_timeout')"))
    for _ in range(attempts):
        name = free_table_name(staged.name, taken)
        taken.add(name)
        with suppress(*_CONFLICTS), connection.transaction():
            _set_lock_timeout(connection, _NAME_LOCK_TIMEOUT)
            _rename(connection, staged.table, name)
            _set_lock_timeout(connection, before)
            return name
    raise ImportJobError(2013, f"another session is creating a table {staged.name}")


def _set_lock_timeout(connection: Connection, timeout: str) -> None:
    """Set the lock timeout until the end of the transaction."""
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (timeout,))


def _rename(connection: Connection, table: str, name: str) -> None:
    """Rename a table, and its sequence and indexes, which are named after it."""
    parts = _rows(
        connection,
        "SELECT c.relname, c.relkind::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'"
        " WHERE d.refobjid = %(table)s::regclass AND d.classid = 'pg_class'::regclass"
        " UNION ALL SELECT c.relname, c.relkind::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
        " WHERE indrelid = %(table)s::regclass",
        {"table": regclass(connection, table)},
    )
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(public(table), sql.Identifier(name)))
    for part, kind in parts:
        ending = str(part).removeprefix(table)
        unique_name = append_number(name[: 63 - len(ending)] + ending, _taken_names(connection))
        statement = "ALTER SEQUENCE {} RENAME TO {}" if kind == "S" else "ALTER INDEX {} RENAME TO {}"
        connection.execute(sql.SQL(statement).format(public(part), sql.Identifier(unique_name)))


def _check_limits(connection: Connection, plan: Plan, *, new: int) -> None:
    """Raise ImportJobError if the table or storage quota is exceeded."""
    tables = scalar(connection, sql.SQL("SELECT count(*) FROM cartodb.cdb_usertables('all')"))
    if new and tables > plan.tables:
        raise ImportJobError(8002, f"the limit is {plan.tables}")
    used = scalar(connection, sql.SQL("SELECT cartodb.cdb_userdatasize('public')"))
    quota = scalar(connection, sql.SQL("SELECT cartodb.cdb_userquotainbytes()"))
    if new and used > quota:
        raise ImportJobError(8001, f"{used} bytes, the quota is {quota}")


def _columns(connection: Connection, table: str) -> dict[str, _Column]:
    """Return the writable columns of a table, in table order."""
    rows = _rows(
        connection,
        "SELECT attname, atttypid, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        " ORDER BY attnum",
        {"table": regclass(connection, table)},
    )
    return {name: _Column(oid, type_name) for name, oid, type_name in rows}


def _check_columns(old: dict[str, _Column], new: dict[str, _Column]) -> None:
    """Raise ImportJobError if a column of the old table is missing or of another kind in the new one."""
    for name, column in old.items():
        if name not in new:
            raise ImportJobError(2012, f"column {name} is missing")
        if not _is_same_kind(column, new[name]):
            raise ImportJobError(2012, f"column {name} has type {new[name].type_name}, expected {column.type_name}")


def _drop_incompatible(
    connection: Connection, table: str, old: dict[str, _Column], new: dict[str, _Column]
) -> dict[str, _Column]:
    """Drop the columns of a table that are missing or of another kind in a new one; return the others."""
    for name, column in old.items():
        if name not in _CARTO_COLUMNS and not (name in new and _is_same_kind(column, new[name])):
            drop = sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(public(table), sql.Identifier(name))
            connection.execute(drop)
    return _columns(connection, table)


def _is_same_kind(column: _Column, other: _Column) -> bool:
    """Return whether two columns have the same type or, such as numbers, types of the same kind."""
    types = {column.type_oid, other.type_oid}
    return len(types) == 1 or any(types <= kind for kind in _KINDS)


def _holds(old: _Column, new: _Column) -> bool:
    """Return whether a column can hold the values of another one of the same kind."""
    return new.type_name == old.type_name or new.type_oid in _NARROWER.get(old.type_oid, frozenset())


def _ids_fit(connection: Connection, table: str, column: _Column) -> bool:
    """Return whether the ids of a table fit the type of another column."""
    if column.type_oid not in _INTEGERS:
        return True
    limit = 2 ** (16 << _INTEGERS.index(column.type_oid)) // 2
    query = sql.SQL("SELECT coalesce(max(cartodb_id), 0), coalesce(min(cartodb_id), 0) FROM {}").format(public(table))
    ((most, least),) = _rows(connection, query)
    return bool(-limit <= least and most < limit - 1)  # leaves room for the next id


def _continue_ids(connection: Connection, table: str) -> None:
    """Advance the sequence of cartodb_id, if it has one, past the last row."""
    sequence = scalar(
        connection, sql.SQL("SELECT pg_get_serial_sequence(%s, 'cartodb_id')"), (regclass(connection, table),)
    )
    if sequence is not None:
        next_id = sql.SQL("SELECT greatest(coalesce(max(cartodb_id), 0), 0) + 1 FROM {}").format(public(table))
        # Two queries: a table name with a percent sign must not be in a query with parameters.
        connection.execute("SELECT setval(%s::regclass, %s, false)", (sequence, scalar(connection, next_id)))


def _rows(
    connection: Connection, query: str | sql.Composed, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows of a query as tuples, regardless of the connection's row factory."""
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
