"""Import jobs: load files, URLs, queries and connectors into tables of the account.

Each import is one transaction: it creates all of its tables or none.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg

from cartoframes_lite.local.catalog.map_layers import SavedLayers
from cartoframes_lite.local.imports.fetch import FetchedFile, fetch
from cartoframes_lite.local.imports.files import MAX_TABLES, ImportJobError, publish
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
        Ids of the last table and of its dataset.
    failures : sequence of ImportJobError
        Errors of other files of the archive.
    truncated : bool
        Whether further tables of the source were ignored.
    visualization_id : str, optional
        Id of the map, if the request has ``create_vis``.
    fetched : FetchedFile, optional
        The download. The file itself has been removed.
    """

    tables: Sequence[str]
    table_id: str | None = None
    dataset_id: str | None = None
    visualization_id: str | None = None
    fetched: FetchedFile | None = None
    failures: Sequence[ImportJobError] = ()
    truncated: bool = False


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
        self.on_finished: list[Callable[[ImportRequest, FinishedImport | ImportJobError], None]] = []
        self._state, self._catalog = state, catalog
        self._records = ImportRecords(state)
        self._records.fail_unfinished()
        self._lock = threading.Lock()
        self._active: set[str] = set()

    def submit(self, request: ImportRequest) -> str:
        """Queue an import. Only first imports of synchronizations need no free slot, as in CARTO.

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
                if request.synchronization_id is None:
                    self.require_room()
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

    def unfinished(self) -> list[str]:
        """Return the ids of the unfinished imports of the last 24 hours, newest first."""
        return self._records.unfinished()

    def require_room(self) -> None:
        """Raise TooManyImportsError if no slot is free for another import."""
        if len(self._active) >= self._state.plan.concurrent_imports:
            raise TooManyImportsError

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
            self._records.update(import_id, state="uploading")
            fetched, input_file = self._download(request, directory, cancellation)
            self._records.update(import_id, state="importing" if input_file is None else "unpacking")
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
                    connection,
                    staged.tables,
                    collision_strategy=request.collision_strategy,
                    plan=self._state.plan,
                    drop_columns=request.data_type == "query",  # CARTO compares the columns of files only
                )
        done = FinishedImport(tables, fetched=fetched, failures=staged.failures, truncated=staged.truncated)
        return self._add_to_catalog(request, done, frozenset(tables) - before)

    def _download(
        self, request: ImportRequest, directory: Path, cancellation: Cancellation
    ) -> tuple[FetchedFile | None, InputFile | None]:
        """Return the downloaded file of a URL, or the uploaded file."""
        if request.error is not None or request.url is None:
            return None, request.input_file
        fetched = fetch(request.url, directory, self._state.plan, cancellation=cancellation)
        assert isinstance(fetched, FetchedFile)  # no validators were sent
        return fetched, InputFile(fetched.path, fetched.name)

    def _add_to_catalog(self, request: ImportRequest, done: FinishedImport, new: frozenset[str]) -> FinishedImport:
        """Register new tables in the catalog and create the map; return the result with their ids."""
        default = "private" if self._state.plan.private_datasets else "public"
        last = None
        for table in done.tables:
            try:
                dataset = self._catalog.find_by_table(table)
                if table in new or request.privacy is not None:
                    self._catalog.set_privacy(dataset.id, request.privacy or default)
            except LookupError:  # dropped by another session
                continue
            self._catalog.store_bbox(dataset)
            last = dataset
        if last is None:
            return done
        done = replace(done, table_id=last.table_id, dataset_id=last.id)
        if request.create_vis:
            with suppress(LookupError):
                datasets = [self._catalog.find_by_table(table) for table in done.tables]
                name = self._catalog.unused_name(_map_name(done.tables))
                created = SavedLayers(self._state, self._catalog).create_map(name, datasets)
                return replace(done, visualization_id=created.id)
        return done

    def _on_done(self, import_id: str, request: ImportRequest, result: FinishedImport | ImportJobError) -> None:
        """Store the result of an import and run the callbacks."""
        self._active.discard(import_id)  # first: a client that sees the final state may submit the next import
        request.discard()
        # Before the final state is stored: clients read the synchronization once its import has finished.
        try:
            for callback in self.on_finished:
                callback(request, result)
        finally:
            if isinstance(result, ImportJobError):
                self._records.fail(import_id, result)
            else:
                self._complete(import_id, request, result)

    def _complete(self, import_id: str, request: ImportRequest, result: FinishedImport) -> None:
        """Store the result of a successful import."""
        values: dict[str, Any] = {"state": "complete", "success": True}
        # As in CARTO, tables made of queries are not counted, and files of an archive that failed are.
        values["tables_created_count"] = 0
        if request.data_type != "query":
            values["tables_created_count"] = len(result.tables) + len(result.failures)
        if result.failures:
            values["error_code"] = result.failures[0].code
        elif not result.tables:
            values["error_code"] = _ALL_SKIPPED
        if result.truncated:
            values["runner_warnings"] = {"max_tables_per_import": MAX_TABLES}
        values["table_name"] = result.tables[-1] if result.tables else request.table_name
        self._records.update(import_id, **values, table_id=result.table_id, visualization_id=result.visualization_id)


def _map_name(tables: Sequence[str]) -> str:
    """Return the name of the map of an import."""
    return "Untitled Map" if len(tables) == 1 else " ".join(map(str.capitalize, tables[0].replace("_", " ").split()))


def _public_tables(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the names of the tables in the schema ``public``."""
    rows = connection.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public'").fetchall()
    return frozenset(str(row[0]) for row in rows)
