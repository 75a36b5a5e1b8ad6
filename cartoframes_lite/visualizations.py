"""Visualization: a map, or a dataset, as CARTO's catalog knows it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import field_values
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.visualizations import Entry
from cartoframes_lite._codec.html import format_bytes, html_table
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import NotFound


@dataclass(frozen=True, slots=True)
class Visualization(Entry):
    """A map or a dataset, as the server described it.

    Made by ``list_visualizations`` and ``Dataset.info``. It does not change; ``refresh`` gives a new one.

    Attributes
    ----------
    id : str
    kind : str
        "derived" for a map, "table" for a dataset.
    name : str
    privacy : str
        "public", "private", "link" or "password".
    url : str or None
        Its page.
    title, description, attributions, license, source : str or None
    tags : tuple of str
    locked : bool
        Whether it is protected against changes on the page.
    owner : str or None
        Username.
    permission_id : str or None
    permissions : tuple of Permission
        What others may do with it.
    created_at, updated_at : datetime or None
        With time zone.
    row_count : int or None
        PostgreSQL's estimate.
    size_bytes : int or None
        Of a dataset with its indexes, in bytes.
    geometry_types : tuple of str
        As "ST_Point".
    tables : tuple of str
        Names of the tables that a map shows.
    dependents : tuple of str
        Names of the maps that show a dataset, 100 at most.
    dependent_count : int or None
        How many there are; None if the server does not say.
    """

    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def of_entry(cls, entry: Entry, credentials: Credentials) -> Visualization:
        """Add the account to what the server said."""
        return cls(**field_values(entry), credentials=credentials)

    def refresh(self) -> Visualization:
        """Ask the server again.

        Raises
        ------
        NotFound
            If it is gone.
        """
        entry = Client(self.credentials).visualizations.find(self.id)
        if entry is None:
            raise NotFound(f"{self.name!r} is gone", status=404, method="GET", url=self.url or "")
        return self.of_entry(entry, self.credentials)

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
        """Change what is given, and leave the rest.

        Parameters
        ----------
        name : str, optional
            Of a dataset, that of its table, too.
        title, description, attributions, license, source : str, optional
            "" empties them.
        tags : sequence of str, optional
        locked : bool, optional
        privacy : {"public", "private", "link"}, optional

        Returns
        -------
        Visualization
            As it is now.

        Raises
        ------
        APIError
            If the server refuses a value, or has silently kept the old name.
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
        given = {member: value for member, value in changes.items() if value is not None}
        return self.of_entry(Client(self.credentials).visualizations.update(self.id, **given), self.credentials)

    def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Path:
        """Write a .carto file: the map, or the dataset, with its data.

        Parameters
        ----------
        path : path, optional
            None: the name with ``.carto``, in the current directory. The file appears when it is complete.
        timeout_s : float, default 600
            Longest time to wait for the server to make it, in seconds.
        progress : bool, optional
            As in ``to_carto``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        JobError
            If the server cannot make it.
        JobTimeout
            If it takes longer.
        """
        exports = Client(self.credentials, progress=progress).exports
        target = Path(f"{self.name}.carto".replace("/", "_") if path is None else path)
        done = exports.wait(exports.create(self.id).id, timeout_s=timeout_s, progress=progress)
        exports.download(done, target, progress=progress)
        return target

    def delete(self) -> None:
        """Delete a map; its datasets stay. For a dataset use ``Dataset.delete``.

        Raises
        ------
        ValueError
            If it is a dataset: with it, the server would delete every map that shows it.
        NotFound
            If it is gone already.
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
            "shows": self.tables,
            "shown on maps": self.dependents,
            "updated": self.updated_at,
            "page": self.url,
        }
        return html_table(f"{'Dataset' if self.kind == 'table' else 'Map'} {self.name}", rows)
