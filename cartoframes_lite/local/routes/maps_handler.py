"""Common parts of the routes of the Maps API: request parsing, authentication, and JSON and error responses."""

from __future__ import annotations

import json
import lzma
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import query_parameters
from cartoframes_lite.local.http.request_bodies import Parameters, held_bytes
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError, safe_callback
from cartoframes_lite.local.maps.authentication import MapsAuthenticator, MapsRequest
from cartoframes_lite.local.maps.error_tile import error_tile
from cartoframes_lite.local.maps.errors import MapError, error_status
from cartoframes_lite.local.maps.json_input import MAX_BYTES, JSONInputError, parse_json
from cartoframes_lite.local.postgres.errors import SQLError

PREFIX = "/api/v1/map"
VECTOR_TYPE = "application/x-protobuf"
_MAX_UNPACKED_BYTES = 1024 * 1024
_MAX_DRAINED_BYTES = 64 * 1024 * 1024  # of a body over the limit; clients read the response only after sending the body
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, X-Prototype-Version, X-CSRF-Token, Authorization, Content-Type, If-None-Match"
    ),
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Vary": "Authorization",
    "Cache-Control": "no-cache",
}
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
            maps_request.body = await _read_body(request)
            maps_request.query.update(_lzma_parameters(maps_request.query))
            self._authenticator.authenticate(maps_request)
            self._authenticator.count(maps_request, kind)
            response = await handler(maps_request)
        except _HANDLED_ERRORS as error:
            response = _error_response(request, error)
        for name, value in {**_CORS_HEADERS, **maps_request.headers}.items():
            response.headers.setdefault(name, value)
        return response


def json_response(maps_request: MapsRequest, content: Any) -> Response:
    """Return a JSON response, or JSONP if the request has a callback."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _text_response(body, 200, str(maps_request.query.get("callback") or ""))


def require_json(maps_request: MapsRequest, subject: str = "POST data") -> None:
    """Raise MapError if the content type of a POST or PUT request is not JSON."""
    if maps_request.request.method in ("POST", "PUT") and not _is_json(maps_request.request):
        raise MapError(f"{subject} must be of type application/json")


def base_url(maps_request: MapsRequest, user: str) -> str:
    """Return the base URL of the user, with the host of the request."""
    return f"{maps_request.request.url.scheme}://{maps_request.request.url.netloc}/user/{user}"


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a blocking function in a worker thread."""
    return await run_in_threadpool(function, *arguments)


def _text_response(body: str, status: int, callback: str) -> Response:
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


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read_body(request: Request) -> Any:
    """Parse a JSON body; None if it is empty or of another content type."""
    body = await _receive_body(request)
    if not _is_json(request) or not body.strip():
        return None
    try:
        return parse_json(body)
    except JSONInputError as error:
        raise MapError(f"SyntaxError: {error}", status=400, kind="entity.parse.failed") from None


async def _receive_body(request: Request) -> bytes:
    """Receive the body; raise MapError if it exceeds the limit, without keeping the rest in memory."""
    body, size = bytearray(), 0
    async with held_bytes(request).arriving():
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MAX_BYTES:
                body += chunk
            elif size > _MAX_DRAINED_BYTES:
                break
    if size > MAX_BYTES:
        raise MapError("request entity too large", status=400, kind="entity.too.large")
    return bytes(body)


def _lzma_parameters(query: Mapping[str, Any]) -> Parameters:
    """Decode the parameters that are compressed in the parameter ``lzma``."""
    compressed = query.get("lzma")
    if not compressed:
        return {}
    with suppress(ValueError, lzma.LZMAError, EOFError):
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 26)
        text = decompressor.decompress(b64decode(str(compressed).replace(" ", "+")), _MAX_UNPACKED_BYTES)
        content = parse_json(text)
        if isinstance(content, Mapping):
            return dict(content)
    raise MapError("Error decoding lzma parameter")
