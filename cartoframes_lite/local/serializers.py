"""API representations of datasets and maps."""

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

ORGANIZATION_ID = "00000000-0000-4000-8000-000000000001"  # fixed: the server has a single organization
_ALL_DEPENDENTS = 10**9


def base_url(state: State, request: Request) -> str:
    """Return the base URL of the account, as used by the client."""
    return f"{request.base_url}user/{state.user}"


def organization() -> dict[str, Any]:
    """Return the API representation of the organization."""
    return {"id": ORGANIZATION_ID, "name": ORGANIZATION, "display_name": ORGANIZATION}


def format_datetime(time: datetime) -> str:
    """Return a time in ISO 8601 with milliseconds and UTC offset."""
    return time.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class RelatedObjects:
    """Objects related to datasets and maps, keyed by id or by the OID of the table."""

    maps: Mapping[str, list[Visualization]]
    datasets: Mapping[str, list[Visualization]]
    geometry_types: Mapping[int, list[str]]
    synchronizations: Mapping[int, dict[str, Any]]
    members: Mapping[str, Member]


class Serializer:
    """Serialize datasets and maps for one request.

    Parameters
    ----------
    state : State
    catalog : Catalog
    members : Members
    request : Request
        Request that determines the base of URLs.
    owner : bool
        Whether the caller is the account's owner. Other callers see no access control lists, synchronizations and
        private related objects.
    """

    def __init__(self, state: State, catalog: Catalog, members: Members, request: Request, *, owner: bool) -> None:
        self._state, self._catalog, self._members = state, catalog, members
        self._base_url = base_url(state, request)
        self._owner = owner

    def visualizations(
        self,
        visualizations: list[Visualization],
        *,
        hidden: frozenset[str] = frozenset(),
        dependents: int = _ALL_DEPENDENTS,
    ) -> list[dict[str, Any]]:
        """Serialize datasets and maps.

        Parameters
        ----------
        visualizations : list of Visualization
        hidden : frozenset of str
            Parts to omit, named as in the request parameters ``show_<part>``: ``table``, ``stats`` and so on.
        dependents : int
            Maximum number of dependent maps per dataset.
        """
        related = self._load_related(visualizations, tables="table" not in hidden)
        return [self._visualization(one, related, hidden, dependents) for one in visualizations]

    def visualization(self, visualization: Visualization) -> dict[str, Any]:
        """Serialize a dataset or map with all parts."""
        [serialized] = self.visualizations([visualization])
        return serialized

    def table(self, dataset: Visualization, rows_counted: int | None) -> dict[str, Any]:
        """Serialize the table of a dataset for the Tables API, which has no privacy "link".

        Parameters
        ----------
        dataset : Visualization
        rows_counted : int or None
            Exact number of rows. None means the estimate.
        """
        related = self._load_related([dataset], tables=True)
        table = self._table(dataset, related, frozenset())
        privacy = "PUBLIC" if dataset.privacy == "link" else dataset.privacy.upper()
        counted = dataset.row_count if rows_counted is None else rows_counted
        maps = [self._summary(one) for one in self._visible(related.maps.get(dataset.id, []))]
        return {**table, "privacy": privacy, "rows_counted": counted, "dependent_visualizations": maps}

    def permission(self, visualization: Visualization) -> dict[str, Any]:
        """Serialize the permission of a dataset or map: its owner and access control list."""
        return self._permission(visualization, {member.id: member for member in self._members.all()})

    def user(self) -> dict[str, Any]:
        """Serialize a summary of the account."""
        account = {
            "id": self._state.user_id,
            "username": self._state.user,
            "avatar_url": None,
            "base_url": self._base_url,
            "org_admin": True,
            "viewer": False,
        }
        return {**account, "email": email(self._state)} if self._owner else account

    def _load_related(self, visualizations: list[Visualization], *, tables: bool) -> RelatedObjects:
        """Load the related objects of several visualizations with one query each."""
        datasets = [one for one in visualizations if one.is_dataset]
        datasets_by_map = self._catalog.datasets_by_map([one.id for one in visualizations if not one.is_dataset])
        map_datasets = [dataset for found in datasets_by_map.values() for dataset in found]
        types: dict[int, list[str]] = {}
        if tables:
            oids = {one.table_oid for one in [*datasets, *map_datasets] if one.table_oid is not None}
            with self._state.admin() as connection:
                geometry = dataset_tables.geometry_tables(connection, self._state.owner_role, list(oids))
            types = dataset_tables.geometry_types(self._state, geometry)
        return RelatedObjects(
            self._catalog.maps_by_dataset([one.id for one in datasets]),
            datasets_by_map,
            types,
            self._synchronizations() if self._owner else {},
            {member.id: member for member in self._members.all()} if self._owner else {},
        )

    def _synchronizations(self) -> dict[int, dict[str, Any]]:
        """Return the API representations of synchronizations, keyed by the OID of the table."""
        rows = sync_records.SyncRecords(self._state).all()
        return {row["table_oid"]: sync_records.serialize(row, self._state) for row in rows if row["table_oid"]}

    def _visualization(
        self, one: Visualization, related: RelatedObjects, hidden: frozenset[str], dependents: int
    ) -> dict[str, Any]:
        """Serialize a dataset or map without the hidden parts."""
        tables = self._visible(related.datasets.get(one.id, []))
        maps = self._visible(related.maps.get(one.id, []))
        parts: dict[str, Callable[[], Any]] = {
            "table": lambda: self._table(one, related, hidden) if one.is_dataset else None,
            "permission": lambda: self._permission(one, related.members),
            "synchronization": lambda: self._synchronization(one, related),
            "stats": dict,
            "likes": lambda: 0,
            "liked": lambda: False,
            "auth_tokens": list,
            "uses_builder_features": lambda: not one.is_dataset,
        }
        return {
            **self._summary(one),
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
            "active_layer_id": tables[-1].map_id if tables else one.map_id,
            "children": [],
            "connector": None,
            "external_source": {},
            "next_id": None,
            "parent_id": None,
            "prev_id": None,
            "version": 3,
            "user": self.user(),
            "related_tables": [self._table(table, related, hidden) for table in tables],
            "dependent_visualizations": [self._summary(a_map) for a_map in maps[:dependents]],
            "dependent_visualizations_count": len(maps),
            **{name: part() for name, part in parts.items() if name not in hidden},
        }

    def _summary(self, one: Visualization) -> dict[str, Any]:
        """Serialize the id, name, privacy, times and URL of a dataset or map."""
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

    def _table(self, dataset: Visualization, related: RelatedObjects, hidden: frozenset[str]) -> dict[str, Any]:
        """Serialize the table of a dataset."""
        schema, name = dataset.table
        table: dict[str, Any] = {
            "id": dataset.table_id,
            "name": name if schema == "public" else f"{schema}.{name}",
            "schema": schema,
            "privacy": dataset.privacy.upper(),
            "updated_at": format_datetime(dataset.table_updated_at),
            "map_id": dataset.map_id,
            "description": dataset.description,
            "geometry_types": related.geometry_types.get(dataset.table_oid or 0, []),
            "table_visualization": self._summary(dataset),
            "permission": self._permission(dataset, related.members),
            "synchronization": self._synchronization(dataset, related),
        }
        if "table_size_and_row_count" not in hidden:
            table |= {"size": dataset.size, "table_size": dataset.size}
            table |= {"row_count": dataset.row_count, "rows_counted": dataset.row_count}
        return table

    def _synchronization(self, one: Visualization, related: RelatedObjects) -> dict[str, Any] | None:
        """Return the synchronization of a table; None if it has none."""
        return related.synchronizations.get(one.table_oid) if one.table_oid is not None else None

    def _permission(self, one: Visualization, members: Mapping[str, Member]) -> dict[str, Any]:
        """Serialize the owner and access control list of a dataset or map."""
        acl = []
        for entry in one.acl if self._owner else ():
            member = members.get(entry["id"])
            if entry["type"] == "org":
                entity = {"id": ORGANIZATION_ID, "name": ORGANIZATION}
            elif member is not None:
                entity = {"id": member.id, "username": member.username}
            else:
                continue  # the member has just been deleted
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
        """Return the visualizations that the caller may see."""
        return [one for one in found if self._owner or one.privacy == "public"]
