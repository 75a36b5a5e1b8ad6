"""``/api/v1/imports``: bring in a file, a URL, a query or a table of another database, and see how it goes."""

from __future__ import annotations

from typing import Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.imports.files import ImportRefused
from cartoframes_lite.local.imports.jobs import ImportJobs, TooManyImportsError
from cartoframes_lite.local.imports.multipart import ReceivedFile, receive_file
from cartoframes_lite.local.imports.parameters import no_slot_message, read_import_request
from cartoframes_lite.local.imports.requests import ImportRequest, NamedFile
from cartoframes_lite.local.state import State

_PATH = "/api/v1/imports"
_TOO_BIG = 6666


def routes(state: State, imports: ImportJobs) -> list[Route]:
    """Return the routes, below the user's path."""

    async def create(request: Request) -> Response:
        received = ReceivedFile()
        try:
            refuse_others(PlatformRequest(request, {}, state))
            received = await receive_file(request, state.directory, state.plan.file_bytes)
            return await run_in_threadpool(
                _create, PlatformRequest(request, received.parameters, state), received, imports, state
            )
        except RequestError as error:
            received.discard()
            return refusal(error.status, error.message)
        except PlatformError as error:
            received.discard()
            return refusal(error.status, error.message)
        except psycopg.DataError as error:  # NUL in a text
            return refusal(400, str(error))

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
        *route(state, _PATH, GET=index),
        *route(state, _PATH + "/{id}", GET=show),
    ]


def refuse_others(call: PlatformRequest) -> None:
    """Refuse, before its body is read, a request whose head names a key that is not the master key."""
    if call.key.kind == "regular":
        raise PlatformError(401)


def refusal(status: int, message: Any) -> Response:
    """Return the answer to a request for an import that is refused."""
    return (
        Response(status_code=status) if message is None else platform_response({"errors": {"imports": message}}, status)
    )


def _create(call: PlatformRequest, received: ReceivedFile, imports: ImportJobs, state: State) -> Response:
    """Queue the import that a request asks for."""
    call.require_master()
    document = None if received.path is None else NamedFile(received.path, received.name)
    order = read_import_request(call.parameters, state, document)
    if received.too_big:
        refused = ImportRefused(_TOO_BIG, f"the file has more than {state.plan.file_bytes} bytes")
        order = ImportRequest(data_type="file", document=document, refusal=refused)
    try:
        identity = imports.add(order)
    except TooManyImportsError:
        raise PlatformError(429, no_slot_message(state)) from None
    return platform_response({"item_queue_id": identity, "success": True})
