"""Import jobs: files, URLs, queries and tables of other databases become tables of the account.

One import is one transaction: either all of its tables are there, or none.
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

from cartoframes_lite.local.imports.fetch import Fetched, fetch
from cartoframes_lite.local.imports.files import ImportRefused, publish
from cartoframes_lite.local.imports.records import ImportRecords
from cartoframes_lite.local.imports.requests import ImportRequest, NamedFile, owner_session, stage
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
    """What an import has made.

    Attributes
    ----------
    tables : sequence of str
        Names of the tables; empty if all were skipped.
    skipped : str, optional
        The table that was there already, if all were skipped.
    table_id, dataset_id : str, optional
        Of the first table in the catalog, and of its dataset.
    visualization_id : str, optional
        Of the map, if one was asked for.
    fetched : Fetched, optional
        The download. Its file is gone.
    """

    tables: Sequence[str]
    table_id: str | None = None
    dataset_id: str | None = None
    visualization_id: str | None = None
    fetched: Fetched | None = None
    skipped: str | None = None


class ImportJobs:
    """The imports of the account.

    Parameters
    ----------
    state : State
    catalog : Catalog
        Learns of the new tables.

    Attributes
    ----------
    on_end : list of callable
        Called with the order and the result of each import that has ended.
    """

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._workers = Workers(state.plan.concurrent_imports)
        self.on_end: list[Callable[[ImportRequest, FinishedImport | ImportRefused], None]] = []
        self._state, self._catalog = state, catalog
        self._records = ImportRecords(state)
        self._records.give_up()
        self._lock = threading.Lock()
        self._active: set[str] = set()

    def add(self, order: ImportRequest) -> str:
        """Queue an import.

        Parameters
        ----------
        order : ImportRequest
            Its file is removed in the end, also if it is not accepted.

        Returns
        -------
        str
            Id of the import.

        Raises
        ------
        TooManyImportsError
        """
        identity = str(uuid.uuid4())
        try:
            with self._lock:
                if not self.has_room():
                    raise TooManyImportsError
                self._active.add(identity)
            self._records.create(identity, order)
            self._workers.submit(partial(self._run, identity, order), partial(self._ended, identity, order))
        except BaseException:  # whatever it is, the file and the slot are nobody's otherwise
            self._active.discard(identity)
            order.discard()
            raise
        return identity

    def find(self, identity: str) -> dict[str, Any]:
        """Return an import as the API shows it; LookupError if there is none."""
        return self._records.find(identity)

    def recent(self) -> list[str]:
        """Return the ids of the imports of the last day, the newest first."""
        return self._records.recent()

    def has_room(self) -> bool:
        """Tell whether another import would be accepted."""
        return len(self._active) < self._state.plan.concurrent_imports

    def forget(self) -> None:
        """End all imports and wait for that."""
        self._workers.end(RESET_TIMEOUT_S)

    def close(self) -> None:
        """End all imports, for ever."""
        self._workers.close(_STOP_TIMEOUT_S)

    def _run(self, identity: str, order: ImportRequest, cancellation: Cancellation) -> FinishedImport:
        """Import, in a worker thread."""
        with TemporaryDirectory(dir=self._state.directory, prefix="import_") as name:
            directory = Path(name)
            fetched, document = self._obtain(identity, order, directory, cancellation)
            archived = document is not None and document.name.lower().endswith(_ARCHIVES)
            self._records.update(identity, state="unpacking" if archived else "importing")
            limit = cancellation.after(self._state.plan.import_timeout_s, TIMED_OUT)
            with limit, owner_session(self._state, cancellation) as connection:
                staged = stage(
                    connection,
                    order,
                    document,
                    plan=self._state.plan,
                    directory=directory,
                    cancellation=cancellation,
                )
                self._records.update(identity, state="importing")
                before = _tables(connection)
                tables = publish(connection, staged, collision_strategy=order.collision_strategy, plan=self._state.plan)
        new = frozenset(tables) - before
        if not tables:
            return FinishedImport(tables, fetched=fetched, skipped=staged[0].name)
        return self._register(order, tables, new, fetched)

    def _obtain(
        self, identity: str, order: ImportRequest, directory: Path, cancellation: Cancellation
    ) -> tuple[Fetched | None, NamedFile | None]:
        """Return the file to import, if it is one."""
        if order.refusal is not None or order.url is None:
            return None, order.document
        self._records.update(identity, state="uploading")
        fetched = fetch(order.url, directory, self._state.plan, cancellation=cancellation)
        assert isinstance(fetched, Fetched)  # nothing was said of an earlier file
        self._records.update(identity, http_response_code=200)
        return fetched, NamedFile(fetched.path, fetched.name)

    def _register(
        self, order: ImportRequest, tables: Sequence[str], new: frozenset[str], fetched: Fetched | None
    ) -> FinishedImport:
        """Enter new tables into the catalog, and make the map."""
        default = "private" if self._state.plan.private_datasets else "public"
        first = None
        for table in tables:
            try:
                dataset = self._catalog.of_table(table)
                if table in new or order.privacy is not None:
                    self._catalog.set_privacy(dataset.id, order.privacy or default)
            except LookupError:  # somebody has dropped it in this moment
                continue
            first = first or dataset
        visualization_id = None
        if order.create_vis and tables:
            with suppress(LookupError):
                visualization_id = self._catalog.create_map(tables[0], tables, order.privacy or default)
        if first is None:
            return FinishedImport(tables, visualization_id=visualization_id, fetched=fetched)
        return FinishedImport(tables, first.table_id, first.id, visualization_id, fetched)

    def _ended(self, identity: str, order: ImportRequest, result: FinishedImport | ImportRefused) -> None:
        """Remember how an import has ended, and tell who waits for it."""
        self._active.discard(identity)  # first: who sees the end of one may begin another
        order.discard()
        # Before the end shows: whoever waits for an import reads its synchronization next.
        try:
            for tell in self.on_end:
                tell(order, result)
        finally:
            if isinstance(result, ImportRefused):
                self._records.fail(identity, result)
            else:
                self._complete(identity, order, result)

    def _complete(self, identity: str, order: ImportRequest, result: FinishedImport) -> None:
        """Remember what an import has made."""
        values: dict[str, Any] = {"state": "complete", "success": True, "tables_created_count": len(result.tables)}
        if result.tables:
            values["table_name"] = result.tables[0]
            if order.url is None:
                values["display_name"] = result.tables[0]
        else:
            values |= {"error_code": _ALL_SKIPPED, "table_name": result.skipped}
        self._records.update(identity, **values, table_id=result.table_id, visualization_id=result.visualization_id)


def _tables(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the names of the tables in the schema ``public``."""
    rows = connection.execute("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public'").fetchall()
    return frozenset(str(row[0]) for row in rows)
