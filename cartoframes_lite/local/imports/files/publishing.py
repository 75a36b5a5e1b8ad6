"""Staged tables under their names, or in the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.imports.files.error_codes import ImportRefused
from cartoframes_lite.local.imports.files.names import unique
from cartoframes_lite.local.imports.files.tables import (
    Connection,
    StagedTable,
    postgres_errors,
    public,
    regclass,
    scalar,
)
from cartoframes_lite.local.plan import Plan

# Any number, the same for all imports: two of them that look for a free name take turns.
_NAMES_LOCK = 0x0CA27AB1
# Others create tables as well; whose transaction is still open may keep a name for as long as it likes.
_PATIENCE = "200ms"
_MOST_TRIES = 10
_CONFLICTS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.LockNotAvailable,
)
_INTEGERS = tuple(psycopg.postgres.types[name].oid for name in ("int2", "int4", "int8"))  # by their width
_FLOATS = tuple(psycopg.postgres.types[name].oid for name in ("float4", "float8"))
_NUMERIC = psycopg.postgres.types["numeric"].oid
_ID = "cartodb_id"
_RENUMBERED = sql.SQL("row_number() OVER (ORDER BY cartodb_id)")
# What goes into a column of another type as the same numbers.
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
    connection: Connection, staged: Sequence[StagedTable], *, collision_strategy: str | None, plan: Plan
) -> list[str]:
    """Give staged tables their names.

    Parameters
    ----------
    connection : psycopg.Connection
        The one that they were staged with, in the same transaction.
    staged : sequence of StagedTable
    collision_strategy : {None, "skip", "overwrite"}
        What to do if a name is taken: add a number to it, leave the table that has it and drop the staged one, or
        put the rows of the staged one into it.
    plan : Plan
        Limits.

    Returns
    -------
    list of str
        Names of the tables that are new or have new rows.

    Raises
    ------
    ImportRefused
        8001 or 8002 if the account has no room for the bytes or the tables, 2012 or 2013 if a table cannot be
        overwritten.
    ValueError
        If the strategy is none of these.
    """
    if collision_strategy not in (None, "skip", "overwrite"):
        raise ValueError(f"unknown collision strategy {collision_strategy!r}")
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_NAMES_LOCK,))
    taken = _taken_names(connection)
    published = []
    for one in staged:
        if one.name not in taken or collision_strategy is None:
            published.append(_name(connection, one, taken, tries=_MOST_TRIES if collision_strategy is None else 1))
        elif collision_strategy == "skip":
            connection.execute(sql.SQL("DROP TABLE {}").format(public(one.table)))
        else:
            replace(connection, one, one.name)
            published.append(one.name)
    _check_limits(connection, plan, new=len(published))
    return published


def replace(connection: Connection, staged: StagedTable, table: str) -> None:
    """Put the rows of a staged table in the place of those of another one, and drop it.

    The table itself stays, with its grants, indexes, and what hangs on it. Its columns must be in the staged one
    with the same types, or narrower ones; it gets the columns that are new.

    Parameters
    ----------
    connection : psycopg.Connection
        The one that it was staged with, in the same transaction.
    staged : StagedTable
    table : str
        In the schema public.

    Raises
    ------
    ImportRefused
        2012 if a column is missing or of another type, 2013 if there is no such table or it is not the owner's, 8001
        if the quota is exceeded.
    """
    kind = scalar(
        connection,
        sql.SQL("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"),
        (regclass(connection, table),),
    )
    if kind != "r":
        raise ImportRefused(2013, f"{table} is not a table")
    with postgres_errors(2012, InsufficientPrivilege=2013, DependentObjectsStillExist=2013):
        # Writers wait, readers see the old rows or the new.
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(public(table)))
        old, new = _columns(connection, table), _columns(connection, staged.table)
        _check_columns(old, new)
        for name, column in new.items():
            if name not in old:
                added = sql.SQL("ALTER TABLE {} ADD COLUMN {} ").format(public(table), sql.Identifier(name))
                connection.execute(added + sql.SQL(column.type_name))
        connection.execute(sql.SQL("DELETE FROM {}").format(public(table)))
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
    """Return the names that no new table of the schema public can have: types share them."""
    rows = _rows(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typcategory <> 'A'",
    )
    return {row[0] for row in rows}


def _name(connection: Connection, staged: StagedTable, taken: set[str], *, tries: int) -> str:
    """Give a staged table a free name, which is taken then; so are those that others are about to use."""
    before = scalar(connection, sql.SQL("SELECT current_setting('lock_timeout')"))
    for _ in range(tries):
        name = unique(staged.name, taken)
        taken.add(name)
        with suppress(*_CONFLICTS), connection.transaction():
            _set_lock_timeout(connection, _PATIENCE)
            _rename(connection, staged.table, name)
            _set_lock_timeout(connection, before)
            return name
    raise ImportRefused(2013, f"somebody else is about to create a table {staged.name}")


def _set_lock_timeout(connection: Connection, timeout: str) -> None:
    """Let statements wait so long for locks, until the transaction ends."""
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (timeout,))


def _rename(connection: Connection, table: str, name: str) -> None:
    """Rename a table with its sequence and its indexes, whose names begin as its own."""
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
        wanted = unique(name[: 63 - len(ending)] + ending, _taken_names(connection))
        statement = "ALTER SEQUENCE {} RENAME TO {}" if kind == "S" else "ALTER INDEX {} RENAME TO {}"
        connection.execute(sql.SQL(statement).format(public(part), sql.Identifier(wanted)))


def _check_limits(connection: Connection, plan: Plan, *, new: int) -> None:
    """Refuse what the account has no room for."""
    tables = scalar(connection, sql.SQL("SELECT count(*) FROM cartodb.cdb_usertables('all')"))
    if new and tables > plan.tables:
        raise ImportRefused(8002, f"{plan.tables} are allowed")
    used = scalar(connection, sql.SQL("SELECT cartodb.cdb_userdatasize('public')"))
    quota = scalar(connection, sql.SQL("SELECT cartodb.cdb_userquotainbytes()"))
    if new and used > quota:
        raise ImportRefused(8001, f"{used} bytes, and {quota} are allowed")


def _columns(connection: Connection, table: str) -> dict[str, _Column]:
    """Return the columns of a table that can be written, in their order."""
    rows = _rows(
        connection,
        "SELECT attname, atttypid, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        " ORDER BY attnum",
        {"table": regclass(connection, table)},
    )
    return {name: _Column(oid, type_name) for name, oid, type_name in rows}


def _check_columns(old: dict[str, _Column], new: dict[str, _Column]) -> None:
    """Refuse a staged table that lacks a column of the old one, or has it of another type."""
    for name, column in old.items():
        if name not in new:
            raise ImportRefused(2012, f"there is no column {name}")
        accepted = frozenset(_INTEGERS) if name == _ID else _NARROWER.get(column.type_oid, frozenset())
        if new[name].type_oid != column.type_oid and new[name].type_oid not in accepted:
            raise ImportRefused(2012, f"column {name} is {new[name].type_name} and was {column.type_name}")


def _ids_fit(connection: Connection, table: str, column: _Column) -> bool:
    """Tell whether the ids of a table are within the limits of the type of another column."""
    if column.type_oid not in _INTEGERS:
        return True
    limit = 2 ** (16 << _INTEGERS.index(column.type_oid)) // 2
    query = sql.SQL("SELECT coalesce(max(cartodb_id), 0), coalesce(min(cartodb_id), 0) FROM {}").format(public(table))
    ((most, least),) = _rows(connection, query)
    return bool(-limit <= least and most < limit - 1)  # there must be a next one


def _continue_ids(connection: Connection, table: str) -> None:
    """Let cartodb_id go on behind the last row, if it fills itself."""
    sequence = scalar(
        connection, sql.SQL("SELECT pg_get_serial_sequence(%s, 'cartodb_id')"), (regclass(connection, table),)
    )
    if sequence is not None:
        next_id = sql.SQL("SELECT greatest(coalesce(max(cartodb_id), 0), 0) + 1 FROM {}").format(public(table))
        # Two queries: a name with a percent sign is no place for a parameter.
        connection.execute("SELECT setval(%s::regclass, %s, false)", (sequence, scalar(connection, next_id)))


def _rows(
    connection: Connection, query: str | sql.Composed, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows of a query as tuples, whatever rows of the connection look like."""
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
