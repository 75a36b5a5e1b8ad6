"""Import jobs: load files, URLs, queries and connectors into tables of the account.

Each import is one transaction: it creates all of its tables or none.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg

from cartoframes_lite.local.imports.fetch import FetchedFile, fetch
from cartoframes_lite.local.imports.files import ImportRefused, publish
from cartoframes_lite.local.imports.records import ImportRecords
from cartoframes_lite.local.imports.requests import ImportRequest, InputFile, owner_session, stage
from cartoframes_lite.local.imports.workers import Cancellation, Workers
from cartoframes_lite.local.state import State

if TYPE_CHECKING:
    from cartoframes_lite.local.catalog.visualizations import Catalog

TIMED_OUT = 6667
_ALL_SKIPPED = 1022
RESET_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 3.0
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".kmz", ".carto")


class TooManyImportsError(Exception):
    """All slots for imports are in use."""


@dataclass(frozen=True, slots=True)
class FinishedImport:
    """Result of an import.

    Attributes
    ----------
    tables : sequence of str
        Names of the imported tables; empty if all were skipped.
    table_id, dataset_id : str, optional
        Ids of the first table and of its dataset.
    visualization_id : str, optional
        Id of the map, if the request has ``create_vis``.
    fetched : FetchedFile, optional
        The download. The file itself has been removed.
    skipped : str, optional
        Name of the existing table, if all tables were skipped.
    """

    tables: Sequence[str]
    table_id: str | None = None
    dataset_id: str | None = None
    visualization_id: str | None = None
    fetched: FetchedFile | None = None
    skipped: str | None = None


class ImportJobs:
    """The imports of the account.

    Parameters
    ----------
    state : State
    catalog : Catalog
        Catalog in which the new tables are registered.

    Attributes
    ----------
    on_finished : list of callable
        Callbacks, called with the request and the result of each finished import.
    """

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._workers = Workers(state.plan.concurrent_imports)
        self.on_finished: list[Callable[[ImportRequest, FinishedImport | ImportRefused], None]] = []
        self._state, self._catalog = state, catalog
        self._records = ImportRecords(state)
        self._records.fail_unfinished()
        self._lock = threading.Lock()
        self._active: set[str] = set()

    def submit(self, request: ImportRequest) -> str:
        """Queue an import.

        Parameters
        ----------
        request : ImportRequest
            Its file is removed after the import, and also if the import is rejected.

        Returns
        -------
        str
            Id of the import.

        Raises
        ------
        TooManyImportsError
        """
        import_id = str(uuid.uuid4())
        try:
            with self._lock:
                if not self.has_room():
                    raise TooManyImportsError
                self._active.add(import_id)
            self._records.create(import_id, request)
            self._workers.submit(partial(self._run, import_id, request), partial(self._on_done, import_id, request))
        except BaseException:  # no worker will release the file and the slot
            self._active.discard(import_id)
            request.discard()
            raise
        return import_id

    def find(self, import_id: str) -> dict[str, Any]:
        """Return the API representation of an import; raise LookupError if it does not exist."""
        return self._records.find(import_id)

    def recent(self) -> list[str]:
        """Return the ids of the imports of the last 24 hours, newest first."""
        return self._records.recent()

    def has_room(self) -> bool:
        """Return whether a slot is free for another import."""
        return len(self._active) < self._state.plan.concurrent_imports

    def clear(self) -> None:
        """Cancel all imports and wait until they have stopped."""
        self._workers.cancel_all(RESET_TIMEOUT_S)

    def close(self) -> None:
        """Cancel all imports and stop the worker threads."""
        self._workers.close(_STOP_TIMEOUT_S)

    def _run(self, import_id: str, request: ImportRequest, cancellation: Cancellation) -> FinishedImport:
        """Run an import in a worker thread."""
        with TemporaryDirectory(dir=self._state.directory, prefix="import_") as name:
            directory = Path(name)
            fetched, input_file = self._download(import_id, request, directory, cancellation)
            archived = input_file is not None and input_file.name.lower().endswith(_ARCHIVES)
            self._records.update(import_id, state="unpacking" if archived else "importing")
            limit = cancellation.timeout(self._state.plan.import_timeout_s, TIMED_OUT)
            with limit, owner_session(self._state, cancellation) as connection:
                staged = stage(
                    connection,
                    request,
                    input_file,
                    plan=self._state.plan,
                    directory=directory,
                    cancellation=cancellation,
                )
                self._records.update(import_id, state="importing")
                before = _public_tables(connection)
                tables = publish(
                    connection, staged, collision_strategy=request.collision_strategy, plan=self._state.plan
                )
        new = frozenset(tables) - before
        if not tables:
            return FinishedImport(tables, fetched=fetched, skipped=staged[0].name)
        return self._add_to_catalog(request, tables, new, fetched)

    def _download(
        self, import_id: str, request: ImportRequest, directory: Path, cancellation: Cancellation
    ) -> tuple[FetchedFile | None, InputFile | None]:
        """Return the downloaded file of a URL, or the uploaded file."""
        if request.error is not None or request.url is None:
            return None, request.input_file
        self._records.update(import_id, state="uploading")
        fetched = fetch(request.url, directory, self._state.plan, cancellation=cancellation)
        assert isinstance(fetched, FetchedFile)  # no validators were sent
        self._records.update(import_id, http_response_code=200)
        return fetched, InputFile(fetched.path, fetched.name)

    def _add_to_catalog(
        self, request: ImportRequest, tables: Sequence[str], new: frozenset[str], fetched: FetchedFile | None
    ) -> FinishedImport:
        """Register new tables in the catalog and create the map."""
        default = "private" if self._state.plan.private_datasets else "public"
        first = None
        for table in tables:
            try:
                dataset = self._catalog.find_by_table(table)
                if table in new or request.privacy is not None:
                    self._catalog.set_privacy(dataset.id, request.privacy or default)
            except LookupError:  # dropped by another session
                continue
            first = first or dataset
        visualization_id = None
        if request.create_vis and tables:
            with suppress(LookupError):
                visualization_id = self._catalog.create_map(tables[0], tables, request.privacy or default)
        if first is None:
            return FinishedImport(tables, visualization_id=visualization_id, fetched=fetched)
        return FinishedImport(tables, first.table_id, first.id, visualization_id, fetched)

    def _on_done(self, import_id: str, request: ImportRequest, result: FinishedImport | ImportRefused) -> None:
        """Store the result of an import and run the callbacks."""
        self._active.discard(import_id)  # first: a client that sees the final state may submit the next import
        request.discard()
        # Before the final state is stored: clients read the synchronization once its import has finished.
        try:
            for callback in self.on_finished:
                callback(request, result)
        finally:
            if isinstance(result, ImportRefused):
                self._records.fail(import_id, result)
            else:
                self._complete(import_id, request, result)

    def _complete(self, import_id: str, request: ImportRequest, result: FinishedImport) -> None:
        """Store the result of a successful import."""
        values: dict[str, Any] = {"state": "complete", "success": True, "tables_created_count": len(result.tables)}
        if result.tables:
            values["table_name"] = result.tables[0]
            if request.url is None:
                values["display_name"] = result.tables[0]
        else:
            values |= {"error_code": _ALL_SKIPPED, "table_name": result.skipped}
        self._records.update(import_id, **values, table_id=result.table_id, visualization_id=result.visualization_id)


def _public_tables(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the names of the tables in the schema ``public``."""
    rows = connection.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public'").fetchall()
    return frozenset(str(row[0]) for row in rows)
