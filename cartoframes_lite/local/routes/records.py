"""``/api/v1/tables/{table}/records``: read, insert, update and delete single rows. Rows are not listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.records import InvalidColumnsError, InvalidGeometryError, Records
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import postgres_message
from cartoframes_lite.local.routes.tables import find_dataset
from cartoframes_lite.local.state import State

# Parameters that are not columns.
_RESERVED_PARAMETERS = """
    action api_key callback column_id controller format oauth_token oauth_token_secret requestId row_id table_id
    user_domain
"""
_RESERVED = frozenset(_RESERVED_PARAMETERS.split())


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""

    def records(call: PlatformRequest) -> Records:
        dataset = find_dataset(call, state, catalog)
        assert dataset.table_oid is not None  # set for datasets
        return Records(state, dataset.table_oid, *dataset.table)

    def show(call: PlatformRequest) -> Response:
        row_id = call.request.path_params["cartodb_id"]
        try:
            return platform_response(records(call).find(row_id))
        except (LookupError, psycopg.ProgrammingError):  # also: a table without cartodb_id
            raise PlatformError(404, [f"Record {row_id} not found"]) from None

    def create(call: PlatformRequest) -> Response:
        rows = records(call)
        return _change(lambda: rows.insert(_values(call)))

    def update(call: PlatformRequest) -> Response:
        rows, row_id = records(call), call.request.path_params["cartodb_id"]
        values = _values(call)
        values.pop("cartodb_id", None)
        try:
            return _change(lambda: rows.update(row_id, values))
        except LookupError:
            raise _not_found(row_id) from None

    def delete(call: PlatformRequest) -> Response:
        row_id = call.request.path_params["cartodb_id"]
        try:
            records(call).delete(row_id)
        except (LookupError, psycopg.ProgrammingError):  # as in `show`
            raise _not_found(row_id) from None
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/tables/{id}/records", POST=create),
        *route(state, "/api/v1/tables/{id}/records/{cartodb_id}", GET=show, PUT=update, DELETE=delete),
    ]


def _values(call: PlatformRequest) -> dict[str, Any]:
    """Return the values of a row, by column, from all parameters of a request."""
    return {name: value for name, value in call.parameters.items() if name not in _RESERVED}


def _change(change: Callable[[], dict[str, Any]]) -> Response:
    """Call a function that writes a row and respond with the row; raise PlatformError (400) for rejected values."""
    try:
        return platform_response(change())
    except InvalidColumnsError:
        raise PlatformError(400, ["CartoDB::InvalidAttributes"]) from None
    except InvalidGeometryError as error:
        raise PlatformError(400, [f"Invalid geometry: {error}"]) from error
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise PlatformError(400, [postgres_message(error)]) from error


def _not_found(row_id: str) -> PlatformError:
    """Return the error for a row that does not exist."""
    return PlatformError(404, [f"row identified with {row_id} not found"])
