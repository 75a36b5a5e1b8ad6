"""``/sql``: run a query, with the result as JSON or in another format."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import AuthenticatedRequest, Authenticator, NotAuthenticatedError
from cartoframes_lite.local.http.request_bodies import body_parameters
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError, StreamedResponse, error_response
from cartoframes_lite.local.sql.formats import FORMATS
from cartoframes_lite.local.sql.gdal_formats import ExportOptions
from cartoframes_lite.local.sql.json_result import json_blocks
from cartoframes_lite.local.sql.query import QueryRequest
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.sql.statements import without_semicolon
from cartoframes_lite.local.sql.system_tables import reject_system_tables

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CARTO_VERSION = "6.0.0"  # version of CARTO's SQL API that this server implements
_VERSION = "/api/{version:str}"


def routes(authenticator: Authenticator, sessions: Sessions) -> list[Route]:
    """Return the routes of queries, of the version and of the health check."""

    async def query(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response()
        callback = request.query_params.get("callback", "")
        try:
            authenticated = authenticator.authenticate(request, "query", body=await body_parameters(request))
        except NotAuthenticatedError as rejected:
            return error_response(rejected.reason, headers=rejected.headers, callback=callback)
        except RequestError as error:
            return error_response(error, callback=callback)
        if suffix := request.path_params.get("format"):
            authenticated.parameters.setdefault("format", suffix)
        try:
            query_request = QueryRequest.of(authenticated.parameters)
        except RequestError as error:
            return error_response(error, headers=authenticated.headers, callback=callback)
        return _query_response(authenticated, query_request, sessions, callback)

    async def options(request: Request) -> Response:
        return Response()

    async def version(request: Request) -> Response:
        return JSONResponse({"cartodb_sql_api": CARTO_VERSION}, headers={"Content-Type": JSON_TYPE})

    async def health(request: Request) -> Response:
        return JSONResponse({"enabled": False, "ok": True}, headers={"Content-Type": JSON_TYPE})

    return [
        Route(f"{_VERSION}/sql", query, methods=METHODS),
        Route(f"{_VERSION}/sql.{{format:str}}", query, methods=METHODS),
        Route(f"{_VERSION}/sql/{{rest:path}}", options, methods=["OPTIONS"]),
        Route(f"{_VERSION}/version", version),
        Route(f"{_VERSION}/health", health),
    ]


def _query_response(
    authenticated: AuthenticatedRequest, query: QueryRequest, sessions: Sessions, error_callback: str
) -> Response:
    """Build the response to a query. ``error_callback`` is the JSONP callback of the query string, not of the body."""
    if query.format == "json":
        blocks = json_blocks(authenticated, query, sessions)
        headers = query.headers(JSON_TYPE, "json")
    else:
        output_format = FORMATS[query.format]
        export = ExportOptions(without_semicolon(query.sql), query.skip, query.decimals, query.filename, query.callback)
        blocks = output_format.blocks(sessions, authenticated.key.role, export)
        headers = query.headers(output_format.content_type, output_format.extension)
    if authenticated.key.kind != "master":
        blocks = _without_system_tables(authenticated, query, sessions, blocks)
    return StreamedResponse(blocks, headers={**authenticated.headers, **headers}, callback=error_callback)


async def _without_system_tables(
    authenticated: AuthenticatedRequest, query: QueryRequest, sessions: Sessions, blocks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of a response; raise RequestError first if the query reads system tables."""
    async with aclosing(blocks):
        async with sessions.open(authenticated.key.role) as session:
            await reject_system_tables(session, query.text)
        async for block in blocks:
            yield block
