"""``/api/v1/imports``: submit imports of files, URLs, queries and connectors, and poll their state."""

from __future__ import annotations

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
    with_platform_headers,
)
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports.files import ImportRefused
from cartoframes_lite.local.imports.jobs import ImportJobs, TooManyImportsError
from cartoframes_lite.local.imports.multipart import UploadBody, read_upload
from cartoframes_lite.local.imports.parameters import no_slot_message, read_import_request
from cartoframes_lite.local.imports.requests import ImportRequest, InputFile
from cartoframes_lite.local.state import State

_PATH = "/api/v1/imports"
_TOO_BIG = 6666


def routes(state: State, imports: ImportJobs) -> list[Route]:
    """Return the routes, below the user's path."""

    async def create(request: Request) -> Response:
        return with_platform_headers(await _receive(request, imports, state), request)

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response({"imports": imports.recent(), "success": True})

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        try:
            return platform_response(imports.find(call.request.path_params["id"]))
        except LookupError:
            raise PlatformError(404, "Import not found") from None

    return [
        *(Route(_PATH + end, create, methods=["POST"]) for end in ("", "/")),
        *route(state, _PATH, jsonp=False, GET=index),
        *route(state, _PATH + "/{id}", jsonp=False, GET=show),
    ]


async def _receive(request: Request, imports: ImportJobs, state: State) -> Response:
    """Receive an import request with its upload."""
    received = UploadBody()
    try:
        reject_wrong_key(PlatformRequest(request, {}, state))
        received = await read_upload(request, state.directory, state.plan.file_bytes)
        call = PlatformRequest(request, received.parameters, state)
        return await run_in_threadpool(_create, call, received, imports, state)
    except RequestError as error:
        received.discard()
        return error_response(error.status, error.message)
    except PlatformError as error:
        received.discard()
        return error_response(error.status, error.message)
    except psycopg.DataError as error:  # NUL character in a string
        return error_response(400, str(error))


def reject_wrong_key(call: PlatformRequest) -> None:
    """Reject a request whose URL or headers have another key than the master key before reading the body."""
    if call.has_key:
        call.require_master()


def error_response(status: int, message: Any) -> Response:
    """Return the error response of the Import API."""
    return (
        Response(status_code=status) if message is None else platform_response({"errors": {"imports": message}}, status)
    )


def _create(call: PlatformRequest, received: UploadBody, imports: ImportJobs, state: State) -> Response:
    """Queue an import."""
    call.require_master()
    input_file = None if received.path is None else InputFile(received.path, received.name)
    import_request = read_import_request(call.parameters, state, input_file)
    if received.too_big:
        error = ImportRefused(_TOO_BIG, f"the file is larger than {state.plan.file_bytes} bytes")
        import_request = ImportRequest(data_type="file", input_file=input_file, error=error)
    try:
        import_id = imports.submit(import_request)
    except TooManyImportsError:
        raise PlatformError(429, no_slot_message(state)) from None
    return platform_response({"item_queue_id": import_id, "success": True})
