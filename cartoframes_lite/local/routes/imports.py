"""``/api/v1/imports``: submit imports of files, URLs, queries and connectors, and poll their state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.platform import (
    PlatformError,
    PlatformRequest,
    platform_response,
    route,
    with_callback,
    with_platform_headers,
)
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.jobs import ImportJobs, TooManyImportsError
from cartoframes_lite.local.imports.multipart import UploadBody, read_upload
from cartoframes_lite.local.imports.parameters import no_slot_message, read_import_request
from cartoframes_lite.local.imports.requests import InputFile
from cartoframes_lite.local.state import State

_PATH = "/api/v1/imports"
_TOO_BIG = 6666


def routes(state: State, imports: ImportJobs) -> list[Route]:
    """Return the routes, below the user's path."""

    async def create(request: Request) -> Response:
        response = await _receive(request, imports, state)
        return with_platform_headers(with_callback(response, request.query_params.get("callback")), request)

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response({"imports": imports.unfinished(), "success": True})

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        try:
            return platform_response(imports.find(call.request.path_params["id"]))
        except LookupError:
            raise PlatformError(404) from None

    return [
        *(Route(_PATH + end, create, methods=["POST"]) for end in ("", "/")),
        *route(state, _PATH, jsonp=False, GET=index),
        *route(state, _PATH + "/{id}", jsonp=False, GET=show),
    ]


async def _receive(request: Request, imports: ImportJobs, state: State) -> Response:
    """Receive an import request with its upload."""
    received = UploadBody()
    try:
        _reject_wrong_key(PlatformRequest(request, {}, state))
        received = await read_upload(request, state.directory, state.plan.file_bytes)
        call = PlatformRequest(request, received.parameters, state)
        return await run_in_threadpool(_create, call, received, imports, state)
    except (RequestError, PlatformError) as error:
        received.discard()
        if error.message is None:
            return Response(status_code=error.status)
        return _error_response(error.status, error.message)
    except TooManyImportsError:
        received.discard()
        return _error_response(429, no_slot_message(state))
    except psycopg.DataError as error:  # NUL character in a string
        received.discard()
        return _error_response(400, str(error))


def _reject_wrong_key(call: PlatformRequest) -> None:
    """Reject a request whose URL or headers have another key than the master key before reading the body."""
    if call.has_key:
        call.require_master()


def _error_response(status: int, message: Any) -> Response:
    """Return the error response of the Import API."""
    return platform_response({"errors": {"imports": message}}, status)


def _create(call: PlatformRequest, received: UploadBody, imports: ImportJobs, state: State) -> Response:
    """Queue an import."""
    call.require_master()
    imports.require_room()  # before the parameters are checked, as in CARTO
    input_file = None if received.path is None else InputFile(received.path, received.name.replace(" ", "_"))
    import_request = read_import_request(call.parameters, state, input_file)
    if import_request.input_file is None:
        received.discard()
    elif received.too_big:
        error = ImportJobError(_TOO_BIG, f"the file is larger than {state.plan.file_bytes} bytes")
        import_request = replace(import_request, error=error)
    return platform_response({"item_queue_id": imports.submit(import_request), "success": True})
