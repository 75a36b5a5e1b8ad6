"""Catalog of datasets and maps: list, describe, share and delete them, and set their privacy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args
from urllib.parse import quote

from cartoframes_lite import user_warnings
from cartoframes_lite._client import nonpublic, polling
from cartoframes_lite._client.exports import Exports
from cartoframes_lite._client.http.json_fields import (
    drop_none,
    integer,
    parse_datetime,
    record,
    records,
    required,
    required_integer,
    text,
    texts,
)
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.keywords import shared_keywords
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.paging import Page, complete_list
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._codec.html import Link, format_bytes, html_table
from cartoframes_lite._codec.names import carto_table_name
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, CartoError, JobTimeout, NameTakenWarning, NotFound, PermissionDenied

PATH = "api/v1/viz"
_PERMISSIONS = "api/v1/perm"
_REGISTRATION_TIMEOUT_S = 30.0  # CARTO adds a table created by SQL to the catalog within seconds
_PAGE_SIZE = 500
_QUALIFIED = re.compile(r'"?([^"]+)"?\.([^".]+)')  # CARTO quotes only the schema
_TITLES = {"table": "Dataset", "derived": "Map", "kuviz": "Published page"}
_MAX_DEPENDENTS = 100  # limit of dependents in the response; their count is not limited

Kind = Literal["table", "derived", "kuviz"]
_PLURALS: dict[Kind, str] = {"table": "datasets", "derived": "maps", "kuviz": "published pages"}
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
        "derived" for a map, "table" for a dataset, "kuviz" for a published page.
    name : str
        For a dataset of another account with its schema, as in "bob.places".
    privacy : str
        "public", "private", "link" or "password".
    url : str or None
        URL of its page in the dashboard; None without the master key.
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
        Size of a dataset in bytes, as CARTO counts it: half of the size of its table with indexes.
    geometry_types : tuple of str
        Such as "ST_Point".
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
    dependents: tuple[str, ...]
    dependent_count: int | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)
    _tables: tuple[str, ...] | None = field(kw_only=True, repr=False, compare=False)  # None: not in the response

    @classmethod
    def from_response(cls, response: Mapping[str, Any], credentials: Credentials) -> Visualization:
        """Parse a response of the API."""
        table, permission = (record(response.get(name) or {}) for name in ("table", "permission"))
        kind, name, row_count = required(response, "type"), required(response, "name"), integer(table.get("row_count"))
        is_dataset = kind == "table"
        return cls(
            id=required(response, "id"),
            kind=kind,
            name=_with_schema(name, text(table, "name"), credentials) if is_dataset else name,
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
            permissions=tuple(
                _permission(item) for item in records(permission.get("acl") or []) if item.get("access") != "n"
            ),
            created_at=parse_datetime(response.get("created_at")),
            updated_at=parse_datetime(response.get("updated_at")),
            row_count=None if row_count is None or row_count < 0 else row_count,  # negative: not estimated yet
            size_bytes=integer(table.get("size")),
            geometry_types=texts(table.get("geometry_types") or []),
            dependents=tuple(
                required(item, "name") for item in records(response.get("dependent_visualizations") or [])
            ),
            dependent_count=integer(response.get("dependent_visualizations_count")),
            credentials=credentials,
            _tables=() if is_dataset else _related_tables(response, credentials),
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that a map uses, in alphabetical order; of other accounts with their schema.

        Lists do not contain them: for an entry of a list, a request is sent at the first use.

        Raises
        ------
        NotFound
            If the map was deleted meanwhile.
        """
        if self._tables is None:
            object.__setattr__(self, "_tables", self._service.tables_of(self.id))
        return self._tables or ()

    def refresh(self) -> Visualization:
        """Request the current entry; return it as a new object.

        Raises
        ------
        NotFound
            If the map or dataset was deleted.
        """
        current = self._service.find(self.id)
        if current is None:
            listing = "list_datasets" if self.kind == "table" else "list_visualizations"
            message = f"{self.name!r} no longer exists: {listing}() returns what exists now"
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
        NameTakenWarning
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

        CARTO exports only maps: for a dataset, a map of it is created, exported and deleted.

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
        NotFound
            If the map or dataset was deleted.
        PermissionDenied
            If it is a dataset and the key is not the master key.
        """
        exports = Exports(Transport(self.credentials, progress=progress))
        target = Path(f"{self.name}.carto".replace("/", "_") if path is None else path)
        with self._service.exportable_map(self) as map_id:
            export = exports.wait(exports.create(map_id).id, timeout_s=timeout_s, progress=progress)
        exports.download(export, target, progress=progress)
        return target

    def delete(self) -> None:
        """Delete a map; its datasets are kept. To delete a dataset use ``Dataset.delete``.

        Raises
        ------
        ValueError
            If it is a dataset, because the server would also delete the maps that show only this dataset.
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
        try:
            with nonpublic.suppress_warnings():
                tables = self.tables
        except CartoError:
            tables = ()  # the map was deleted, or the server cannot be reached
        rows = {
            "privacy": self.privacy,
            "rows": self.row_count,
            "size": None if self.size_bytes is None else format_bytes(self.size_bytes),
            "geometry": self.geometry_types,
            "description": self.description,
            "tags": self.tags,
            "shared with": [f"{item.name} ({item.access})" for item in self.permissions],
            "tables": tables,
            "used by maps": self.dependents,
            "updated": self.updated_at,
            "page": Link(self.url),
        }
        return html_table(f"{_TITLES.get(self.kind, self.kind)} {self.name}", rows)


def entry_columns(entry: Visualization) -> dict[str, object]:
    """Return what a list in a notebook shows of a dataset or map, by label."""
    return {
        "name": Link(entry.url, entry.name),
        "privacy": entry.privacy,
        "rows": entry.row_count,
        "size": None if entry.size_bytes is None else format_bytes(entry.size_bytes),
        "geometry": [kind.removeprefix("ST_") for kind in entry.geometry_types],
        "tables": entry._tables,  # not entry.tables, which sends a request for each map
        "tags": entry.tags,
        "description": entry.description,
        "updated": entry.updated_at,
    }


class Visualizations:
    """``client.visualizations``. CARTO does not document this API.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def find(self, name: str) -> Visualization | None:
        """Return a dataset or map by id, or a dataset by name; None if there is none.

        Raises
        ------
        PermissionDenied
            If it exists, but is not visible to the key.
        AuthenticationError
            If the key is unknown, and the entry is not public.
        """
        nonpublic.warn(PATH, self._platform.transport)
        query = {"with_dependent_visualizations": _MAX_DEPENDENTS, "show_permission": "true"}
        what = f"reading the dataset or map {name!r}"
        try:
            entry = self._platform.json("GET", _path(name), what=what, read=self._parse, query=query)
        except NotFound:
            return None
        # CARTO finds maps by name, too: a table that is not a dataset may have the name of a map.
        return entry if entry.kind == "table" or entry.id == name.rpartition(".")[2].lower() else None

    def tables_of(self, map_id: str) -> tuple[str, ...]:
        """Return the names of the tables of a map, in alphabetical order."""
        nonpublic.warn(PATH, self._platform.transport)
        query = {"fetch_related_canonical_visualizations": "true", "show_table_size_and_row_count": "false"}

        def read(response: Any) -> tuple[str, ...]:
            tables = _related_tables(record(response), self._platform.transport.credentials)
            return tables or ()

        what = f"reading the tables of the map {map_id!r}"
        return self._platform.json("GET", _path(map_id), what=what, read=read, query=query)

    def get(self, name: str) -> Visualization:
        """Return an entry as ``find`` does; wait up to 30 seconds for a new table to appear in the catalog.

        Raises
        ------
        NotFound
            If there is no entry after 30 seconds.
        PermissionDenied
            If the entry is not visible to the key, or there is none and the key is not the master key.
        """
        requests = 0

        def poll() -> Visualization | None:
            nonlocal requests
            entry, requests = self.find(name), requests + 1
            if entry is None and requests == 1:  # other keys see only public entries, so that waiting does not help
                self.require_master(f"reading the dataset {name!r}")
            if entry is None:
                self._register_tables()
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
        entries: multiple pages are read until two consecutive attempts return as many entries as the server counts.
        After five attempts all entries seen so far are returned.

        Parameters
        ----------
        kind : {"table", "derived", "kuviz"}
            "table": datasets; "derived": maps; "kuviz": published pages, which ``Client.publications`` manages.
        **keywords
            Those of ``CatalogFilters``.

        Raises
        ------
        AuthenticationError
            If the key is unknown. With a valid key other than the master key, only public entries are listed.
        """
        nonpublic.warn(PATH, self._platform.transport)
        entries: Iterable[Visualization] = complete_list(partial(self._page, _filter_query(kind, keywords))).values()
        if (privacy := keywords["privacy"]) is not None:  # without the master key, CARTO ignores the filter
            entries = [entry for entry in entries if entry.privacy == privacy]
        found = _with_any_tag(sorted(entries, key=lambda entry: entry.name), keywords["tags"])
        return Listing(found, _PLURALS[kind], entry_columns)

    def _page(self, query: Mapping[str, Any], page: int, direction: str) -> Page[Visualization]:
        """Request a page of a list."""
        page_query = {**query, "page": page, "order_direction": direction}
        what = "listing datasets and maps"
        found, is_owner = self._platform.json("GET", PATH, what=what, read=self._parse_page, query=page_query)
        if page == 1 and not is_owner and not self._platform.transport.is_public:
            self._platform.require_known_key()  # for an unknown key, the list contains the public entries
        return found

    def _register_tables(self) -> None:
        """Make CARTO add new tables to the catalog, which it does before it responds with a list of datasets."""
        query = {"types": "table", "per_page": 1, "load_totals": "false", "show_permission": "false"}
        self._platform.json("GET", PATH, what="listing datasets and maps", read=record, query=query)

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
            The updated entry; its ``name`` is the one that the server has chosen, as in ``Visualization.update``.

        Raises
        ------
        APIError
            If the server silently keeps the old name.
        """
        check_changes(changes)
        return self.update_entry(self.get(which), **changes)

    def update_entry(self, entry: Visualization, /, **changes: Any) -> Visualization:
        """Update an entry that has just been requested, as ``update`` does."""
        nonpublic.warn(PATH, self._platform.transport)
        check_changes(changes)
        if changes.get("tags") is not None:
            changes["tags"] = list(changes["tags"])
        body = {"id": entry.id, **changes}
        what = f"changing the dataset {entry.name!r}"
        changed = self._platform.json("PUT", _path(entry.id), what=what, read=self._parse, json_body=body)
        if "name" in changes:
            _check_new_name(entry, changes["name"], changed)
        # CARTO sends the maps that use a dataset only in responses to GET.
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
        nonpublic.warn(PATH, self._platform.transport)
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
        nonpublic.warn(PATH, self._platform.transport)
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
        """Delete a map, or a dataset including its table and the maps that show only this dataset."""
        nonpublic.warn(PATH, self._platform.transport)
        self._platform.delete(_path(visualization_id), what="deleting a map or dataset")

    @contextmanager
    def exportable_map(self, entry: Visualization) -> Iterator[str]:
        """Yield the id of a map that shows an entry: for a dataset, of a map that exists only within the context.

        Raises
        ------
        NotFound
            If the dataset was deleted.
        """
        if entry.kind != "table":
            yield entry.id
            return
        current = entry.refresh()
        shown = self.create_map([current.name], name=current.name)
        try:
            yield shown.id
        finally:
            with suppress(NotFound):  # deleted by another client
                self.delete(shown.id)

    def share(self, entry: Visualization, kind: str, entity_id: str, access: Access | None) -> None:
        """Grant or revoke the access of a user or organization to a dataset or map.

        Parameters
        ----------
        entry : Visualization
            The current entry. Its other permissions are part of the request, and are kept.
        kind : {"user", "org", "group"}
        entity_id : str
        access : {"r", "rw"} or None
            "rw" is possible only for datasets. None: revoke.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        if access == "rw" and entry.kind != "table":
            raise ValueError(f"{entry.name!r} is a map, which can be shared only for reading: pass access='r'")
        nonpublic.warn(_PERMISSIONS, self._platform.transport)
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

    def _parse_page(self, response: Any) -> tuple[Page[Visualization], bool]:
        """Parse a page; return it and whether the server lists the private entries, too."""
        entries = [self._parse(found) for found in records(record(response)["visualizations"])]
        total = required_integer(response, "total_entries")
        return Page({entry.id: entry for entry in entries}, len(entries), total), "total_user_entries" in response


def _check_new_name(entry: Visualization, name: str, changed: Visualization) -> None:
    """Raise if a rename had no effect; warn if a dataset got another name, because the new one was taken."""
    expected = carto_table_name(name) if entry.kind == "table" else name
    if changed.name == expected:
        return
    if changed.name == entry.name:
        message = f"the server kept the name {changed.name!r} and rejected {name!r}: choose another name"
        raise APIError(message, status=200, method="PUT", url=_path(entry.id))
    if entry.kind == "table":
        user_warnings.warn(
            f"the dataset {entry.name!r} is named {changed.name!r} now, because {expected!r} was taken",
            NameTakenWarning,
        )


def check_changes(changes: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for invalid changes of an entry."""
    if "privacy" in changes:
        require_privacy(changes["privacy"])
    if changes.get("tags") is not None:
        _check_tags(changes["tags"])


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
        per_page=_PAGE_SIZE,
    )


def _with_any_tag(entries: Iterable[Visualization], tags: Sequence[str]) -> list[Visualization]:
    """Return the entries with at least one of the tags; CARTO also finds a part of a tag."""
    wanted = {tag.casefold() for tag in tags}
    return [entry for entry in entries if not wanted or wanted.intersection(tag.casefold() for tag in entry.tags)]


def _check_tags(tags: object) -> None:
    """Raise TypeError for a str, which is a sequence of str, too."""
    if isinstance(tags, str):
        raise TypeError(f"tags must be a list of str, not the str {tags!r}")


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _with_schema(name: str, table: str | None, credentials: Credentials) -> str:
    """Return the name of a dataset, with the schema in the name of its table if that is of another account."""
    found = _QUALIFIED.fullmatch(table or "")
    schema = None if found is None else found[1]
    return name if schema in (None, "public", credentials.username) else f"{schema}.{name}"


def _table_name(table: str, credentials: Credentials) -> str:
    """Return the name of a table without quotes, and without the schema of the account: ``"bob".places``."""
    found = _QUALIFIED.fullmatch(table)
    return table if found is None else _with_schema(found[2], table, credentials)


def _related_tables(response: Mapping[str, Any], credentials: Credentials) -> tuple[str, ...] | None:
    """Return the names of the tables of a map; None if the response, such as an entry of a list, has none.

    The member ``related_tables`` is only in responses to the owner; others may request the datasets of a map.
    """
    if "related_tables" in response:
        tables = records(response["related_tables"] or [])
    elif "related_canonical_visualizations" in response:
        datasets = records(response["related_canonical_visualizations"] or [])
        tables = [record(dataset.get("table") or dataset) for dataset in datasets]
    else:
        return None
    return tuple(sorted(_table_name(required(table, "name"), credentials) for table in tables))


def _permission(item: Mapping[str, Any]) -> Permission:
    entity = record(item.get("entity") or {})
    name = text(entity, "username") or text(entity, "name")
    return Permission(required(item, "type"), str(text(entity, "id")), name, required(item, "access"))
