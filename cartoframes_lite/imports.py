"""ImportJob: an import that goes on on the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import field_values
from cartoframes_lite._client.imports import Import
from cartoframes_lite._codec.html import html_table
from cartoframes_lite.credentials import Credentials

D = TypeVar("D")  # what a table is opened as


@dataclass(frozen=True, slots=True)
class ImportJob(Import, Generic[D]):
    """An import that goes on on the server, as the server described it.

    Made by the ``from_...`` functions of ``Dataset`` with ``wait=False``, and by ``list_imports``. It does not
    change; ``refresh`` and ``wait`` give a new one.

    Attributes
    ----------
    id : str
    state : str
        "enqueued", "pending", "uploading", "unpacking", "importing" or "guessing", and in the end "complete",
        "failure" or "stuck".
    data_type : str or None
        "file", "url", "query", "table", "external_table" or "datasource".
    display_name : str or None
        What is imported.
    table_name : str or None
        The table that was made; of several, one.
    tables_created : int or None
    error_code : int or None
        Why it failed, or 1022: all tables were skipped.
    error : ImportFailed or None
        Why it failed.
    warnings : str or None
    visualization_id : str or None
        The map that was made along with it.
    synchronization_id : str or None
        The synchronization that it belongs to.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)
    open_dataset: Callable[[str, Credentials], D] = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_import(
        cls, found: Import, credentials: Credentials, open_dataset: Callable[[str, Credentials], D]
    ) -> ImportJob[D]:
        """Add the account to what the server said."""
        return cls(**field_values(found), credentials=credentials, open_dataset=open_dataset)

    def refresh(self) -> ImportJob[D]:
        """Ask the server again."""
        return self.of_import(Client(self.credentials).imports.read(self.id), self.credentials, self.open_dataset)

    def wait(self, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> ImportJob[D]:
        """Wait until the import has ended well.

        Parameters
        ----------
        timeout_s : float, default 600
            Longest time to wait, in seconds; None: for ever.
        progress : bool, optional
            Show the state: None after two seconds, False never, True at once.

        Returns
        -------
        ImportJob
            As it is in the end.

        Raises
        ------
        ImportFailed
            If it failed.
        JobTimeout
            If it has not ended in time; it goes on on the server.
        """
        done = Client(self.credentials, progress=progress).imports.wait(self.id, timeout_s=timeout_s, progress=progress)
        return self.of_import(done, self.credentials, self.open_dataset)

    @property
    def dataset(self) -> D | None:
        """The dataset that it made, None if there is none (yet). If it had not ended, the server is asked."""
        job = self if self.done else self.refresh()
        if job.state != "complete" or job.table_name is None:
            return None
        return self.open_dataset(job.table_name, self.credentials)

    def _repr_html_(self) -> str:
        rows = {
            "state": self.state,
            "of": self.display_name,
            "table": self.table_name,
            "tables": self.tables_created,
            "error": self.error,
            "warnings": None if self.error else self.warnings,
        }
        return html_table(f"Import {self.id}", rows)
