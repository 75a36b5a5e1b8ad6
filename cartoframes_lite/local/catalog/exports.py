"""Export jobs: write maps with their datasets to ``.carto`` files, one at a time in a worker thread.

Exports and their files are kept until a reset or the end of the process.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow as pa
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from cartoframes_lite.local.catalog import carto_archive, dataset_tables
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.state import State

_LOG = logging.getLogger(__name__)
_MAX_EXPORTS = 100
_MAX_NAME_LENGTH = 150  # of a name of at most 4 bytes per character in a file name that clients use
_ARCHIVE = "export.carto"  # on disk; clients see the name of the map
_RESET_TIMEOUT_S = 10.0
_FAILURES = (
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
    OSError,
    RuntimeError,
    LookupError,
    pa.ArrowException,
    psycopg.Error,
)


class _CancelledError(RuntimeError):
    """The export was cancelled."""


@dataclass(slots=True)
class ExportJob:
    """An export.

    Attributes
    ----------
    id, visualization_id : str
    state : {"pending", "exporting", "uploading", "complete", "failure"}
    by_owner : bool
        Whether the owner of the account requested it; if an anonymous caller did, everybody may see it.
    token : str
        Secret part of the file's URL, which requires no API key.
    file_name : str
    created_at, updated_at : datetime
    """

    visualization_id: str
    by_owner: bool
    file_name: str
    created_at: datetime
    updated_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "pending"
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


class ExportJobs:
    """Export jobs of the account.

    Parameters
    ----------
    state : State
    catalog : Catalog
    """

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._state, self._catalog = state, catalog
        self._directory = state.directory / "exports"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="carto-export")
        self._exports: dict[str, ExportJob] = {}
        self._running: set[Future[None]] = set()
        self._cancelled = threading.Event()

    def create(self, visualization: Visualization, tables: Sequence[str] | None, *, by_owner: bool = True) -> ExportJob:
        """Queue an export and return it as it is before it begins.

        Parameters
        ----------
        visualization : Visualization
            A map.
        tables : sequence of str, optional
            Ids of the tables to export, as returned by `exportable_tables`. None means all.
        by_owner : bool
            Whether the owner of the account requests it.
        """
        if tables is None:
            exportable = self.exportable_tables(visualization, by_owner=by_owner)
            tables = [one.table_id for one in exportable if one.table_id is not None]
        now = self._state.clock.now()
        name = re.sub(r'[\x00/\\:*?"<>|]', "_", visualization.name)[:_MAX_NAME_LENGTH]
        file_name = f"{name} ({now.astimezone(UTC):on %Y-%m-%d at %H.%M.%S}).carto"
        export = ExportJob(visualization.id, by_owner, file_name, now, now)
        pending = replace(export)
        while len(self._exports) >= _MAX_EXPORTS:
            oldest = self._exports.pop(next(iter(self._exports)))
            shutil.rmtree(self._directory / oldest.token, ignore_errors=True)
        self._exports[export.id] = export
        running = self._thread.submit(self._run, export, tables)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return pending

    def exportable_tables(self, visualization: Visualization, *, by_owner: bool) -> list[Visualization]:
        """Return the datasets of a map that an export contains; for anonymous callers, without the private ones."""
        datasets = self._catalog.datasets_by_map([visualization.id]).get(visualization.id, [])
        return [one for one in datasets if by_owner or one.privacy in ("public", "link")]

    def find(self, export_id: str) -> ExportJob:
        """Return an export; raise LookupError if it does not exist."""
        return self._exports[export_id]

    def find_by_token(self, token: str) -> ExportJob:
        """Return an export by the secret part of its file's URL; raise LookupError if it does not exist."""
        for export in list(self._exports.values()):
            if secrets.compare_digest(export.token.encode(), token.encode()):
                return export
        raise LookupError

    def file(self, export: ExportJob) -> Path:
        """Return the path of an export's file; raise LookupError if it is not complete."""
        if export.state != "complete":
            raise LookupError(export.id)
        return self._directory / export.token / _ARCHIVE

    def clear(self) -> None:
        """Cancel all exports and remove their files."""
        self._cancelled.set()
        running = list(self._running)
        for future in running:
            future.cancel()
        wait(running, _RESET_TIMEOUT_S)
        self._exports.clear()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._cancelled.clear()

    def close(self) -> None:
        """Cancel all exports, remove their files and stop the thread."""
        self._thread.shutdown(wait=False)
        self.clear()

    def _run(self, export: ExportJob, tables: Sequence[str]) -> None:
        """Run an export in the worker thread."""
        self._set_state(export, "exporting")
        final_state = "failure"
        try:
            self._write(export, tables)
            final_state = "complete"
        except _FAILURES as error:
            _LOG.info("the export %s failed: %s", export.id, error)
        finally:
            if final_state == "failure":
                shutil.rmtree(self._directory / export.token, ignore_errors=True)
            self._set_state(export, final_state)

    def _write(self, export: ExportJob, table_ids: Sequence[str]) -> None:
        """Write the archive of an export; raise LookupError if the map or one of the tables has been deleted."""
        visualization = self._catalog.find(export.visualization_id)
        exportable = self.exportable_tables(visualization, by_owner=export.by_owner)
        tables = [table for table in exportable if table.table_id in table_ids]
        if {table.table_id for table in tables} != set(table_ids):
            raise LookupError("a table of the map was deleted")
        export_directory = self._directory / export.token
        layers = export_directory / "layers"
        layers.mkdir(parents=True)
        with self._state.admin() as connection:
            geometry = dataset_tables.geometry_tables(connection, self._state.owner_role)
        with dataset_tables.as_owner(self._state) as connection:
            connection.execute("SET default_transaction_isolation = 'repeatable read'")
            with connection.transaction():
                files = [
                    carto_archive.write_table(connection, table, geometry, layers, self._check_cancelled)
                    for table in tables
                ]
        self._catalog.find(visualization.id)  # it may have been deleted with its tables meanwhile
        self._set_state(export, "uploading")
        self._check_cancelled()
        described = carto_archive.description(visualization, tables, self._state.user)
        carto_archive.write_archive(export_directory / _ARCHIVE, visualization.id, described, files)
        shutil.rmtree(layers)

    def _check_cancelled(self) -> None:
        """Raise _CancelledError if the exports were cancelled."""
        if self._cancelled.is_set():
            raise _CancelledError("cancelled by a reset")

    def _set_state(self, export: ExportJob, state: str) -> None:
        """Set the state of an export and its time."""
        export.state, export.updated_at = state, self._state.clock.now()
