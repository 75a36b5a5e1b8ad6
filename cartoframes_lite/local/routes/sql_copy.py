"""``/sql/copyfrom`` and ``/sql/copyto``: COPY streamed into and out of tables."""

from __future__ import annotations

import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import Authenticator, NotAuthenticatedError
from cartoframes_lite.local.http.request_bodies import body_parameters
from cartoframes_lite.local.http.responses import RequestError, StreamedResponse, error_response
from cartoframes_lite.local.postgres.errors import SQLError, UnexpectedCopyError
from cartoframes_lite.local.sql.copy import copy_statement, export_filename, stream_copy_from, stream_copy_to
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State

_PATH = "/api/{version:str}/sql"


def routes(authenticator: Authenticator, sessions: Sessions, state: State) -> list[Route]:
    """Return the routes of COPY."""

    async def copy_from(request: Request) -> Response:
        try:
            authenticated = authenticator.authenticate(request, "copyfrom")
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers)
        try:
            return await stream_copy_from(request, authenticated, sessions, state.plan, state.abandoned_upload_s)
        except (SQLError, RequestError, psycopg.OperationalError) as error:
            return error_response(error, headers=authenticated.headers)
        except UnexpectedCopyError:
            return error_response(RequestError("Connection terminated"), headers=authenticated.headers)

    async def copy_to(request: Request) -> Response:
        try:
            authenticated = authenticator.authenticate(request, "copyto", body=await body_parameters(request))
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers)
        except RequestError as error:
            return error_response(error)
        try:
            query = copy_statement(authenticated)
            filename = export_filename(authenticated.parameters.get("filename"))
        except RequestError as error:
            return error_response(error, headers=authenticated.headers)
        headers = {
            **authenticated.headers,
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename={filename}",
        }
        return StreamedResponse(stream_copy_to(authenticated, query, sessions), headers=headers)

    return [
        Route(f"{_PATH}/copyfrom", copy_from, methods=["POST"]),
        Route(f"{_PATH}/copyto", copy_to, methods=["GET", "POST"]),
    ]
