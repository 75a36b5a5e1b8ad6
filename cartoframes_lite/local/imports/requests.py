"""What a user wants imported, and how it becomes tables that nobody sees yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from cartoframes_lite.local.imports.connectors import stage_connector
from cartoframes_lite.local.imports.files import ImportRefused, Options, StagedTable, normalize, stage_file, stage_query
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.postgres.logins import connect
from cartoframes_lite.local.state import State

# A request with nothing to import makes a job, too: one that fails.
NOTHING = ImportRefused(1001, "there is nothing to import: no file, url, connector, table_copy or sql")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file on disk, and what its owner calls it."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What is to be imported, and how.

    Attributes
    ----------
    data_type : str
        ``file``, ``url``, ``query``, ``table``, ``datasource`` or ``external_table``.
    document : NamedFile, optional
        The file of an upload. The import removes it.
    url, query, table, connector
        One of them, if there is no document.
    refusal : ImportRefused, optional
        Why the import fails at once.
    table_name : str, optional
        Name for the table, if there will be but one.
    options : Options
    collision_strategy : str, optional
        ``skip`` or ``overwrite``.
    privacy : str, optional
        ``public``, ``private`` or ``link``. None means the account's default.
    create_vis : bool
        Whether to make a map of the tables.
    synchronization_id : str, optional
        Of the synchronization that this is the first import of.
    user_defined_limits : str
        As the client gave it; of no effect.
    """

    data_type: str
    document: NamedFile | None = None
    url: str | None = field(default=None, repr=False)
    query: str | None = None
    table: str | None = None
    connector: Mapping[str, Any] | None = field(default=None, repr=False)
    refusal: ImportRefused | None = None
    table_name: str | None = None
    options: Options = field(default_factory=Options)
    collision_strategy: str | None = None
    privacy: str | None = None
    create_vis: bool = False
    synchronization_id: str | None = None
    user_defined_limits: str = "{}"

    def discard(self) -> None:
        """Remove the file of an upload."""
        if self.document is not None:
            self.document.path.unlink(missing_ok=True)


@contextmanager
def owner_session(state: State, cancellation: Cancellation) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction of the account's owner, committed in the end unless there is an error.

    A cancellation ends the session: that also works between two statements.
    """
    opened: psycopg.Connection[Any] = connect(state.conninfo(state.owner_role))
    opened.row_factory = tuple_row
    with opened as connection:
        process = connection.info.backend_pid

        def terminate() -> None:
            with state.admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (process,))

        with cancellation.ends(terminate):
            yield connection


def stage(
    connection: psycopg.Connection[Any],
    order: ImportRequest,
    document: NamedFile | None,
    *,
    plan: Plan,
    directory: Path,
    cancellation: Cancellation,
) -> Sequence[StagedTable]:
    """Make tables of what was ordered.

    Parameters
    ----------
    connection : psycopg.Connection
        Of the owner, in a transaction.
    order, plan, cancellation
    document : NamedFile, optional
        The file, for an upload or a URL.
    directory : Path
        For temporary files; the caller removes it.

    Raises
    ------
    ImportRefused
    """
    if order.refusal is not None:
        raise order.refusal
    staged: Sequence[StagedTable]
    if document is not None:
        staged = stage_file(
            connection,
            document.path,
            file_name=document.name,
            options=order.options,
            plan=plan,
            directory=directory,
        )
    elif order.connector is not None:
        staged = [stage_connector(connection, order.connector, plan=plan, cancellation=cancellation)]
    elif order.query is not None:
        name = order.table_name or "untitled_table"
        staged = [stage_query(connection, order.query, name=name, plan=plan)]
    elif order.table is not None:
        query = sql.SQL("SELECT * FROM {}").format(_table(order.table)).as_string(connection)
        staged = [stage_query(connection, query, name=order.table_name or f"{order.table}_copy", plan=plan)]
    else:
        raise NOTHING
    if order.table_name and len(staged) == 1:
        staged = [replace(staged[0], name=normalize(order.table_name))]
    return staged


def _table(name: str) -> sql.Identifier:
    """Return the identifier of a table that may be given with its schema."""
    schema, dot, table = name.partition(".")
    return sql.Identifier(schema, table) if dot else sql.Identifier("public", name)
