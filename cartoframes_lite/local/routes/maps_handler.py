"""Common parts of the routes of the Maps API: authentication, and JSON and error responses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import query_parameters
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError, safe_callback
from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.error_tile import error_tile
from cartoframes_lite.local.maps.errors import MapError, error_status
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.tile_requests import VECTOR_TYPE
from cartoframes_lite.local.postgres.errors import SQLError

PREFIX = "/api/v1/map"
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, X-Prototype-Version, X-CSRF-Token, Authorization, Content-Type, If-None-Match"
    ),
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Vary": "Authorization",
    "Cache-Control": "no-cache",
}
_RAW_CORS_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _CORS_HEADERS.items()]
_HANDLED_ERRORS = (MapError, SQLError, RequestError, psycopg.OperationalError, psycopg.DataError, UnicodeError)

Handler = Callable[[MapsRequest], Awaitable[Response]]


class MapsHandler:
    """Create routes of the Maps API.

    Parameters
    ----------
    authenticator : MapsAuthenticator
    """

    def __init__(self, authenticator: MapsAuthenticator) -> None:
        self._authenticator = authenticator

    def route(self, path: str, **handlers: tuple[str, Handler]) -> Route:
        """Return the route of a path.

        Parameters
        ----------
        path : str
            Path below ``/api/v1/map``, in the syntax of Starlette.
        **handlers : tuple of (str, callable)
            By HTTP method: kind of endpoint for the rate limit, and handler.
        """

        async def endpoint(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(headers=_CORS_HEADERS)
            kind, handler = handlers.get(request.method) or handlers["GET"]
            return await self._handle(request, kind, handler)

        return Route(PREFIX + path, endpoint, methods=[*handlers, "OPTIONS"])

    async def _handle(self, request: Request, kind: str, handler: Handler) -> Response:
        """Authenticate a request and return the response."""
        maps_request = MapsRequest(request, query_parameters(request))
        try:
            await maps_request.receive()
            self._authenticator.authenticate(maps_request)
            self._authenticator.count(maps_request, kind)
            response = await handler(maps_request)
        except _HANDLED_ERRORS as error:
            response = _error_response(request, error)
        present = {name for name, _ in response.raw_headers}
        rate_limit = [(name.lower().encode(), value.encode()) for name, value in maps_request.headers.items()]
        response.raw_headers += [pair for pair in (*_RAW_CORS_HEADERS, *rate_limit) if pair[0] not in present]
        return response


def json_response(maps_request: MapsRequest, content: Any) -> Response:
    """Return a JSON response, or JSONP if the request has a callback."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _text_response(body, 200, str(maps_request.query.get("callback") or ""))


def _text_response(body: str, status: int, callback: str) -> Response:
    """Return a response with a JSON text, or JSONP with a callback."""
    if name := safe_callback(callback):
        script = f"/**/ typeof {name} === 'function' && {name}({body});"
        return Response(script.encode("utf-8", "replace"), 200, {"Content-Type": "text/javascript; charset=utf-8"})
    return Response(body.encode("utf-8", "replace"), status, {"Content-Type": JSON_TYPE})


def _error_response(request: Request, error: Exception) -> Response:
    """Return the response to an error; for a vector tile over the limits, the error tile."""
    status, members = error_status(error)
    if status == 429 and request.url.path.endswith(".mvt"):
        return Response(error_tile(), status, {"Content-Type": VECTOR_TYPE})
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return _text_response(body, status, request.query_params.get("callback", ""))
