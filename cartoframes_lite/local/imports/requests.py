"""Import requests, and loading their source into staging tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from cartoframes_lite.local.imports.connectors import stage_connector
from cartoframes_lite.local.imports.files import GuessingOptions, ImportJobError, Staged, stage_file, stage_query
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.postgres.logins import connect
from cartoframes_lite.local.state import State

# As in CARTO, a request without a source creates a job, which fails with the code of unknown errors.
NO_SOURCE = ImportJobError(99999, "nothing to import: give a file, url, connector, table_copy or sql")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A local file and its original name."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """Source and options of an import.

    Attributes
    ----------
    data_type : str
        ``file``, ``url``, ``query`` (also of a copied table), ``datasource`` or ``external_table``.
    input_file : InputFile, optional
        The uploaded file. The import removes it.
    url, query, table, connector
        The source, if no file was uploaded.
    error : ImportJobError, optional
        Error with which the import fails immediately.
    table_name : str, optional
        Name of the table made of a query or table. As in CARTO, tables made of files are named after the files.
    options : GuessingOptions
    collision_strategy : str, optional
        ``skip`` or ``overwrite``.
    privacy : str, optional
        ``public``, ``private`` or ``link``. None means the account's default.
    create_vis : bool
        Whether to create a map of the tables.
    synchronization_id : str, optional
        Id of the synchronization whose first import this is.
    user_defined_limits : str
        JSON given by the client; returned by the API but otherwise ignored.
    """

    data_type: str
    input_file: InputFile | None = None
    url: str | None = field(default=None, repr=False)
    query: str | None = None
    table: str | None = None
    connector: Mapping[str, Any] | None = field(default=None, repr=False)
    error: ImportJobError | None = None
    table_name: str | None = None
    options: GuessingOptions = field(default_factory=GuessingOptions)
    collision_strategy: str | None = None
    privacy: str | None = None
    create_vis: bool = False
    synchronization_id: str | None = None
    user_defined_limits: str = '{"twitter_credits_limit":0}'

    def discard(self) -> None:
        """Remove the uploaded file."""
        if self.input_file is not None:
            self.input_file.path.unlink(missing_ok=True)


@contextmanager
def owner_session(state: State, cancellation: Cancellation) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction as the account's owner; commit it on exit, or roll it back after an error.

    Cancelling terminates the session, which also takes effect between two statements.
    """
    opened: psycopg.Connection[Any] = connect(state.conninfo(state.owner_role))
    opened.row_factory = tuple_row
    # An explicit transaction: else the first savepoint of a file would begin, and commit, one of its own.
    with opened as connection, connection.transaction():
        pid = connection.info.backend_pid

        def terminate() -> None:
            with state.admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))

        with cancellation.on_cancel(terminate):
            yield connection


def stage(
    connection: psycopg.Connection[Any],
    request: ImportRequest,
    input_file: InputFile | None,
    *,
    plan: Plan,
    directory: Path,
    cancellation: Cancellation,
) -> Staged:
    """Load the source of a request into staging tables.

    Parameters
    ----------
    connection : psycopg.Connection
        Connection of the owner, in a transaction.
    request, plan, cancellation
    input_file : InputFile, optional
        The uploaded or downloaded file.
    directory : Path
        Directory for temporary files; the caller removes it.

    Raises
    ------
    ImportJobError
    """
    if request.error is not None:
        raise request.error
    if input_file is not None:
        return stage_file(
            connection,
            input_file.path,
            file_name=input_file.name,
            options=request.options,
            plan=plan,
            directory=directory,
        )
    if request.connector is not None:
        return Staged([stage_connector(connection, request.connector, plan=plan, cancellation=cancellation)])
    query = request.query
    if request.table is not None:
        query = sql.SQL("SELECT * FROM {}").format(_table(request.table)).as_string(connection)
    if query is None:
        raise NO_SOURCE
    return Staged([stage_query(connection, query, name=request.table_name or "", plan=plan)])


def _table(name: str) -> sql.Identifier:
    """Return the identifier of a table name, which may include a schema."""
    schema, dot, table = name.partition(".")
    return sql.Identifier(schema, table) if dot else sql.Identifier("public", name)
