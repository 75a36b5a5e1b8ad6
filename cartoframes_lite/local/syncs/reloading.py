"""A run of a synchronization: new rows for a table that is there.

The table itself stays, with its grants, views and indexes, unless its columns have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from ..imports.fetching import Fetched, NotModified, fetch
from ..imports.files import ImportRefused, Staged, publish, replace
from ..imports.orders import Document, owner_session, stage
from ..imports.queue import TIMED_OUT
from ..imports.workers import Cancellation
from ..plan import Plan
from ..state import State
from .records import SyncRecords, order_of

_INCOMPATIBLE, _TABLE_GONE = 2012, 2013


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a run has found.

    Attributes
    ----------
    table : str
        Name of the table, which may have been renamed.
    oid : int
    fetched : Fetched, optional
        The file, if its server has sent it.
    """

    table: str
    oid: int
    fetched: Fetched | None


def run_again(state: State, records: SyncRecords, identity: str, cancellation: Cancellation) -> Reloaded:
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
    try:
        row = records.find(identity)
    except LookupError:
        raise ImportRefused(_TABLE_GONE, "the synchronization was deleted") from None
    found = records.table_of(row)
    if found is None:
        raise ImportRefused(_TABLE_GONE, f"the table {row['name']!r} does not exist any more")
    records.update(identity, state="syncing")
    name, oid = found
    with TemporaryDirectory(dir=state.directory, prefix="sync_") as directory:
        fetched = None if row["url"] is None else _fetch(row, Path(directory), state.plan, cancellation)
        if isinstance(fetched, NotModified):
            return Reloaded(name, oid, None)
        if fetched is not None and fetched.checksum == row["checksum"]:
            return Reloaded(name, oid, fetched)
        document = None if fetched is None else Document(fetched.path, fetched.name)
        limit = cancellation.after(state.plan.import_timeout_s, TIMED_OUT)
        with limit, owner_session(state, cancellation) as connection:
            staged = stage(
                connection,
                order_of(row),
                document,
                plan=state.plan,
                directory=Path(directory),
                cancellation=cancellation,
            )
            _reload(connection, staged, name, state.plan)
    _, oid = records.table_of({"table_oid": None, "name": name}) or found
    return Reloaded(name, oid, fetched)


def _fetch(row: Mapping[str, Any], directory: Path, plan: Plan, cancellation: Cancellation) -> Fetched | NotModified:
    """Fetch the file of a synchronization, unless it is the one of the last time."""
    return fetch(row["url"], directory, plan, etag=row["etag"], modified=row["modified"], cancellation=cancellation)


def _reload(connection: psycopg.Connection[Any], staged: Sequence[Staged], table: str, plan: Plan) -> None:
    """Put the first of some staged tables in the place of a table, and drop the others."""
    first, *others = staged
    for other in others:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("public", other.table)))
    try:
        with connection.transaction():
            replace(connection, first, table)
    except ImportRefused as refusal:
        if refusal.code != _INCOMPATIBLE:
            raise
        _swap(connection, first, table, plan)


def _swap(connection: psycopg.Connection[Any], staged: Staged, table: str, plan: Plan) -> None:
    """Drop a table and give the staged one its name and its privileges."""
    granted = connection.execute(
        "SELECT pg_get_userbyid(a.grantee), a.grantee = 0, a.privilege_type, a.is_grantable"
        " FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a"
        " WHERE c.oid = %s::regclass AND a.grantee <> c.relowner",
        (sql.Identifier("public", table).as_string(connection),),
    ).fetchall()
    name = sql.Identifier("public", table)
    try:
        connection.execute(sql.SQL("DROP TABLE {}").format(name))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = f"the columns have changed, and other things depend on the table: {error.diag.message_detail}"
        raise ImportRefused(_INCOMPATIBLE, detail) from error
    if publish(connection, [with_changes(staged, name=table)], collision_strategy=None, plan=plan) != [table]:
        raise ImportRefused(_INCOMPATIBLE, f"the columns have changed, and {table!r} is no name for a new table")
    for role, everybody, privilege, grantable in granted:
        connection.execute(
            sql.SQL("GRANT {} ON {} TO {}{}").format(
                sql.SQL(privilege),
                name,
                sql.SQL("PUBLIC") if everybody else sql.Identifier(role),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )
