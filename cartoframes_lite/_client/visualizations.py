"""Catalog of datasets and maps: list, describe, share and delete them, and set their privacy."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args
from urllib.parse import quote

from cartoframes_lite._client import nonpublic, polling
from cartoframes_lite._client.exports import Exports
from cartoframes_lite._client.http.json_fields import (
    drop_none,
    integer,
    parse_datetime,
    record,
    records,
    required,
    text,
    texts,
)
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.keywords import shared_keywords
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._codec.html import format_bytes, html_table
from cartoframes_lite._codec.names import carto_table_name
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, CartoError, CartoWarning, JobTimeout, NotFound, PermissionDenied

PATH = "api/v1/viz"
_PERMISSIONS = "api/v1/perm"
_REGISTRATION_TIMEOUT_S = 30.0  # CARTO adds a table created by SQL to the catalog within seconds
_PAGE_SIZE = 500
_LIST_ATTEMPTS = 5
_MAX_DEPENDENTS = 100  # limit of dependents in the response; their count is not limited

Kind = Literal["table", "derived"]
Access = Literal["r", "rw"]


@dataclass(frozen=True, slots=True)
class Permission:
    """Access of a user, organization or group to a dataset or map of another owner.

    Attributes
    ----------
    kind : str
        "user", "org" or "group".
    id : str
    name : str or None
        Name of the user or organization.
    access : str
        "r": read; "rw": read and write.
    """

    kind: str
    id: str
    name: str | None
    access: str


class CatalogChanges(TypedDict, total=False):
    """Changes of a catalog entry.

    Parameters
    ----------
    title, description, attributions, license, source : str, optional
        An empty string removes the value.
    tags : sequence of str, optional
    locked : bool, optional
        Protect it against changes in the dashboard.
    """

    title: str | None
    description: str | None
    attributions: str | None
    license: str | None
    source: str | None
    tags: Sequence[str] | None
    locked: bool | None


class CatalogFilters(TypedDict, total=False):
    """Filters of lists of datasets and maps.

    Parameters
    ----------
    search : str, optional
        Full-text search in name, description and tags.
    tags : sequence of str
        List entries that have at least one of these tags, in any case.
    privacy : {"public", "private", "link"}, optional
    shared : bool, default False
        Include entries that other users share with this account.
    locked : bool, optional
    """

    search: str | None
    tags: Sequence[str]
    privacy: Privacy | None
    shared: bool
    locked: bool | None


catalog_changes = shared_keywords(CatalogChanges, defaults=dict.fromkeys(CatalogChanges.__annotations__))
catalog_filters = shared_keywords(
    CatalogFilters, defaults=CatalogFilters(search=None, tags=(), privacy=None, shared=False, locked=None)
)


@dataclass(frozen=True, slots=True)
class Visualization:
    """An immutable snapshot of the catalog entry of a map or dataset.

    Returned by ``list_visualizations``, ``Dataset.info`` and ``Client.visualizations``. ``refresh`` returns a new
    snapshot.

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
        Estimated by PostgreSQL; None if there is no estimate yet.
    size_bytes : int or None
        Size of a dataset in bytes, as CARTO reports it: half of that of the table and its indexes.
    geometry_types : tuple of str
        Such as "ST_Point".
    tables : tuple of str
        Names of the tables that a map uses.
    dependents : tuple of str
        Names of the maps that use a dataset, at most 100.
    dependent_count : int or None
        Number of maps that use a dataset; None if the response does not contain it.
    """

    id: str
    kind: str
    name: str
    privacy: str
    url: str | None
    title: str | None
    description: str | None
    attributions: str | None
    license: str | None
    source: str | None
    tags: tuple[str, ...]
    locked: bool
    owner: str | None
    permission_id: str | None
    permissions: tuple[Permission, ...]
    created_at: datetime | None
    updated_at: datetime | None
    row_count: int | None
    size_bytes: int | None
    geometry_types: tuple[str, ...]
    tables: tuple[str, ...]
    dependents: tuple[str, ...]
    dependent_count: int | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_response(cls, response: Mapping[str, Any], credentials: Credentials) -> Visualization:
        """Parse a response of the API."""
        table, permission = (record(response.get(name) or {}) for name in ("table", "permission"))
        return cls(
            id=required(response, "id"),
            kind=required(response, "type"),
            name=required(response, "name"),
            privacy=required(response, "privacy").lower(),
            url=text(response, "url"),
            title=text(response, "title"),
            description=text(response, "description"),
            attributions=text(response, "attributions"),
            license=text(response, "license"),
            source=text(response, "source"),
            tags=texts(response.get("tags") or []),
            locked=bool(response.get("locked")),
            owner=text(permission.get("owner") or {}, "username"),
            permission_id=text(permission, "id"),
            permissions=tuple(_permission(item) for item in records(permission.get("acl") or [])),
            created_at=parse_datetime(response.get("created_at")),
            updated_at=parse_datetime(response.get("updated_at")),
            row_count=_estimate(table.get("row_count")),
            size_bytes=integer(table.get("size")),
            geometry_types=texts(table.get("geometry_types") or []),
            tables=tuple(required(item, "name") for item in records(response.get("related_tables") or [])),
            dependents=tuple(
                required(item, "name") for item in records(response.get("dependent_visualizations") or [])
            ),
            dependent_count=integer(response.get("dependent_visualizations_count")),
            credentials=credentials,
        )

    def refresh(self) -> Visualization:
        """Request the current entry; return it as a new object.

        Raises
        ------
        NotFound
            If the map or dataset was deleted.
        """
        current = self._service.find(self.id)
        if current is None:
            message = f"{self.name!r} no longer exists: list_visualizations() returns the maps of the account"
            raise NotFound(message, status=404, method="GET", url=self.url or "")
        return current

    @catalog_changes
    def update(
        self, *, name: str | None = None, privacy: Privacy | None = None, **keywords: Unpack[CatalogChanges]
    ) -> Visualization:
        """Update the entry. Arguments that are None leave their value unchanged.

        Parameters
        ----------
        name : str, optional
            New name. Renaming a dataset also renames its table, as described for the keyword ``name`` of
            ``Dataset.from_file``; if the name is taken, ``_1`` is put after it. ``Dataset.rename`` raises an error
            instead.
        privacy : {"public", "private", "link"}, optional
        **keywords
            Those of ``CatalogChanges``.

        Returns
        -------
        Visualization
            The updated entry; its ``name`` is the one that the server has chosen.

        Raises
        ------
        APIError
            If the server rejects a value, or silently keeps the old name.

        Warns
        -----
        CartoWarning
            If the name of a dataset was taken; the message contains its new name.
        """
        return self._service.update(self.id, **drop_none(name=name, privacy=privacy, **keywords))

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
        exports = Exports(Transport(self.credentials, progress=progress))
        target = Path(f"{self.name}.carto".replace("/", "_") if path is None else path)
        export = exports.wait(exports.create(self.id).id, timeout_s=timeout_s, progress=progress)
        exports.download(export, target, progress=progress)
        return target

    def delete(self) -> None:
        """Delete a map; its datasets are kept. To delete a dataset use ``Dataset.delete``.

        Raises
        ------
        ValueError
            If it is a dataset, because the server would also delete maps that use it.
        NotFound
            If it was deleted already.
        """
        if self.kind == "table":
            raise ValueError(f"{self.name!r} is a dataset: use Dataset({self.name!r}).delete()")
        self._service.delete(self.id)

    @property
    def _service(self) -> Visualizations:
        return Visualizations(Transport(self.credentials))

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


class Visualizations:
    """``client.visualizations``. CARTO does not document this API.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def find(self, name: str) -> Visualization | None:
        """Return a dataset or map by id, or a dataset by name; None if none is visible to the key."""
        nonpublic.warn(PATH)
        query = {"with_dependent_visualizations": _MAX_DEPENDENTS, "show_permission": "true"}
        try:
            return self._platform.json("GET", _path(name), what=f"reading {name!r}", read=self._parse, query=query)
        except NotFound:
            return None
        except PermissionDenied as error:  # it exists, but is not visible to the key
            try:
                self.require_master(f"reading {name!r}")
            except PermissionDenied:
                return None
            raise error from None

    def get(self, name: str) -> Visualization:
        """Return an entry as ``find`` does; wait up to 30 seconds for a new table to appear in the catalog.

        Raises
        ------
        NotFound
            If there is no entry after 30 seconds.
        PermissionDenied
            If there is no entry and the key is not the master key.
        """
        requests = 0

        def poll() -> Visualization | None:
            nonlocal requests
            entry, requests = self.find(name), requests + 1
            if entry is None and requests == 1:  # other keys see only public entries, so that waiting does not help
                self.require_master(f"reading the dataset {name!r}")
            return entry

        try:
            entry = polling.poll(poll, done=bool, timeout_s=_REGISTRATION_TIMEOUT_S, what=f"dataset {name!r}")
        except JobTimeout as timeout:
            message = (
                f"there is no dataset or map {name!r}: check the name with list_datasets() or list_visualizations()"
            )
            raise NotFound(message, status=404, method="GET", url=_path(name)) from timeout
        assert entry is not None  # `done` is true only for an entry
        return entry

    @catalog_filters
    def list(self, kind: Kind, **keywords: Unpack[CatalogFilters]) -> list[Visualization]:
        """List datasets or maps, sorted by name.

        The list contains every entry that exists during the whole call, even if other clients add, rename or delete
        entries: multiple pages are read until two consecutive attempts return the same entries. After five attempts
        all entries seen so far are returned.

        Parameters
        ----------
        kind : {"table", "derived"}
            "table": datasets; "derived": maps.
        **keywords
            Those of ``CatalogFilters``.
        """
        nonpublic.warn(PATH)
        entries = self._read_all(_filter_query(kind, keywords))
        if keywords["search"]:  # CARTO sorts by rank then
            entries = sorted(entries, key=lambda entry: entry.name)
        return _with_any_tag(entries, keywords["tags"])

    def _read_all(self, query: Mapping[str, Any]) -> Sequence[Visualization]:
        """Return the entries of all pages; see ``list``."""
        seen: dict[str, Visualization] = {}
        previous_ids: list[str] = []
        for _ in range(_LIST_ATTEMPTS):
            pages = list(self._pages(query))
            entries = {entry.id: entry for page in pages for entry in page}
            if len(pages) == 1 or list(entries) == previous_ids:
                return list(entries.values())
            seen |= entries
            previous_ids = list(entries)
        return sorted(seen.values(), key=lambda entry: entry.name)

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Sequence[Visualization]]:
        for page in count(1):
            page_query = {**query, "page": page}
            entries = self._platform.json("GET", PATH, what="listing datasets", read=self._parse_page, query=page_query)
            yield entries
            if len(entries) < _PAGE_SIZE:
                return

    def update(self, which: str, /, **changes: Any) -> Visualization:
        """Update the catalog entry of a dataset or map.

        Parameters
        ----------
        which : str
            Id of a dataset or map, or name of a dataset.
        **changes
            Members of the API: name, display_name, title, description, tags, privacy, license, attributions, source,
            locked.

        Returns
        -------
        Visualization
            The updated entry. CARTO changes the name of a dataset as in ``carto_table_name``, and puts ``_1`` after a
            taken one.

        Raises
        ------
        APIError
            If the server silently keeps the old name.
        """
        nonpublic.warn(PATH)
        if "privacy" in changes:
            require_privacy(changes["privacy"])
        if changes.get("tags") is not None:
            _check_tags(changes["tags"])
            changes["tags"] = list(changes["tags"])
        entry = self.get(which)
        body = {"id": entry.id, **changes}
        what = f"changing the dataset {which!r}"
        changed = self._platform.json("PUT", _path(entry.id), what=what, read=self._parse, json_body=body)
        if "name" in changes:
            _check_new_name(entry, changes["name"], changed)
        # CARTO sends the maps that use a dataset only with responses to GET.
        return replace(changed, dependents=entry.dependents, dependent_count=entry.dependent_count)

    def set_privacy(self, name: str, privacy: Privacy) -> None:
        """Set the privacy of a dataset or map.

        Parameters
        ----------
        name : str
            Id of a dataset or map, or name of a dataset.
        privacy : {"public", "private", "link"}
        """
        self.update(name, privacy=privacy)

    def require_privacy_permission(self) -> None:
        """Raise PermissionDenied if the key cannot set the privacy of datasets."""
        nonpublic.warn(PATH)
        self.require_master("setting the privacy of a dataset")

    def require_master(self, what: str) -> None:
        """Raise PermissionDenied if the key is not the master key."""
        self._platform.require_master(what)

    def create_map(
        self, tables: Sequence[str], *, name: str | None = None, privacy: Privacy | None = None
    ) -> Visualization:
        """Create a map of datasets.

        Parameters
        ----------
        tables : sequence of str
            Names of the datasets, at least one.
        name : str, optional
            Name of the map; if it is taken, the server puts a number after it. None: chosen by the server.
        privacy : {"public", "private", "link"}, optional
            Set after the map was created. None: "private" if any of the datasets is private, else "link" if any of them
            is, else "public".

        Raises
        ------
        ValueError
            If there are no tables, or the privacy is invalid.
        APIError
            If a table does not exist, or the privacy could not be set; a note contains the id of the map then.
        """
        check_privacy(privacy)
        if isinstance(tables, str) or not tables:
            raise ValueError(f"tables must be a list of at least one dataset, not {tables!r}")
        nonpublic.warn(PATH)
        body = drop_none(tables=list(tables), name=name)
        what = f"creating a map of {', '.join(tables)}"
        try:
            created = self._platform.json("POST", PATH, what=what, read=self._parse, json_body=body)
        except APIError as error:
            if error.status == 400 and error.hint is None:  # CARTO sends no reason
                error.hint = f"check with list_datasets() that {', '.join(tables)} are datasets of the account"
            raise
        if privacy is None or created.privacy == privacy:
            return created
        try:
            return self.update(created.id, privacy=privacy)
        except CartoError as error:
            error.add_note(f"The map {created.id} was created, but it is {created.privacy!r} instead of {privacy!r}.")
            raise

    def delete(self, visualization_id: str) -> None:
        """Delete a map, or a dataset including its table and the maps that show nothing else."""
        nonpublic.warn(PATH)
        self._platform.delete(_path(visualization_id), what="deleting a map or dataset")

    def share(self, entry: Visualization, kind: str, entity_id: str, access: Access | None) -> None:
        """Grant or revoke the access of a user or organization to a dataset or map.

        Parameters
        ----------
        entry : Visualization
            The current entry. Its other permissions are part of the request, and are kept.
        kind : {"user", "org", "group"}
        entity_id : str
        access : {"r", "rw"} or None
            None: revoke.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        nonpublic.warn(_PERMISSIONS)
        if entry.permission_id is None:
            message = f"the permissions of {entry.name!r} are not visible to this key: use the owner's master key"
            raise PermissionDenied(message, status=403, method="PUT", url=_PERMISSIONS)
        others = [item for item in entry.permissions if (item.kind, item.id) != (kind, entity_id)]
        acl = [{"type": item.kind, "entity": {"id": item.id}, "access": item.access} for item in others]
        if access is not None:
            acl.append({"type": kind, "entity": {"id": entity_id}, "access": access})
        path = f"{_PERMISSIONS}/{entry.permission_id}"
        self._platform.json("PUT", path, what=f"sharing {entry.name!r}", read=record, json_body={"acl": acl})

    def _parse(self, response: Any) -> Visualization:
        return Visualization.from_response(response, self._platform.transport.credentials)

    def _parse_page(self, response: Any) -> Sequence[Visualization]:
        return [self._parse(found) for found in records(record(response)["visualizations"])]


def _check_new_name(entry: Visualization, name: str, changed: Visualization) -> None:
    """Raise if a rename had no effect; warn if a dataset got another name, because the new one was taken."""
    expected = carto_table_name(name) if entry.kind == "table" else name
    if changed.name == expected:
        return
    if changed.name == entry.name:
        message = f"the server kept the name {changed.name!r} and rejected {name!r}: choose another name"
        raise APIError(message, status=200, method="PUT", url=_path(entry.id))
    if entry.kind == "table":
        warnings.warn(
            f"the dataset {entry.name!r} is named {changed.name!r} now, because {expected!r} was taken",
            CartoWarning,
            stacklevel=4,
        )


def check_privacy(privacy: object) -> None:
    """Raise ValueError for an invalid privacy; None is valid."""
    if privacy is not None:
        require_privacy(privacy)


def require_privacy(privacy: object) -> None:
    """Raise ValueError for an invalid privacy, including None."""
    if privacy not in get_args(Privacy):
        raise ValueError(f"privacy must be one of {get_args(Privacy)}, not {privacy!r}")


def _filter_query(kind: Kind, filters: CatalogFilters) -> dict[str, Any]:
    """Return the query parameters of a list; raise TypeError or ValueError for invalid filters."""
    tags, locked = filters["tags"], filters["locked"]
    check_privacy(filters["privacy"])
    _check_tags(tags)
    return drop_none(
        types=kind,
        q=filters["search"],
        # CARTO finds parts of tags, and several only next to each other: `list` compares them.
        tags=tags[0] if len(tags) == 1 and "," not in tags[0] else None,
        privacy=filters["privacy"],
        exclude_shared=str(not filters["shared"]).lower(),
        locked=None if locked is None else str(locked).lower(),
        with_dependent_visualizations=_MAX_DEPENDENTS,
        show_permission="true",
        order="name",
        order_direction="asc",
        per_page=_PAGE_SIZE,
    )


def _with_any_tag(entries: Iterable[Visualization], tags: Sequence[str]) -> list[Visualization]:
    """Return the entries with at least one of the tags; CARTO also finds a part of a tag."""
    wanted = {tag.casefold() for tag in tags}
    return [entry for entry in entries if not wanted or wanted.intersection(tag.casefold() for tag in entry.tags)]


def _estimate(value: Any) -> int | None:
    """Parse an estimated number of rows, which is -1 before PostgreSQL has analyzed the table."""
    rows = integer(value)
    return None if rows == -1 else rows


def _check_tags(tags: object) -> None:
    """Raise TypeError for a str, which is a sequence of str, too."""
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of str, not the str {tags!r}")


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _permission(item: Mapping[str, Any]) -> Permission:
    entity = record(item.get("entity") or {})
    name = text(entity, "username") or text(entity, "name")
    return Permission(required(item, "type"), str(text(entity, "id")), name, required(item, "access"))
