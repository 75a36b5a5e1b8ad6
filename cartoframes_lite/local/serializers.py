"""API representations of datasets and maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.named_map_templates import auth_token
from cartoframes_lite.local.catalog.visualizations import BUILDER_VERSION, Catalog, Visualization
from cartoframes_lite.local.clock import iso_time
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs import records as sync_records
from cartoframes_lite.local.user_serializers import UserSerializer

_STATS_DAYS = 30


def base_url(state: State, request: Request) -> str:
    """Return the base URL of the account, as used by the client."""
    return f"{request.base_url}user/{state.user}"


def format_datetime(time: datetime) -> str:
    """Return a time as in CARTO's JSON: in UTC, with milliseconds."""
    return iso_time(time)


@dataclass(frozen=True, slots=True)
class Parts:
    """Optional parts of datasets and maps, named as in the request parameters ``show_<part>``.

    Attributes
    ----------
    related_tables, stats, table, table_size_and_row_count, liked, permission, synchronization, \
uses_builder_features, user : bool
    related_canonical_visualizations : bool
        The datasets of a map.
    dependents : int
        Maximum number of dependent maps per dataset; 0 omits them and their number.
    password : object
        Password that the caller has sent.
    """

    related_tables: bool = True
    stats: bool = True
    table: bool = True
    table_size_and_row_count: bool = True
    liked: bool = True
    permission: bool = True
    synchronization: bool = True
    uses_builder_features: bool = True
    user: bool = False
    related_canonical_visualizations: bool = False
    dependents: int = 0
    password: object = None


@dataclass(frozen=True, slots=True)
class RelatedObjects:
    """Objects related to datasets and maps, keyed by id or by the OID of the table."""

    maps: Mapping[str, list[Visualization]]
    datasets: Mapping[str, list[Visualization]]
    geometry_types: Mapping[int, list[str]]
    synchronizations: Mapping[int, dict[str, Any]]


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
        self._state, self._catalog = state, catalog
        self._base_url = base_url(state, request)
        self._users = UserSerializer(state, catalog, members, self._base_url)
        self._owner = owner

    def visualizations(self, visualizations: list[Visualization], parts: Parts = Parts()) -> list[dict[str, Any]]:
        """Serialize datasets and maps with the given parts."""
        related = self._load_related(visualizations, tables=parts.table or parts.related_tables)
        return [self._visualization(one, related, parts) for one in visualizations]

    def visualization(self, visualization: Visualization, parts: Parts = Parts()) -> dict[str, Any]:
        """Serialize a dataset or map with the given parts."""
        [serialized] = self.visualizations([visualization], parts)
        return serialized

    def user(self) -> dict[str, Any]:
        """Serialize the account's owner, for callers other than the owner without quotas and e-mail address."""
        return self._users.owner(db_size=False, business=False) if self._owner else self._users.public_owner()

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
        )

    def _synchronizations(self) -> dict[int, dict[str, Any]]:
        """Return the API representations of synchronizations, keyed by the OID of the table."""
        rows = sync_records.SyncRecords(self._state).all()
        return {row["table_oid"]: sync_records.serialize(row, self._state) for row in rows if row["table_oid"]}

    def _visualization(self, one: Visualization, related: RelatedObjects, parts: Parts) -> dict[str, Any]:
        """Serialize a dataset or map: in the private form for the owner, in the public form for others."""
        serialized = self._private_form(one, related, parts) if self._owner else _public_form(one)
        if parts.user:
            serialized["user"] = self.user()
        if parts.related_canonical_visualizations:
            datasets = related.datasets.get(one.id, [one] if one.is_dataset else [])
            serialized["related_canonical_visualizations"] = self.visualizations(self._visible(datasets))
            serialized["related_canonical_visualizations_count"] = len(datasets)
        if parts.dependents:
            maps = related.maps.get(one.id, [])
            serialized["dependent_visualizations_count"] = len(maps)
            serialized["dependent_visualizations"] = [
                self._summary(a_map, related) for a_map in self._visible(maps)[: parts.dependents]
            ]
        if parts.liked:
            serialized["liked"] = self._owner and one.is_liked
        if parts.permission:
            serialized["permission"] = self._permission(one)
        serialized["stats"] = self._stats() if parts.stats else {}
        if self._owner or one.is_accessible_to_all or one.is_password(parts.password):
            serialized["auth_tokens"] = self._auth_tokens(one, parts.password)
        if parts.table:
            serialized["table"] = self._table(one, related, parts) if one.is_dataset else {}
        return serialized

    def _private_form(self, one: Visualization, related: RelatedObjects, parts: Parts) -> dict[str, Any]:
        """Serialize a dataset or map for the owner of the account."""
        serialized = {
            **_public_form(one),
            "map_id": one.map_id,
            "active_layer_id": one.active_layer_id,
            "locked": one.locked,
            "external_source": {},
            "url": self._url(one),
            "version": one.version,
            "prev_id": None,
            "next_id": None,
            "parent_id": None,
            "transition_options": one.transition_options,
            "active_child": None,
            "children": [],
        }
        if parts.related_tables:
            every_part = Parts()
            serialized["related_tables"] = [
                self._table(table, related, every_part) for table in related.datasets.get(one.id, [])
            ]
        if parts.synchronization:
            serialized["synchronization"] = self._synchronization(one, related)
        if parts.uses_builder_features:
            serialized["uses_builder_features"] = one.version == BUILDER_VERSION or one.has_mapcap
        return serialized

    def _summary(self, one: Visualization, related: RelatedObjects) -> dict[str, Any]:
        """Serialize a map in a list of dependents."""
        permission = self._permission(one)
        return {
            "id": one.id,
            "name": one.name,
            "updated_at": format_datetime(one.updated_at),
            "permission": {name: permission[name] for name in ("id", "owner")},
            "auth_tokens": self._auth_tokens(one, None),
        }

    def _url(self, one: Visualization) -> str:
        """Return the URL of the page of a dataset or map."""
        path = {"table": f"tables/{one.name}", "kuviz": f"kuviz/{one.id}", "app": f"app/{one.id}"}
        return f"{self._base_url}/{path.get(one.type, f'viz/{one.id}/map')}"

    def _stats(self) -> dict[str, int]:
        """Return the views of the last 30 days. They are not counted."""
        today = self._state.clock.now().date()
        return {(today - timedelta(days=day)).isoformat(): 0 for day in reversed(range(_STATS_DAYS))}

    def _auth_tokens(self, one: Visualization, password: object) -> list[str]:
        """Return the tokens that the caller needs to instantiate the named map of a dataset or map."""
        if one.privacy == "password" and (self._owner or one.is_password(password)):
            return [auth_token(self._state, one)]
        return [auth_token(self._state, one)] if one.privacy == "private" and self._owner else []

    def _table(self, dataset: Visualization, related: RelatedObjects, parts: Parts) -> dict[str, Any]:
        """Serialize the table of a dataset as a part of a dataset or map, where the privacy "link" is "public"."""
        schema, name = dataset.table
        privacy = {"link": "PUBLIC", "password": "PRIVATE"}.get(dataset.privacy, dataset.privacy.upper())
        table: dict[str, Any] = {
            "id": dataset.table_id,
            "name": name if self._owner else f'"{schema}".{name}',
            "geometry_types": related.geometry_types.get(dataset.table_oid or 0, []),
            "privacy": privacy,
            "updated_at": format_datetime(dataset.table_updated_at),
        }
        if self._owner:
            table["synchronization"] = self._synchronization(dataset, related)
        if parts.table_size_and_row_count:
            table |= {"size": dataset.size, "row_count": dataset.row_count}
        if parts.permission:
            table["permission"] = self._permission(dataset)
        return table

    def _synchronization(self, one: Visualization, related: RelatedObjects) -> dict[str, Any] | None:
        """Return the synchronization of a table; None if it has none."""
        return related.synchronizations.get(one.table_oid) if one.table_oid is not None else None

    def _permission(self, one: Visualization) -> dict[str, Any]:
        """Serialize the permission of a dataset or map."""
        return self._users.permission(one, is_owner=self._owner)

    def _visible(self, found: Iterable[Visualization]) -> list[Visualization]:
        """Return the visualizations that the caller may see."""
        return [one for one in found if self._owner or one.is_accessible_to_all]


def _public_form(one: Visualization) -> dict[str, Any]:
    """Serialize the members of a dataset or map that all callers see."""
    return {
        "id": one.id,
        "name": one.name,
        "display_name": one.display_name,
        "attributions": one.attributions,
        "source": one.source,
        "license": one.license,
        "type": one.type,
        "tags": one.tags,
        "description": one.description,
        "created_at": format_datetime(one.created_at),
        "updated_at": format_datetime(one.updated_at),
        "title": one.title,
        "kind": one.kind,
        "privacy": one.privacy.upper(),
    }
