"""Datasets and maps as CARTO's catalog knows them: privacy, descriptions, sharing, what depends on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Literal, get_args
from urllib.parse import quote

from cartoframes_lite._client import nonpublic, polling
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
from cartoframes_lite._client.platform import Platform
from cartoframes_lite.errors import APIError, JobTimeout, NotFound, PermissionDenied

PATH = "api/v1/viz"
_PERMISSIONS = "api/v1/perm"
_REGISTRATION_S = 30.0  # a table made by SQL appears in the catalog within seconds
_PAGE = 500
_READINGS = 5
_DEPENDENTS = 100  # that are named; all are counted

Kind = Literal["table", "derived"]
Access = Literal["r", "rw"]


@dataclass(frozen=True, slots=True)
class Permission:
    """What somebody may do with a dataset or map beside its owner.

    Attributes
    ----------
    kind : str
        "user", "org" or "group".
    id : str
    name : str or None
        Of the user or organization.
    access : str
        "r" to read, "rw" also to write.
    """

    kind: str
    id: str
    name: str | None
    access: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset or map, as the server described it; ``cartoframes_lite.Visualization`` tells what the fields are."""

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

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Entry:
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
            row_count=integer(table.get("row_count")),
            size_bytes=integer(table.get("size")),
            geometry_types=texts(table.get("geometry_types") or []),
            tables=tuple(required(item, "name") for item in records(response.get("related_tables") or [])),
            dependents=tuple(
                required(item, "name") for item in records(response.get("dependent_visualizations") or [])
            ),
            dependent_count=integer(response.get("dependent_visualizations_count")),
        )


class Visualizations:
    """``client.visualizations``. CARTO does not document this API.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def find(self, name: str) -> Entry | None:
        """Ask for a dataset or map by its id, or a dataset by its name; None if none is shown to this key."""
        nonpublic.warn(PATH)
        query = {"with_dependent_visualizations": _DEPENDENTS, "show_permission": "true"}
        try:
            return self._platform.json(
                "GET", _path(name), what=f"asking for {name!r}", read=Entry.from_response, query=query
            )
        except NotFound:
            return None

    def get(self, name: str) -> Entry:
        """Ask as ``find`` does; a table that is not registered yet is waited for.

        Raises
        ------
        NotFound
            If there is none after 30 seconds.
        PermissionDenied
            If it is not shown because the key is not the master key.
        """
        asked = 0

        def poll() -> Entry | None:
            nonlocal asked
            found, asked = self.find(name), asked + 1
            if found is None and asked == 1:  # other keys are shown public ones only, however long they wait
                self.require_master(f"asking for the dataset {name!r}")
            return found

        try:
            found = polling.poll(poll, done=bool, timeout_s=_REGISTRATION_S, what=f"dataset {name!r}")
        except JobTimeout as timeout:
            message = f"there is no dataset or map {name!r}"
            raise NotFound(message, status=404, method="GET", url=_path(name)) from timeout
        assert found is not None  # `done` is true only then
        return found

    def list(
        self,
        kind: Kind,
        *,
        search: str | None = None,
        tags: Sequence[str] = (),
        privacy: Privacy | None = None,
        shared: bool = False,
        locked: bool | None = None,
    ) -> list[Entry]:
        """List datasets or maps, by name.

        What others add, rename and delete in the meantime does not make the list miss one that was there all the
        time: if there are several pages, they are read until two readings agree. Should five not do, all that was
        seen is returned.

        Parameters
        ----------
        kind : {"table", "derived"}
            Datasets or maps.
        search : str, optional
            Words in name, description or tags.
        tags : sequence of str
            Any of them.
        privacy : {"public", "private", "link"}, optional
        shared : bool, default False
            Also what others share with this account.
        locked : bool, optional
        """
        nonpublic.warn(PATH)
        check_privacy(privacy)
        if isinstance(tags, str):
            raise TypeError(f"tags is a list of words, not the text {tags!r}")
        query = drop_none(
            types=kind,
            q=search,
            tags=",".join(tags) or None,
            privacy=privacy,
            exclude_shared=str(not shared).lower(),
            locked=None if locked is None else str(locked).lower(),
            with_dependent_visualizations=_DEPENDENTS,
            show_permission="true",
            order="name",
            order_direction="asc",
            per_page=_PAGE,
        )
        seen: dict[str, Entry] = {}
        before: list[str] = []
        for _ in range(_READINGS):
            pages = list(self._pages(query))
            found = {entry.id: entry for page in pages for entry in page}
            if len(pages) == 1 or list(found) == before:
                return list(found.values())
            seen |= found
            before = list(found)
        return sorted(seen.values(), key=lambda entry: entry.name)

    def _pages(self, query: Mapping[str, Any]) -> Iterator[Sequence[Entry]]:
        for page in count(1):
            asked = {**query, "page": page}
            entries = self._platform.json("GET", PATH, what="listing datasets", read=_page, query=asked)
            yield entries
            if len(entries) < _PAGE:
                return

    def update(self, which: str, /, **changes: Any) -> Entry:
        """Change members of a dataset or map.

        Parameters
        ----------
        which : str
            Its id, or the name of a dataset.
        **changes
            As the API has them: name, display_name, title, description, tags, privacy, license, attributions, source,
            locked.

        Raises
        ------
        APIError
            If the server has silently kept the old name.
        """
        nonpublic.warn(PATH)
        if "privacy" in changes:
            require_privacy(changes["privacy"])
        if isinstance(changes.get("tags"), str):
            raise TypeError(f"tags is a list of words, not the text {changes['tags']!r}")
        entry = self.get(which)
        body = {"id": entry.id, **changes}
        what = f"changing the dataset {which!r}"
        changed = self._platform.json("PUT", _path(entry.id), what=what, read=Entry.from_response, json_body=body)
        if "name" in changes and changed.name != changes["name"]:
            message = f"the server has kept the name {changed.name!r}: {changes['name']!r} is taken, or cannot be used"
            raise APIError(message, status=200, method="PUT", url=_path(entry.id))
        return changed

    def set_privacy(self, name: str, privacy: Privacy) -> None:
        """Set who may see a dataset or map.

        Parameters
        ----------
        name : str
            Its id, or the name of a dataset.
        privacy : {"public", "private", "link"}
        """
        self.update(name, privacy=privacy)

    def require_settable(self) -> None:
        """Raise PermissionDenied if this key cannot set a privacy."""
        nonpublic.warn(PATH)
        self.require_master("setting the privacy of a dataset")

    def require_master(self, what: str) -> None:
        """Raise PermissionDenied if the key is not the master key."""
        self._platform.require_master(what)

    def create_map(self, tables: Sequence[str], *, name: str | None = None) -> Entry:
        """Make a map of datasets.

        Parameters
        ----------
        tables : sequence of str
            Their names.
        name : str, optional
            None: the server chooses one.
        """
        nonpublic.warn(PATH)
        body = drop_none(tables=list(tables), name=name)
        return self._platform.json("POST", PATH, what="creating a map", read=Entry.from_response, json_body=body)

    def delete(self, visualization_id: str) -> None:
        """Delete a map; or a dataset with its table and the maps that depend on it."""
        nonpublic.warn(PATH)
        self._platform.delete(_path(visualization_id), what="deleting a map or dataset")

    def share(self, entry: Entry, kind: str, entity_id: str, access: Access | None) -> None:
        """Let a user or organization see a dataset or map, or no longer.

        Parameters
        ----------
        entry : Entry
            As the server describes it now: what others may do is sent along.
        kind : {"user", "org", "group"}
        entity_id : str
        access : {"r", "rw"} or None
            None takes it back.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        nonpublic.warn(_PERMISSIONS)
        if entry.permission_id is None:
            raise PermissionDenied(
                f"who may see {entry.name!r} is not shown to this key", status=403, method="PUT", url=_PERMISSIONS
            )
        others = [item for item in entry.permissions if (item.kind, item.id) != (kind, entity_id)]
        acl = [{"type": item.kind, "entity": {"id": item.id}, "access": item.access} for item in others]
        if access is not None:
            acl.append({"type": kind, "entity": {"id": entity_id}, "access": access})
        path = f"{_PERMISSIONS}/{entry.permission_id}"
        self._platform.json("PUT", path, what=f"sharing {entry.name!r}", read=record, json_body={"acl": acl})


def check_privacy(privacy: object) -> None:
    """Raise ValueError for a privacy that there is not."""
    if privacy is not None:
        require_privacy(privacy)


def require_privacy(privacy: object) -> None:
    """Raise ValueError for what is no privacy, None included."""
    if privacy not in get_args(Privacy):
        raise ValueError(f"privacy must be one of {get_args(Privacy)}, not {privacy!r}")


def _page(response: Any) -> list[Entry]:
    return [Entry.from_response(found) for found in records(record(response)["visualizations"])]


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _permission(item: Mapping[str, Any]) -> Permission:
    entity = record(item.get("entity") or {})
    name = text(entity, "username") or text(entity, "name")
    return Permission(required(item, "type"), str(text(entity, "id")), name, required(item, "access"))
