"""What the routes of the Maps API have in common: how requests come in and answers and errors go out."""

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
from cartoframes_lite.local.maps.json_input import MOST_BYTES, JSONInputError, parse_json
from cartoframes_lite.local.postgres.session import SQLError

PREFIX = "/api/v1/map"
VECTOR_TYPE = "application/x-protobuf"
_MOST_UNPACKED_BYTES = 1024 * 1024
_MOST_DRAINED_BYTES = 64 * 1024 * 1024  # of a body that is refused: its sender reads the answer when all is sent
_OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, X-Prototype-Version, X-CSRF-Token, Authorization, Content-Type, If-None-Match"
    ),
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Vary": "Authorization",
    "Cache-Control": "no-cache",
}
_REFUSALS = (MapError, SQLError, RequestError, psycopg.OperationalError, psycopg.DataError, UnicodeError)

Handler = Callable[[MapsRequest], Awaitable[Response]]


class MapsHandler:
    """Makes routes of the Maps API.

    Parameters
    ----------
    door : MapsAuthenticator
    """

    def __init__(self, authenticator: MapsAuthenticator) -> None:
        self._authenticator = authenticator

    def route(self, path: str, **handlers: tuple[str, Handler]) -> Route:
        """Make the route of a path.

        Parameters
        ----------
        path : str
            Below ``/api/v1/map``, as Starlette writes it.
        **handlers : tuple of (str, callable)
            By HTTP method: kind of endpoint for the rate limit, and what answers.
        """

        async def endpoint(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(headers=_OPEN)
            kind, handler = handlers.get(request.method) or handlers["GET"]
            return await self._answer(request, kind, handler)

        return Route(PREFIX + path, endpoint, methods=[*handlers, "OPTIONS"])

    async def _answer(self, request: Request, kind: str, handler: Handler) -> Response:
        """Let a request in, and answer it."""
        visit = MapsRequest(request, query_parameters(request))
        try:
            visit.body = await _read_body(request)
            visit.query.update(_unpacked(visit.query))
            self._authenticator.authenticate(visit)
            self._authenticator.count(visit, kind)
            response = await handler(visit)
        except _REFUSALS as error:
            response = _failure(request, error)
        for name, value in {**_OPEN, **visit.headers}.items():
            response.headers.setdefault(name, value)
        return response


def answered(maps_request: MapsRequest, content: Any) -> Response:
    """Build a JSON answer, as JSONP if the request wants that."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return _text(body, 200, str(maps_request.query.get("callback") or ""))


def require_json(maps_request: MapsRequest, what: str = "POST data") -> None:
    """Refuse a body that is not said to be JSON."""
    if maps_request.request.method in ("POST", "PUT") and not _is_json(maps_request.request):
        raise MapError(f"{what} must be of type application/json")


def base_url(maps_request: MapsRequest, user: str) -> str:
    """Return the URL of the user, as the client reached this server."""
    return f"{maps_request.request.url.scheme}://{maps_request.request.url.netloc}/user/{user}"


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what waits for PostgreSQL in a worker thread."""
    return await run_in_threadpool(function, *arguments)


def _text(body: str, status: int, callback: str) -> Response:
    if name := safe_callback(callback):
        script = f"/**/ typeof {name} === 'function' && {name}({body});"
        return Response(script.encode("utf-8", "replace"), 200, {"Content-Type": "text/javascript; charset=utf-8"})
    return Response(body.encode("utf-8", "replace"), status, {"Content-Type": JSON_TYPE})


def _failure(request: Request, error: Exception) -> Response:
    """Build the response to an error; a vector tile over the limits is a tile that says so."""
    status, members = error_status(error)
    if status == 429 and request.url.path.endswith(".mvt"):
        return Response(error_tile(), status, {"Content-Type": VECTOR_TYPE})
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return _text(body, status, request.query_params.get("callback", ""))


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def _read_body(request: Request) -> Any:
    """Decode a JSON body; None for another or none."""
    body = await _receive_body(request)
    if not _is_json(request) or not body.strip():
        return None
    try:
        return parse_json(body)
    except JSONInputError as error:
        raise MapError(f"SyntaxError: {error}", status=400, kind="entity.parse.failed") from None


async def _receive_body(request: Request) -> bytes:
    """Return the body, of which no more is kept than is allowed; raise MapError if there is more."""
    body, size = bytearray(), 0
    async with held_bytes(request).arriving():
        async for chunk in request.stream():
            size += len(chunk)
            if size <= MOST_BYTES:
                body += chunk
            elif size > _MOST_DRAINED_BYTES:
                break
    if size > MOST_BYTES:
        raise MapError("request entity too large", status=400, kind="entity.too.large")
    return bytes(body)


def _unpacked(query: Mapping[str, Any]) -> Parameters:
    """Return the parameters that come compressed in one, ``lzma``."""
    packed = query.get("lzma")
    if not packed:
        return {}
    with suppress(ValueError, lzma.LZMAError, EOFError):
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 26)
        text = unpacker.decompress(b64decode(str(packed).replace(" ", "+")), _MOST_UNPACKED_BYTES)
        content = parse_json(text)
        if isinstance(content, Mapping):
            return dict(content)
    raise MapError("Error decoding lzma parameter")
