"""ImportJob: a snapshot of an import job on the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import field_values
from cartoframes_lite._client.imports import Import
from cartoframes_lite._codec.html import html_table
from cartoframes_lite.credentials import Credentials

D = TypeVar("D")  # Dataset or a subclass; this module cannot import dataset.py, a layer above


@dataclass(frozen=True, slots=True)
class ImportJob(Import, Generic[D]):
    """An immutable snapshot of an import job on the server.

    Returned by the ``from_...`` methods of ``Dataset`` with ``wait=False``, and by ``list_imports``. ``refresh`` and
    ``wait`` return a new snapshot.

    Attributes
    ----------
    id : str
    state : str
        "enqueued", "pending", "uploading", "unpacking", "importing" or "guessing" while it runs; finally "complete",
        "failure" or "stuck".
    data_type : str or None
        "file", "url", "query", "table", "external_table" or "datasource".
    display_name : str or None
        Name of the source, e.g. of the file.
    table_name : str or None
        Name of the created table; one of them if there are several.
    tables_created : int or None
        Number of created tables.
    error_code : int or None
        CARTO's code of the failure; also set, to 1022, if all tables were skipped.
    error : ImportFailed or None
        The exception that ``wait`` raises, if the import failed.
    warnings : str or None
    visualization_id : str or None
        Id of the map that was created with ``create_map=True``.
    synchronization_id : str or None
        Id of the synchronization that started the import.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)
    open_dataset: Callable[[str, Credentials], D] = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_import(
        cls, record: Import, credentials: Credentials, open_dataset: Callable[[str, Credentials], D]
    ) -> ImportJob[D]:
        """Add credentials to the record of an import."""
        return cls(**field_values(record), credentials=credentials, open_dataset=open_dataset)

    def refresh(self) -> ImportJob[D]:
        """Request the current state; return it as a new object."""
        return self.from_import(Client(self.credentials).imports.read(self.id), self.credentials, self.open_dataset)

    def wait(self, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> ImportJob[D]:
        """Wait until the import has succeeded.

        Parameters
        ----------
        timeout_s : float, default 600
            Maximum time to wait, in seconds. None: no limit.
        progress : bool, optional
            Show the state. None: after two seconds; True: immediately; False: never.

        Returns
        -------
        ImportJob
            The finished job.

        Raises
        ------
        ImportFailed
            If the import failed.
        JobTimeout
            If the import has not finished in time. It continues on the server.
        """
        done = Client(self.credentials, progress=progress).imports.wait(self.id, timeout_s=timeout_s, progress=progress)
        return self.from_import(done, self.credentials, self.open_dataset)

    @property
    def dataset(self) -> D | None:
        """The imported dataset, or None. Requests the current state if this snapshot is of a running job."""
        job = self if self.done else self.refresh()
        if job.state != "complete" or job.table_name is None:
            return None
        return self.open_dataset(job.table_name, self.credentials)

    def _repr_html_(self) -> str:
        rows = {
            "state": self.state,
            "source": self.display_name,
            "table": self.table_name,
            "tables": self.tables_created,
            "error": self.error,
            "warnings": None if self.error else self.warnings,
        }
        return html_table(f"Import {self.id}", rows)
