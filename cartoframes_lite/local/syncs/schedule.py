"""Synchronizations: tables that are loaded again from their source, at intervals."""

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
from cartoframes_lite.local.imports.files import CODES, ImportRefused
from cartoframes_lite.local.imports.jobs import RESET_TIMEOUT_S, FinishedImport, ImportJobs, TooManyImportsError
from cartoframes_lite.local.imports.requests import ImportRequest
from cartoframes_lite.local.imports.workers import Workers
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.records import SyncRecords, order_of, present
from cartoframes_lite.local.syncs.refresh import RefreshResult, refresh

_LOG = logging.getLogger(__name__)
MIN_INTERVAL_S = 900
_NO_SLOT = 6669
_FORCE_AFTER = timedelta(seconds=900)
_LONGEST_PAUSE_S = 3600.0
_AFTER_ERROR_S = 1.0
_STOP_TIMEOUT_S = 2.0


class Syncs:
    """The synchronizations of the account, and the thread that starts them.

    Parameters
    ----------
    state : State
    imports : ImportJobs
        Makes the tables in the first place.
    """

    def __init__(self, state: State, imports: ImportJobs) -> None:
        self._state, self._imports = state, imports
        self._records = SyncRecords(state)
        self._records.resume()
        self._workers = Workers(state.plan.concurrent_imports)
        self._running: set[str] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="carto-syncs", daemon=True)
        imports.on_finished.append(self._imported)
        state.clock.on_advance.append(self._wake.set)

    def start(self) -> None:
        """Begin to run what is due."""
        self._thread.start()

    def forget(self) -> None:
        """End all runs and wait for that."""
        self._workers.cancel_all(RESET_TIMEOUT_S)

    def close(self) -> None:
        """End all runs, and start no more."""
        self._stopping = True
        self._wake.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._state.clock.on_advance.remove(self._wake.set)
        self._workers.close(_STOP_TIMEOUT_S)

    def create(self, order: ImportRequest, interval_s: int) -> dict[str, Any]:
        """Make a synchronization and begin its first import.

        Parameters
        ----------
        order : ImportRequest
            Whose ``synchronization_id`` is the id of the synchronization.
        interval_s : int

        Returns
        -------
        dict
            As the API shows it.

        Raises
        ------
        TooManyImportsError
        """
        identity = order.synchronization_id
        assert identity is not None  # the caller has drawn it
        self._records.create(identity, order, interval_s, log_id=str(uuid.uuid4()))
        created = self.find(identity)
        self._running.add(identity)
        try:
            import_id = self._imports.submit(order)
        except TooManyImportsError:
            self._running.discard(identity)
            self._records.delete(identity)
            raise
        self._wake.set()
        return {"data_import": {"endpoint": "/api/v1/imports", "item_queue_id": import_id}, **created}

    def find(self, identity: str) -> dict[str, Any]:
        """Return a synchronization as the API shows it; LookupError if there is none."""
        return present(self._records.find(identity), self._state)

    def all(self) -> list[dict[str, Any]]:
        """Return all synchronizations as the API shows them."""
        return [present(row, self._state) for row in self._records.all()]

    def update(self, identity: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change a synchronization; LookupError if there is none.

        Parameters
        ----------
        identity : str
        changes : mapping
            Some of ``interval_s``, ``url`` and the options, checked by the caller.
        """
        row = self._records.find(identity)
        shown = {**row, "url": present(row, self._state)["url"]}  # a password that is sent back is hidden
        values = {name: value for name, value in changes.items() if value != shown[name]}
        if "interval_s" in values:
            values["run_at"] = self._state.clock.now() + timedelta(seconds=values["interval_s"])
        if values.keys() - {"interval_s", "run_at"}:
            values |= {"etag": None, "modified": None, "checksum": ""}  # what is there is of no use any more
        self._records.update(identity, **values)
        self._wake.set()
        return self.find(identity)

    def delete(self, identity: str) -> None:
        """End a synchronization, the table stays; LookupError if there is none."""
        self._records.find(identity)
        self._records.delete(identity)

    def force(self, identity: str) -> bool:
        """Have a synchronization run at once, if it may; LookupError if there is none.

        It may when it has ended, or waits for long, and the last run was more than 15 minutes ago. The creation
        counts as a run.
        """
        row, now = self._records.find(identity), self._state.clock.now()
        waits = row["state"] == "queued" and row["updated_at"] + _FORCE_AFTER < now
        ready = row["state"] in ("success", "failure") or waits
        if not ready or row["ran_at"] + _FORCE_AFTER >= now or not self._imports.has_room():
            return False
        self._records.update(identity, state="queued", run_at=now)
        self._wake.set()
        return True

    def _watch(self) -> None:
        """Start what is due, and sleep until the next one is."""
        while not self._stopping:
            self._wake.clear()
            try:
                for row in self._records.due(frozenset(self._running)):
                    self._begin(row)
                pause_s = self._pause_s()
            except psycopg.Error as error:  # the database goes, or comes
                _LOG.warning("synchronizations have to wait: %s", error)
                pause_s = _AFTER_ERROR_S
            self._wake.wait(pause_s)

    def _pause_s(self) -> float:
        """Return how long nothing will be due."""
        next_run = self._records.next_run(frozenset(self._running))
        if next_run is None:
            return _LONGEST_PAUSE_S
        return min(max((next_run - self._state.clock.now()).total_seconds(), 0.0), _LONGEST_PAUSE_S)

    def _begin(self, row: Mapping[str, Any]) -> None:
        """Queue a run: the first import once more, if that has not made a table yet."""
        identity, first = str(row["id"]), row["name"] is None
        self._records.update(identity, state="syncing" if first else "queued")
        self._running.add(identity)
        if not first:
            work = partial(refresh, self._state, self._records, identity)
            self._workers.submit(work, partial(self._ended, identity))
            return
        try:
            self._imports.submit(order_of(row))
        except TooManyImportsError:
            self._ended(identity, ImportRefused(_NO_SLOT))

    def _imported(self, order: ImportRequest, result: FinishedImport | ImportRefused) -> None:
        """Learn of the end of a first import."""
        identity = order.synchronization_id
        if identity is None:
            return
        if isinstance(result, ImportRefused):
            self._ended(identity, result)
            return
        table = result.tables[0]
        self._records.update(identity, visualization_id=result.visualization_id or result.dataset_id)
        self._ended(identity, RefreshResult(table, self._records.oid_of(table) or 0, result.fetched))

    def _ended(self, identity: str, result: RefreshResult | ImportRefused) -> None:
        """Remember how a run has ended, and when the next one is."""
        try:
            # What ends with the server is done again at its next start.
            if not self._stopping:
                with suppress(LookupError):  # deleted while it ran
                    self._remember(identity, result)
        finally:
            self._running.discard(identity)
            self._wake.set()

    def _remember(self, identity: str, result: RefreshResult | ImportRefused) -> None:
        """Store how a run has ended; LookupError if the synchronization has been deleted."""
        row = self._records.find(identity)
        now = self._state.clock.now()
        values: dict[str, Any] = {"ran_at": now, "run_at": now + timedelta(seconds=max(row["interval_s"], 1))}
        if isinstance(result, ImportRefused):
            message = ": ".join(filter(None, (CODES[result.code].title, result.detail)))
            values |= {"state": "failure", "error_code": result.code, "error_message": message}
            values["retried_times"] = row["retried_times"] + 1
        else:
            values |= {"state": "success", "error_code": None, "error_message": None, "retried_times": 0}
            values |= {"name": result.table, "table_oid": result.oid, **_source(result.fetched)}
        self._records.update(identity, **values)


def _source(fetched: FetchedFile | None) -> dict[str, Any]:
    """Return what is remembered of a file, to know it again."""
    if fetched is None:
        return {}
    values: dict[str, Any] = {"etag": fetched.etag, "modified": fetched.if_modified_since, "checksum": fetched.checksum}
    return {**values, "modified_at": _time(fetched.modified)}


def _time(header: str | None) -> datetime | None:
    """Read a header ``Last-Modified``."""
    try:
        moment = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
