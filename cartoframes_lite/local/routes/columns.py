"""``/api/v1/tables/{table}/columns``: list, add, change and drop columns of the tables of datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import table_columns
from cartoframes_lite.local.catalog.column_types import TableColumn
from cartoframes_lite.local.catalog.table_columns import ColumnError
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import postgres_message
from cartoframes_lite.local.routes.tables import find_dataset, table_schema
from cartoframes_lite.local.state import State


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        return platform_response(table_schema(state, find_dataset(call, state, catalog)))

    def show(call: PlatformRequest) -> Response:
        name = call.request.path_params["name"]
        for column in table_schema(state, find_dataset(call, state, catalog)):
            if column[0] == name:
                return platform_response({"type": column[-1]})
        raise PlatformError(404, f"Column {name} doesn't exist")

    def create(call: PlatformRequest) -> Response:
        dataset = find_dataset(call, state, catalog)
        with _errors():
            name, column_type = (_required(call, parameter) for parameter in ("name", "type"))
            return platform_response(_serialize(table_columns.add(state, dataset.table, name, column_type)))

    def update(call: PlatformRequest) -> Response:
        dataset, name = find_dataset(call, state, catalog), call.request.path_params["name"]
        new_name, new_type = (str(call.parameters.get(parameter) or "") for parameter in ("new_name", "type"))
        with _errors():
            return platform_response(_serialize(table_columns.change(state, dataset.table, name, new_name, new_type)))

    def delete(call: PlatformRequest) -> Response:
        dataset = find_dataset(call, state, catalog)
        with _errors():
            table_columns.drop(state, dataset.table, call.request.path_params["name"])
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/tables/{id}/columns", GET=index, POST=create),
        *route(state, "/api/v1/tables/{id}/columns/{name}", GET=show, PUT=update, DELETE=delete),
    ]


@contextmanager
def _errors() -> Iterator[None]:
    """Return a context manager that converts errors of column changes to `PlatformError` (400)."""
    try:
        yield
    except ColumnError as error:
        raise PlatformError(400, [str(error)]) from error
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise PlatformError(400, [postgres_message(error)]) from error


def _required(call: PlatformRequest, parameter: str) -> str:
    """Return a parameter as text; raise ColumnError if it is missing."""
    value = call.parameters.get(parameter)
    if value is None or not str(value).strip():
        raise ColumnError(f"{parameter} can't be blank")
    return str(value)


def _serialize(column: TableColumn) -> dict[str, Any]:
    """Return the API representation of an added or changed column."""
    return {"name": column.name, "type": column.database_type, "cartodb_type": column.carto_type}
