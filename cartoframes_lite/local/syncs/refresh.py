"""Run a synchronization: replace the rows of an existing table.

The table keeps its grants, views and indexes, even if the columns of the source have changed.
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
from cartoframes_lite.local.imports.files import ImportJobError, StagedTable, replace
from cartoframes_lite.local.imports.jobs import TIMED_OUT
from cartoframes_lite.local.imports.requests import InputFile, owner_session, stage
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.records import SyncRecords, to_import_request

_NOT_OVERWRITTEN = 2013


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """Result of a run.

    Attributes
    ----------
    table : str
        Current name of the table.
    oid : int
        OID of the table.
    fetched : FetchedFile, optional
        The download; None for a connector or if the file was not modified.
    """

    table: str
    oid: int
    fetched: FetchedFile | None


def refresh(state: State, records: SyncRecords, sync_id: str, cancellation: Cancellation) -> RefreshResult:
    """Reload a table if its source has changed. Runs in a worker thread.

    Parameters
    ----------
    state : State
    records : SyncRecords
    sync_id : str
        Id of the synchronization.
    cancellation : Cancellation

    Raises
    ------
    ImportJobError
        2013 if the table or the synchronization has been deleted. After an error the table is unchanged.
    """
    row = _find(records, sync_id)
    records.update(sync_id, state="syncing")
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
                to_import_request(row),
                input_file,
                plan=state.plan,
                directory=Path(directory),
                cancellation=cancellation,
            )
            _replace_rows(connection, staged.tables, name)
            _check_table(connection, name, oid)
            _find(records, sync_id)  # may have been deleted during the run
    return RefreshResult(name, oid, fetched)


def _fetch(
    row: Mapping[str, Any], directory: Path, plan: Plan, cancellation: Cancellation
) -> FetchedFile | NotModified:
    """Download the file of a synchronization unless it is unchanged since the last run."""
    return fetch(row["url"], directory, plan, etag=row["etag"], modified=row["modified"], cancellation=cancellation)


def _find(records: SyncRecords, sync_id: str) -> dict[str, Any]:
    """Return the row of a synchronization."""
    try:
        return records.find(sync_id)
    except LookupError:
        raise ImportJobError(_NOT_OVERWRITTEN, "the synchronization was deleted") from None


def _check_table(connection: psycopg.Connection[Any], table: str, oid: int) -> None:
    """Raise ImportJobError if the name now belongs to another table."""
    name = sql.Identifier("public", table).as_string(connection)
    row = connection.execute("SELECT to_regclass(%s)::oid = %s::oid", (name, oid)).fetchone()
    if row is None or not row[0]:
        raise ImportJobError(_NOT_OVERWRITTEN, f"{table!r} is no longer the synchronized table")


def _replace_rows(connection: psycopg.Connection[Any], staged: Sequence[StagedTable], table: str) -> None:
    """Replace the rows of a table by those of the first staged table; drop the other staged tables."""
    first, *others = staged
    for other in others:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("public", other.table)))
    replace(connection, first, table, drop_columns=True)
