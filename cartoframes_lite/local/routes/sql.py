"""``/sql``: queries, answered as JSON or in another format."""

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
from cartoframes_lite.local.sql.system_tables import refuse_system_tables

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CARTO_VERSION = "6.0.0"  # of the SQL API whose behavior this server has
_VERSION = "/api/{version:str}"


def routes(authenticator: Authenticator, sessions: Sessions) -> list[Route]:
    """Return the routes of queries, version and health."""

    async def query(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response()
        callback = request.query_params.get("callback", "")
        try:
            caller = authenticator.authenticate(request, "query", body=await body_parameters(request))
        except NotAuthenticatedError as refused:
            return error_response(refused.reason, headers=refused.headers, callback=callback)
        except RequestError as error:
            return error_response(error, callback=callback)
        if suffix := request.path_params.get("format"):
            caller.parameters.setdefault("format", suffix)
        try:
            asked = QueryRequest.of(caller.parameters)
        except RequestError as error:
            return error_response(error, headers=caller.headers, callback=callback)
        return _answer(caller, asked, sessions, callback)

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


def _answer(caller: AuthenticatedRequest, asked: QueryRequest, sessions: Sessions, error_callback: str) -> Response:
    """Build the response to a query. Errors take the callback of the query string only."""
    if asked.format == "json":
        blocks = json_blocks(caller, asked, sessions)
        headers = asked.headers(JSON_TYPE, "json")
    else:
        chosen = FORMATS[asked.format]
        export = ExportOptions(without_semicolon(asked.sql), asked.skip, asked.decimals, asked.filename, asked.callback)
        blocks = chosen.blocks(sessions, caller.key.role, export)
        headers = asked.headers(chosen.content_type, chosen.extension)
    if caller.key.kind != "master":
        blocks = _checked(caller, asked, sessions, blocks)
    return StreamedResponse(blocks, headers={**caller.headers, **headers}, callback=error_callback)


async def _checked(
    caller: AuthenticatedRequest, asked: QueryRequest, sessions: Sessions, blocks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    """Yield the blocks of an answer if the query reads no system tables."""
    async with aclosing(blocks):
        async with sessions.open(caller.key.role) as session:
            await refuse_system_tables(session, asked.text)
        async for block in blocks:
            yield block
