"""``/api/v1/tables``: the tables of datasets. As in CARTO, this API has no index."""

from __future__ import annotations

from typing import Any

import psycopg
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import blank_tables, column_types, dataset_tables
from cartoframes_lite.local.catalog.account import usage
from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.table_details import TableDetails
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import postgres_message
from cartoframes_lite.local.serializers import Parts, Serializer, format_datetime
from cartoframes_lite.local.state import State

_ALL = 2**31
_PRIVACIES = ("private", "public", "link")  # by number


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""
    details = TableDetails(state)

    def serialize(call: PlatformRequest, dataset: Visualization, kind: str | None = None) -> dict[str, Any]:
        serializer = Serializer(state, catalog, members, call.request, owner=True)
        schema = table_schema(state, dataset, kind)
        return {
            **_serialize(serializer, catalog, dataset),
            "schema": schema,
            "description": details.description(dataset),
        }

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        if usage(catalog).tables >= state.plan.tables:
            raise PlatformError(400, ["You have reached your table quota"])
        kind = _geometry_kind(call)
        name, description, tags, columns = (_text(call, part) for part in ("name", "description", "tags", "schema"))
        try:
            created = blank_tables.create(state, name or "", columns)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise _invalid(postgres_message(error)) from error
        dataset = catalog.find_by_table(created)
        details.set(dataset, {"description": description, "tags": tags})
        catalog.update_details(dataset.id, {"description": description, "tags": _split(tags)})
        response = platform_response(serialize(call, catalog.find(dataset.id), kind))
        response.headers["Location"] = f"/tables/{dataset.table_id}"
        return response

    def show(call: PlatformRequest) -> Response:
        return platform_response(serialize(call, find_dataset(call, state, catalog)))

    def update(call: PlatformRequest) -> Response:
        dataset = find_dataset(call, state, catalog)
        latitude, longitude = (_text(call, f"{axis}_column") for axis in ("latitude", "longitude"))
        if {"latitude_column", "longitude_column"} <= call.parameters.keys():
            _set_points(state, dataset, latitude, longitude)
        else:
            privacy = _privacy(state, call)
            given = {"description", "tags"} & call.parameters.keys()
            details.set(dataset, {name: _text(call, name) for name in given})
            if privacy is not None and privacy != dataset.privacy:
                catalog.set_privacy(dataset.id, privacy)
        return platform_response({**serialize(call, catalog.find(dataset.id)), "warnings": []})

    return [
        *route(state, "/api/v1/tables", POST=create),
        *route(state, "/api/v1/tables/{id}", GET=show, PUT=update),
    ]


def _serialize(serializer: Serializer, catalog: Catalog, dataset: Visualization) -> dict[str, Any]:
    """Return the API representation of a dataset's table, without its schema and description."""
    shown = serializer.visualization(dataset, Parts(dependents=_ALL))
    maps = shown.pop("dependent_visualizations")
    del shown["dependent_visualizations_count"]
    datasets = catalog.datasets_by_map([one["id"] for one in maps])
    return {
        "id": dataset.table_id,
        "name": dataset.name,
        "privacy": "PRIVATE" if dataset.privacy == "password" else dataset.privacy.upper(),
        "updated_at": format_datetime(dataset.table_updated_at),
        "rows_counted": dataset.row_count,
        "table_size": dataset.size,
        "map_id": dataset.map_id,
        "geometry_types": shown["table"]["geometry_types"],
        "table_visualization": shown,
        "dependent_visualizations": [one for one in maps if len(datasets.get(one["id"], [])) == 1],
        "non_dependent_visualizations": [one for one in maps if len(datasets.get(one["id"], [])) > 1],
        "synchronization": shown["synchronization"],
    }


def find_dataset(call: PlatformRequest, state: State, catalog: Catalog) -> Visualization:
    """Return the dataset of the path parameter ``id``: a table's name, ``schema.name`` or id, not that of the dataset.

    Raises
    ------
    PlatformError
        401 without the master key, 404 if there is no such table.
    """
    call.require_master()
    id_or_name = call.request.path_params["id"].removeprefix(f"{state.user}.")
    try:
        found = catalog.find_by_table(id_or_name)
    except LookupError:
        raise PlatformError(404) from None
    if id_or_name == found.id:
        raise PlatformError(404)
    return found


def table_schema(state: State, dataset: Visualization, kind: str | None = None) -> list[list[str]]:
    """Return the columns of a dataset's table as in the API.

    Parameters
    ----------
    state : State
    dataset : Visualization
    kind : str, optional
        Kind of the geometry. None means the kind of its first values.
    """
    assert dataset.table_oid is not None  # set for datasets
    with state.admin() as connection:
        found = column_types.columns(connection, dataset.table_oid)
        geometry = dataset_tables.geometry_tables(connection, state.owner_role, [dataset.table_oid])
    if kind is None:
        kind = column_types.geometry_kind(dataset_tables.geometry_types(state, geometry).get(dataset.table_oid, []))
    return column_types.schema(found, kind)


def _set_points(state: State, dataset: Visualization, latitude: str | None, longitude: str | None) -> None:
    """Set point geometries from two columns; raise PlatformError (400) if they are missing."""
    if not latitude or not longitude or "nil" in (latitude, longitude):
        raise PlatformError(400, ["InvalidArgument"])
    try:
        blank_tables.set_points(state, dataset.table, latitude, longitude)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise PlatformError(400, [postgres_message(error)]) from error


def _privacy(state: State, call: PlatformRequest) -> str | None:
    """Return the privacy with the requested number, None without one; raise PlatformError (400) for other numbers."""
    value = call.parameters.get("privacy")
    if value is None:
        return None
    if isinstance(value, bool) or str(value) not in ("0", "1", "2"):
        raise PlatformError(400, ["Privacy is not included in the list"])
    privacy = _PRIVACIES[int(value)]
    if privacy != "public" and not state.plan.private_datasets:
        raise PlatformError(400, ["Privacy unauthorized to create private tables"])
    return privacy


def _geometry_kind(call: PlatformRequest) -> str | None:
    """Return the requested kind of geometry of a new table; raise PlatformError (400) if CARTO does not support it."""
    name = _text(call, "the_geom_type")
    try:
        return blank_tables.geometry_kind(name) if name else None
    except ValueError as error:
        raise _invalid(str(error)) from error


def _text(call: PlatformRequest, name: str) -> str | None:
    """Return a parameter as text; None if it is missing."""
    value = call.parameters.get(name)
    return None if value is None else str(value)


def _split(tags: str | None) -> list[str]:
    """Split a list of tags."""
    return tags.split(",") if tags else []


def _invalid(message: str) -> PlatformError:
    """Return the error for a table that cannot be created."""
    return PlatformError(400, [message], name="description", stack=[message])
