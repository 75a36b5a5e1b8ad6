"""``/sql``: run a query, with the result as JSON or in another format."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import Authenticator, NotAuthenticatedError
from cartoframes_lite.local.http.request_bodies import body_parameters
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError, StreamedResponse, error_response
from cartoframes_lite.local.sql.query import QueryRequest
from cartoframes_lite.local.sql.query_result import run_query
from cartoframes_lite.local.sql.sessions import Sessions

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
        result = run_query(query_request, authenticated.key, sessions)
        # `callback` is that of the query string, for errors only: the result has that of the query request.
        return StreamedResponse(result.blocks, headers={**authenticated.headers, **result.headers}, callback=callback)

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
