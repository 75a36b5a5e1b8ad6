"""A run of a synchronization: new rows for a table that is there.

The table itself stays, with its grants, views and indexes, also if the columns of its source have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from cartoframes_lite.local.imports.fetch import FetchedFile, NotModified, fetch
from cartoframes_lite.local.imports.files import ImportRefused, StagedTable, replace
from cartoframes_lite.local.imports.jobs import TIMED_OUT
from cartoframes_lite.local.imports.requests import InputFile, owner_session, stage
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.records import SyncRecords, order_of

_INCOMPATIBLE, _TABLE_GONE = 2012, 2013
_CARTO_COLUMNS = ("cartodb_id", "the_geom", "the_geom_webmercator")


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What a run has found.

    Attributes
    ----------
    table : str
        Name of the table, which may have been renamed.
    oid : int
    fetched : FetchedFile, optional
        The file, if its server has sent it.
    """

    table: str
    oid: int
    fetched: FetchedFile | None


def refresh(state: State, records: SyncRecords, identity: str, cancellation: Cancellation) -> RefreshResult:
    """Load a table again if its source has changed, in a worker thread.

    Parameters
    ----------
    state : State
    records : SyncRecords
    identity : str
        Of the synchronization.
    cancellation : Cancellation

    Raises
    ------
    ImportRefused
        The table is as it was, then; 2013 if there is none any more.
    """
    row = _find(records, identity)
    records.update(identity, state="syncing")
    name, oid = row["name"], row["table_oid"]
    with TemporaryDirectory(dir=state.directory, prefix="sync_") as directory:
        fetched = None if row["url"] is None else _fetch(row, Path(directory), state.plan, cancellation)
        if isinstance(fetched, NotModified):
            return RefreshResult(name, oid, None)
        if fetched is not None and fetched.checksum == row["checksum"]:
            return RefreshResult(name, oid, fetched)
        input_file = None if fetched is None else InputFile(fetched.path, fetched.name)
        limit = cancellation.timeout(state.plan.import_timeout_s, TIMED_OUT)
        with limit, owner_session(state, cancellation) as connection:
            staged = stage(
                connection,
                order_of(row),
                input_file,
                plan=state.plan,
                directory=Path(directory),
                cancellation=cancellation,
            )
            _replace_rows(connection, staged, name)
            _require(connection, name, oid)
            _find(records, identity)  # again: it may have been deleted while it ran
    return RefreshResult(name, oid, fetched)


def _fetch(
    row: Mapping[str, Any], directory: Path, plan: Plan, cancellation: Cancellation
) -> FetchedFile | NotModified:
    """Fetch the file of a synchronization, unless it is the one of the last time."""
    return fetch(row["url"], directory, plan, etag=row["etag"], modified=row["modified"], cancellation=cancellation)


def _find(records: SyncRecords, identity: str) -> dict[str, Any]:
    """Return the row of a synchronization."""
    try:
        return records.find(identity)
    except LookupError:
        raise ImportRefused(_TABLE_GONE, "the synchronization was deleted") from None


def _require(connection: psycopg.Connection[Any], table: str, oid: int) -> None:
    """Refuse to commit if the name has become another table's."""
    place = sql.Identifier("public", table).as_string(connection)
    found = connection.execute("SELECT to_regclass(%s)::oid = %s::oid", (place, oid)).fetchone()
    if found is None or not found[0]:
        raise ImportRefused(_TABLE_GONE, f"{table!r} is not the table any more that is synchronized")


def _replace_rows(connection: psycopg.Connection[Any], staged: Sequence[StagedTable], table: str) -> None:
    """Put the rows of the first of some staged tables in the place of those of a table, and drop the others."""
    first, *others = staged
    for other in others:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("public", other.table)))
    try:
        with connection.transaction():
            replace(connection, first, table)
    except ImportRefused as refusal:
        if refusal.code != _INCOMPATIBLE:
            raise
        _drop_columns(connection, table, other_than=first.table)
        replace(connection, first, table)


def _drop_columns(connection: psycopg.Connection[Any], table: str, *, other_than: str) -> None:
    """Drop the columns of a table that another one lacks, or has with another type."""
    columns = "SELECT attname, atttypid, atttypmod FROM pg_catalog.pg_attribute WHERE attrelid = %s::regclass"
    columns += " AND attnum > 0 AND NOT attisdropped"
    places = [sql.Identifier("public", name).as_string(connection) for name in (table, other_than)]
    names = connection.execute(f"SELECT attname FROM ({columns} EXCEPT {columns}) AS other", places).fetchall()
    try:
        for (name,) in names:
            if name not in _CARTO_COLUMNS:
                drop = sql.SQL("ALTER TABLE {} DROP COLUMN {}")
                connection.execute(drop.format(sql.Identifier("public", table), sql.Identifier(name)))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = f"the columns have changed, and other things depend on them: {error.diag.message_detail}"
        raise ImportRefused(_INCOMPATIBLE, detail) from error
