"""Scheduler of synchronizations: reload tables from their source at intervals."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import psycopg

from cartoframes_lite.local.imports.fetch import FetchedFile
from cartoframes_lite.local.imports.files import CODES, ImportJobError
from cartoframes_lite.local.imports.jobs import RESET_TIMEOUT_S, FinishedImport, ImportJobs
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.imports.workers import Workers
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.records import SyncRecords, serialize, to_import_request
from cartoframes_lite.local.syncs.refresh import RefreshResult, refresh

_LOG = logging.getLogger(__name__)
_FORCE_INTERVAL = timedelta(seconds=900)
_MAX_PAUSE_S = 3600.0
_ERROR_PAUSE_S = 1.0
_STOP_TIMEOUT_S = 2.0


class Syncs:
    """Synchronizations of the account and the thread that schedules their runs.

    Parameters
    ----------
    state : State
    imports : ImportJobs
        Runs the first import of each synchronization, which creates the table.
    """

    def __init__(self, state: State, imports: ImportJobs) -> None:
        self._state, self._imports = state, imports
        self._records = SyncRecords(state)
        self._records.requeue_unfinished()
        self._workers = Workers(state.plan.concurrent_imports)
        self._running: set[str] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._schedule_runs, name="carto-syncs", daemon=True)
        imports.on_finished.append(self._on_import_done)
        state.clock.on_advance.append(self._wake.set)

    def start(self) -> None:
        """Start the scheduler thread."""
        self._thread.start()

    def clear(self) -> None:
        """Cancel all runs and wait until they have stopped."""
        self._workers.cancel_all(RESET_TIMEOUT_S)

    def close(self) -> None:
        """Cancel all runs and stop the threads."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._state.clock.on_advance.remove(self._wake.set)
        self._workers.close(_STOP_TIMEOUT_S)

    def create(self, request: ImportRequest, interval_s: int) -> dict[str, Any]:
        """Create a synchronization and submit its first import.

        Parameters
        ----------
        request : ImportRequest
            Its ``synchronization_id`` becomes the id of the synchronization.
        interval_s : int

        Returns
        -------
        dict
            API representation, with the import.
        """
        sync_id = request.synchronization_id
        assert sync_id is not None  # set by the caller
        self._records.create(sync_id, request, interval_s, log_id=str(uuid.uuid4()))
        created = self.find(sync_id)
        self._running.add(sync_id)
        import_id = self._imports.submit(request)
        self._wake.set()
        return {"data_import": {"endpoint": "/api/v1/imports", "item_queue_id": import_id}, **created}

    def find(self, sync_id: str) -> dict[str, Any]:
        """Return the API representation of a synchronization; raise LookupError if it does not exist."""
        return serialize(self._records.find(sync_id), self._state)

    def all(self) -> list[dict[str, Any]]:
        """Return the API representations of all synchronizations."""
        return [serialize(row, self._state) for row in self._records.all()]

    def update(self, sync_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Update a synchronization; raise LookupError if it does not exist.

        Parameters
        ----------
        sync_id : str
        changes : mapping
            Any of ``interval_s``, ``url`` and the guessing options, validated by the caller.
        """
        row = self._records.find(sync_id)
        shown = {**row, "url": serialize(row, self._state)["url"]}  # clients send the URL back with *** as its password
        values = {name: value for name, value in changes.items() if value != shown[name]}
        if "interval_s" in values:
            values["run_at"] = self._state.clock.now() + timedelta(seconds=values["interval_s"])
        if values.keys() - {"interval_s", "run_at"}:
            values |= {"etag": None, "modified": None, "checksum": ""}  # download again at the next run
        self._records.update(sync_id, **values)
        self._wake.set()
        return self.find(sync_id)

    def delete(self, sync_id: str) -> None:
        """Delete a synchronization but not its table; raise LookupError if it does not exist."""
        self._records.find(sync_id)
        self._records.delete(sync_id)

    def force(self, sync_id: str) -> bool:
        """Queue a run immediately if allowed; raise LookupError if the synchronization does not exist.

        Allowed if no run is active (or one has been queued for more than 15 minutes), fewer synchronizations are
        running than there are slots, and the last run or the creation was more than 15 minutes ago. Returns whether
        the run was queued.
        """
        row, now = self._records.find(sync_id), self._state.clock.now()
        waits = row["state"] == "queued" and row["updated_at"] + _FORCE_INTERVAL < now
        ready = row["state"] in ("success", "failure") or waits
        if not ready or row["ran_at"] + _FORCE_INTERVAL >= now:
            return False
        if self._records.running() >= self._state.plan.concurrent_imports:
            return False
        self._records.update(sync_id, state="queued", run_at=now, error_code=None, error_message=None)
        self._wake.set()
        return True

    def _schedule_runs(self) -> None:
        """Start due synchronizations and sleep until the next one is due."""
        while not self._stopping:
            self._wake.clear()
            try:
                for row in self._records.due(frozenset(self._running)):
                    self._start_run(row)
                pause_s = self._pause_s()
            except psycopg.Error as error:  # the database is stopping or restarting
                _LOG.warning("database not available, retrying synchronizations in %s s: %s", _ERROR_PAUSE_S, error)
                pause_s = _ERROR_PAUSE_S
            self._wake.wait(pause_s)

    def _pause_s(self) -> float:
        """Return the seconds until the next synchronization is due."""
        next_run = self._records.next_run(frozenset(self._running))
        if next_run is None:
            return _MAX_PAUSE_S
        return min(max((next_run - self._state.clock.now()).total_seconds(), 0.0), _MAX_PAUSE_S)

    def _start_run(self, row: Mapping[str, Any]) -> None:
        """Queue a run, or repeat the first import if it has not created a table."""
        sync_id, first = str(row["id"]), row["table_oid"] is None
        self._records.update(sync_id, state="syncing" if first else "queued")
        self._running.add(sync_id)
        if not first:
            task = partial(refresh, self._state, self._records, sync_id)
            self._workers.submit(task, partial(self._on_run_done, sync_id))
            return
        self._imports.submit(to_import_request(row))

    def _on_import_done(self, request: ImportRequest, result: FinishedImport | ImportJobError) -> None:
        """Handle the end of a first import."""
        sync_id = request.synchronization_id
        if sync_id is None:
            return
        if isinstance(result, ImportJobError):
            self._on_run_done(sync_id, result)
            return
        table = result.tables[-1]
        self._records.update(sync_id, visualization_id=result.dataset_id)
        self._on_run_done(sync_id, RefreshResult(table, self._records.table_oid(table) or 0, result.fetched))

    def _on_run_done(self, sync_id: str, result: RefreshResult | ImportJobError) -> None:
        """Store the result of a run and schedule the next one."""
        try:
            # A run cancelled by the shutdown is requeued at the next start.
            if not self._stopping:
                with suppress(LookupError):  # deleted while it ran
                    self._store_result(sync_id, result)
        finally:
            self._running.discard(sync_id)
            self._wake.set()

    def _store_result(self, sync_id: str, result: RefreshResult | ImportJobError) -> None:
        """Store the result of a run; raise LookupError if the synchronization has been deleted."""
        row = self._records.find(sync_id)
        now = self._state.clock.now()
        is_first = row["state"] == "queued"  # the import that the creation submitted; later runs are "syncing"
        values: dict[str, Any] = {}
        if not is_first:
            values |= {"ran_at": now, "run_at": now + timedelta(seconds=max(row["interval_s"], 1))}
        if isinstance(result, ImportJobError):
            code = CODES[result.code]
            message = f"{code.title} {code.what_about}" if is_first else code.title
            values |= {"state": "failure", "error_code": result.code, "error_message": message}
            values["retried_times"] = row["retried_times"] + (0 if is_first else 1)
            _LOG.info("synchronization %s failed: %s", sync_id, result)
        else:
            values |= {"state": "success", "error_code": None, "error_message": None, "retried_times": 0}
            values |= {"name": result.table, "table_oid": result.oid, **_validators(result.fetched)}
        self._records.update(sync_id, **values)


def _validators(fetched: FetchedFile | None) -> dict[str, Any]:
    """Return the values to store for detecting an unchanged file at the next run."""
    if fetched is None:
        return {}
    values: dict[str, Any] = {"etag": fetched.etag, "modified": fetched.if_modified_since, "checksum": fetched.checksum}
    return {**values, "modified_at": _parse_last_modified(fetched.modified)}


def _parse_last_modified(header: str | None) -> datetime | None:
    """Parse a header ``Last-Modified``; None if missing or invalid."""
    try:
        modified = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return modified if modified.tzinfo else modified.replace(tzinfo=UTC)
