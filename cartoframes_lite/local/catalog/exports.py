"""Exports of datasets and maps as ``.carto`` files: one after the other, in a thread.

Exports and their files last until a reset or the end of the process.
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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg
import pyarrow as pa
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from cartoframes_lite.local.catalog import carto_archive, dataset_tables
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.state import State

_LOG = logging.getLogger(__name__)
_KEPT = 100
_FORGET_TIMEOUT_S = 10.0
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


class _EndedError(RuntimeError):
    """The export has been told to end."""


@dataclass(slots=True)
class ExportJob:
    """An export.

    Attributes
    ----------
    id, visualization_id : str
    state : {"pending", "exporting", "uploading", "complete", "failure"}
    token : str
        Part of the file's URL, which needs no key.
    file_name : str
    created_at, updated_at : datetime
    """

    visualization_id: str
    file_name: str
    created_at: datetime
    updated_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "pending"
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


class ExportJobs:
    """The exports of an account.

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
        self._ending = threading.Event()

    def create(self, visualization: Visualization, tables: Sequence[str] | None) -> ExportJob:
        """Begin an export.

        Parameters
        ----------
        visualization : Visualization
        tables : sequence of str, optional
            Ids of tables or datasets: only those are exported. None means all.
        """
        now = self._state.clock.now()
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", visualization.name).strip("_")[:80] or "export"
        export = ExportJob(visualization.id, f"{name}.carto", now, now)
        while len(self._exports) >= _KEPT:
            oldest = self._exports.pop(next(iter(self._exports)))
            shutil.rmtree(self._directory / oldest.token, ignore_errors=True)
        self._exports[export.id] = export
        running = self._thread.submit(self._run, export, tables)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return export

    def find(self, export_id: str) -> ExportJob:
        """Return an export; LookupError if there is none."""
        return self._exports[export_id]

    def file(self, token: str, file_name: str) -> Path:
        """Return the finished file of a URL; LookupError if there is none."""
        for export in list(self._exports.values()):
            good = secrets.compare_digest(export.token.encode(), token.encode())
            if good and export.file_name == file_name and export.state == "complete":
                return self._directory / export.token / file_name
        raise LookupError(file_name)

    def forget(self) -> None:
        """End what is running, and remove all exports and their files."""
        self._ending.set()
        running = list(self._running)
        for future in running:
            future.cancel()
        wait(running, _FORGET_TIMEOUT_S)
        self._exports.clear()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._ending.clear()

    def close(self) -> None:
        """End what is running, for good."""
        self._thread.shutdown(wait=False)
        self.forget()

    def _run(self, export: ExportJob, tables: Sequence[str] | None) -> None:
        """Do an export."""
        self._enter(export, "exporting")
        ending = "failure"
        try:
            self._write(export, tables)
            ending = "complete"
        except _FAILURES as error:
            _LOG.info("the export %s failed: %s", export.id, error)
        finally:
            if ending == "failure":
                shutil.rmtree(self._directory / export.token, ignore_errors=True)
            self._enter(export, ending)

    def _write(self, export: ExportJob, wanted: Sequence[str] | None) -> None:
        """Write the file of an export."""
        visualization = self._catalog.find(export.visualization_id)
        tables = [visualization] if visualization.is_dataset else []
        tables += self._catalog.datasets_of([visualization.id]).get(visualization.id, [])
        if wanted is not None:
            tables = [table for table in tables if table.id in wanted or table.table_id in wanted]
        home = self._directory / export.token
        layers = home / "layers"
        layers.mkdir(parents=True)
        with self._state.admin() as connection:
            geometry = dataset_tables.geometry_tables(connection, self._state.owner_role)
        with dataset_tables.as_owner(self._state) as connection:
            connection.execute("SET default_transaction_isolation = 'repeatable read'")
            with connection.transaction():
                files = [
                    carto_archive.write_table(connection, table, geometry, layers, self._check) for table in tables
                ]
        self._enter(export, "uploading")
        self._check()
        described = carto_archive.description(visualization, tables, self._state.user)
        carto_archive.write_archive(home / export.file_name, visualization.id, described, files)
        shutil.rmtree(layers)

    def _check(self) -> None:
        """Raise once this is to end."""
        if self._ending.is_set():
            raise _EndedError("ended by a reset")

    def _enter(self, export: ExportJob, state: str) -> None:
        """Go on to another state."""
        export.state, export.updated_at = state, self._state.clock.now()
