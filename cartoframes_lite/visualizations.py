"""Visualization: the catalog entry of a map or dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import drop_none, field_values
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.visualizations import Entry
from cartoframes_lite._codec.html import format_bytes, html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import NotFound


@dataclass(frozen=True, slots=True)
class Visualization(Entry):
    """An immutable snapshot of the catalog entry of a map or dataset.

    Returned by ``list_visualizations`` and ``Dataset.info``. ``refresh`` returns a new snapshot.

    Attributes
    ----------
    id : str
    kind : str
        "derived" for a map, "table" for a dataset.
    name : str
    privacy : str
        "public", "private", "link" or "password".
    url : str or None
        URL of its page in the dashboard.
    title, description, attributions, license, source : str or None
    tags : tuple of str
    locked : bool
        Whether it is protected against changes in the dashboard.
    owner : str or None
        Username of the owner.
    permission_id : str or None
    permissions : tuple of Permission
        Permissions of users and organizations other than the owner.
    created_at, updated_at : datetime or None
        With time zone.
    row_count : int or None
        Estimated by PostgreSQL.
    size_bytes : int or None
        Size of a dataset including its indexes, in bytes.
    geometry_types : tuple of str
        Such as "ST_Point".
    tables : tuple of str
        Names of the tables that a map uses.
    dependents : tuple of str
        Names of the maps that use a dataset, at most 100.
    dependent_count : int or None
        Number of maps that use a dataset; None if the response does not contain it.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_entry(cls, entry: Entry, credentials: Credentials) -> Visualization:
        """Add credentials to a catalog entry."""
        return cls(**field_values(entry), credentials=credentials)

    def refresh(self) -> Visualization:
        """Request the current entry; return it as a new object.

        Raises
        ------
        NotFound
            If the map or dataset was deleted.
        """
        entry = Client(self.credentials).visualizations.find(self.id)
        if entry is None:
            message = f"{self.name!r} no longer exists: list_visualizations() returns the maps of the account"
            raise NotFound(message, status=404, method="GET", url=self.url or "")
        return self.from_entry(entry, self.credentials)

    def update(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        attributions: str | None = None,
        license: str | None = None,
        source: str | None = None,
        locked: bool | None = None,
        privacy: Privacy | None = None,
    ) -> Visualization:
        """Update the entry. Arguments that are None leave their value unchanged.

        Parameters
        ----------
        name : str, optional
            New name. Renaming a dataset also renames its table.
        title, description, attributions, license, source : str, optional
            An empty string removes the value.
        tags : sequence of str, optional
        locked : bool, optional
            Protect it against changes in the dashboard.
        privacy : {"public", "private", "link"}, optional

        Returns
        -------
        Visualization
            The updated entry.

        Raises
        ------
        APIError
            If the server rejects a value, or silently keeps the old name.
        """
        changes: dict[str, Any] = {
            "name": name,
            "title": title,
            "description": description,
            "tags": tags if tags is None or isinstance(tags, str) else list(tags),
            "attributions": attributions,
            "license": license,
            "source": source,
            "locked": locked,
            "privacy": privacy,
        }
        entry = Client(self.credentials).visualizations.update(self.id, **drop_none(**changes))
        return self.from_entry(entry, self.credentials)

    def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Path:
        """Export the map or dataset, with its data, to a .carto file, which is created only when it is complete.

        Parameters
        ----------
        path : path, optional
            None: the name followed by ``.carto``, in the current directory.
        timeout_s : float, default 600
            Maximum time to wait for the server to generate the file, in seconds. None: no limit.
        progress : bool, optional
            As in ``to_carto``.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        JobError
            If the export fails.
        JobTimeout
            If the export has not finished in time.
        """
        exports = Client(self.credentials, progress=progress).exports
        target = Path(f"{self.name}.carto".replace("/", "_") if path is None else path)
        export = exports.wait(exports.create(self.id).id, timeout_s=timeout_s, progress=progress)
        exports.download(export, target, progress=progress)
        return target

    def delete(self) -> None:
        """Delete a map; its datasets are kept. To delete a dataset use ``Dataset.delete``.

        Raises
        ------
        ValueError
            If it is a dataset, because the server would also delete all maps that use it.
        NotFound
            If it was deleted already.
        """
        if self.kind == "table":
            raise ValueError(f"{self.name!r} is a dataset: use Dataset({self.name!r}).delete()")
        Client(self.credentials).visualizations.delete(self.id)

    def _repr_html_(self) -> str:
        rows = {
            "privacy": self.privacy,
            "rows": self.row_count,
            "size": None if self.size_bytes is None else format_bytes(self.size_bytes),
            "geometry": self.geometry_types,
            "description": self.description,
            "tags": self.tags,
            "shared with": [f"{item.name} ({item.access})" for item in self.permissions],
            "tables": self.tables,
            "used by maps": self.dependents,
            "updated": self.updated_at,
            "page": self.url,
        }
        return html_table(f"{'Dataset' if self.kind == 'table' else 'Map'} {self.name}", rows)
