"""Datasets and maps as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.account import email
from cartoframes_lite.local.catalog.members import ORGANIZATION, Member, Members
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs import records as sync_records

ORGANIZATION_ID = "00000000-0000-4000-8000-000000000001"  # there is one
_ALL_DEPENDENTS = 10**9


def base_url(state: State, request: Request) -> str:
    """Return the URL of the account, as the client reaches it."""
    return f"{request.base_url}user/{state.user}"


def organization() -> dict[str, Any]:
    """Return the organization."""
    return {"id": ORGANIZATION_ID, "name": ORGANIZATION, "display_name": ORGANIZATION}


def format_datetime(time: datetime) -> str:
    """Return a time as ISO 8601, with its offset."""
    return time.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class RelatedObjects:
    """What is shown with datasets and maps, by their ids or, of tables, the oids."""

    maps: Mapping[str, list[Visualization]]
    datasets: Mapping[str, list[Visualization]]
    geometry_types: Mapping[int, list[str]]
    synchronizations: Mapping[int, dict[str, Any]]
    members: Mapping[str, Member]


class Serializer:
    """Shows datasets and maps to one request.

    Parameters
    ----------
    state : State
    catalog : Catalog
    members : Members
    request : Request
        For the URLs.
    owner : bool
        Whether the account itself asks: others are told neither whom something is shared with nor what else
        there is.
    """

    def __init__(self, state: State, catalog: Catalog, members: Members, request: Request, *, owner: bool) -> None:
        self._state, self._catalog, self._members = state, catalog, members
        self._base_url = base_url(state, request)
        self._owner = owner

    def all(
        self, shown: list[Visualization], *, hidden: frozenset[str] = frozenset(), dependents: int = _ALL_DEPENDENTS
    ) -> list[dict[str, Any]]:
        """Show several of them.

        Parameters
        ----------
        shown : list of Visualization
        hidden : frozenset of str
            Parts to leave out: ``table``, ``table_size_and_row_count``, ``stats`` and so on, as the parameters
            ``show_...`` name them.
        dependents : int
            Most maps to show of a dataset.
        """
        around = self._look_around(shown, tables="table" not in hidden)
        return [self._visualization(one, around, hidden, dependents) for one in shown]

    def one(self, shown: Visualization) -> dict[str, Any]:
        """Show one with all of its parts."""
        [presented] = self.all([shown])
        return presented

    def table(self, dataset: Visualization, rows_counted: int | None) -> dict[str, Any]:
        """Show the table of a dataset. Its API knows no privacy "link".

        Parameters
        ----------
        dataset : Visualization
        rows_counted : int or None
            Number of its rows. None stands for the estimate.
        """
        around = self._look_around([dataset], tables=True)
        shown = self._table(dataset, around, frozenset())
        privacy = "PUBLIC" if dataset.privacy == "link" else dataset.privacy.upper()
        counted = dataset.row_count if rows_counted is None else rows_counted
        maps = [self._brief(one) for one in self._visible(around.maps.get(dataset.id, []))]
        return {**shown, "privacy": privacy, "rows_counted": counted, "dependent_visualizations": maps}

    def permission(self, visualization: Visualization) -> dict[str, Any]:
        """Show whom something is shared with."""
        return self._permission(visualization, {member.id: member for member in self._members.all()})

    def user(self) -> dict[str, Any]:
        """Show the account in few words."""
        shown = {
            "id": self._state.user_id,
            "username": self._state.user,
            "avatar_url": None,
            "base_url": self._base_url,
            "org_admin": True,
            "viewer": False,
        }
        return {**shown, "email": email(self._state)} if self._owner else shown

    def _look_around(self, shown: list[Visualization], *, tables: bool) -> RelatedObjects:
        """Look up all that is to be shown with some of them, at once."""
        with_tables = [one for one in shown if one.is_dataset]
        related = self._catalog.datasets_of([one.id for one in shown if not one.is_dataset])
        of_maps = [dataset for found in related.values() for dataset in found]
        types: dict[int, list[str]] = {}
        if tables:
            oids = {one.table_oid for one in [*with_tables, *of_maps] if one.table_oid is not None}
            with self._state.admin() as connection:
                geometry = dataset_tables.geometry_tables(connection, self._state.owner_role, list(oids))
            types = dataset_tables.geometry_types(self._state, geometry)
        return RelatedObjects(
            self._catalog.maps_of([one.id for one in with_tables]),
            related,
            types,
            self._synchronizations() if self._owner else {},
            {member.id: member for member in self._members.all()} if self._owner else {},
        )

    def _synchronizations(self) -> dict[int, dict[str, Any]]:
        """Return the synchronizations, by the oids of their tables."""
        rows = sync_records.SyncRecords(self._state).all()
        return {row["table_oid"]: sync_records.present(row, self._state) for row in rows if row["table_oid"]}

    def _visualization(
        self, one: Visualization, around: RelatedObjects, hidden: frozenset[str], dependents: int
    ) -> dict[str, Any]:
        """Show all of a dataset or map but what is hidden."""
        related = self._visible(around.datasets.get(one.id, []))
        maps = self._visible(around.maps.get(one.id, []))
        parts: dict[str, Callable[[], Any]] = {
            "table": lambda: self._table(one, around, hidden) if one.is_dataset else None,
            "permission": lambda: self._permission(one, around.members),
            "synchronization": lambda: self._synchronization(one, around),
            "stats": dict,
            "likes": lambda: 0,
            "liked": lambda: False,
            "auth_tokens": list,
            "uses_builder_features": lambda: not one.is_dataset,
        }
        return {
            **self._brief(one),
            "display_name": one.display_name,
            "title": one.title,
            "description": one.description,
            "tags": one.tags,
            "license": one.license,
            "attributions": one.attributions,
            "source": one.source,
            "locked": one.locked,
            "transition_options": one.transition_options,
            "map_id": one.map_id,
            "active_child": None,
            "active_layer_id": related[-1].map_id if related else one.map_id,
            "children": [],
            "connector": None,
            "external_source": {},
            "next_id": None,
            "parent_id": None,
            "prev_id": None,
            "version": 3,
            "user": self.user(),
            "related_tables": [self._table(table, around, hidden) for table in related],
            "dependent_visualizations": [self._brief(a_map) for a_map in maps[:dependents]],
            "dependent_visualizations_count": len(maps),
            **{name: part() for name, part in parts.items() if name not in hidden},
        }

    def _brief(self, one: Visualization) -> dict[str, Any]:
        """Show what one is called and where it is."""
        path = f"dataset/{one.name}" if one.is_dataset else f"map/{one.id}"
        return {
            "id": one.id,
            "name": one.name,
            "type": one.type,
            "kind": one.kind,
            "privacy": one.privacy.upper(),
            "created_at": format_datetime(one.created_at),
            "updated_at": format_datetime(one.updated_at),
            "url": f"{self._base_url}/{path}",
        }

    def _table(self, dataset: Visualization, around: RelatedObjects, hidden: frozenset[str]) -> dict[str, Any]:
        """Show the table of a dataset."""
        schema, name = dataset.table
        shown: dict[str, Any] = {
            "id": dataset.table_id,
            "name": name if schema == "public" else f"{schema}.{name}",
            "schema": schema,
            "privacy": dataset.privacy.upper(),
            "updated_at": format_datetime(dataset.table_updated_at),
            "map_id": dataset.map_id,
            "description": dataset.description,
            "geometry_types": around.geometry_types.get(dataset.table_oid or 0, []),
            "table_visualization": self._brief(dataset),
            "permission": self._permission(dataset, around.members),
            "synchronization": self._synchronization(dataset, around),
        }
        if "table_size_and_row_count" not in hidden:
            shown |= {"size": dataset.size, "table_size": dataset.size}
            shown |= {"row_count": dataset.row_count, "rows_counted": dataset.row_count}
        return shown

    def _synchronization(self, one: Visualization, around: RelatedObjects) -> dict[str, Any] | None:
        """Show what a table is synchronized with."""
        return around.synchronizations.get(one.table_oid) if one.table_oid is not None else None

    def _permission(self, one: Visualization, members: Mapping[str, Member]) -> dict[str, Any]:
        """Show who owns something, and whom it is shared with."""
        acl = []
        for entry in one.acl if self._owner else ():
            member = members.get(entry["id"])
            if entry["type"] == "org":
                entity = {"id": ORGANIZATION_ID, "name": ORGANIZATION}
            elif member is not None:
                entity = {"id": member.id, "username": member.username}
            else:
                continue  # left in this moment
            acl.append({"type": entry["type"], "entity": entity, "access": entry["access"]})
        return {
            "id": one.permission_id,
            "owner": self.user(),
            "entity": {"id": one.id, "type": "vis"},
            "acl": acl,
            "created_at": format_datetime(one.created_at),
            "updated_at": format_datetime(one.updated_at),
        }

    def _visible(self, found: Iterable[Visualization]) -> list[Visualization]:
        """Leave out what the one who asks may not see."""
        return [one for one in found if self._owner or one.privacy == "public"]
