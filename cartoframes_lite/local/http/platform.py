"""Requests, errors and routes of CARTO's platform APIs: all endpoints except the SQL and Maps APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import basic_credentials
from cartoframes_lite.local.http.request_bodies import Parameters, body_parameters, replace_surrogates
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError
from cartoframes_lite.local.state import Key, State

FORBIDDEN = "You don't have permission to access that resource"
UNKNOWN_USER_KEY = "cartoframes_lite.unknown_user"  # ASGI scope key: whether the path names another user
ORIGINAL_PATH_KEY = "cartoframes_lite.original_path"  # ASGI scope key of the path that still contains the user
_CALLBACK = re.compile(r"[$a-z_][0-9a-z_$]*", re.IGNORECASE | re.ASCII)
_SECURITY_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "X-Content-Type-Options": "nosniff",
}
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}


class PlatformError(Exception):
    """The request fails with an HTTP status and, where CARTO's response has one, a message.

    Parameters
    ----------
    status : int
    message : str, list of str or dict, optional
        None means an empty response body.
    name : str, optional
        Member of the response that contains the message: "errors", or "error" for some of CARTO's endpoints. None
        means that the message is the whole body: a list as JSON, a string as it is.
    **members
        Other members of the response.
    """

    def __init__(
        self,
        status: int,
        message: str | list[str] | Mapping[str, Any] | None = None,
        *,
        name: str | None = "errors",
        **members: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.name, self.members = status, message, name, members


class CauseError(PlatformError):
    """A `PlatformError` with the members ``errors`` and ``errors_cause``; its response is never JSONP.

    Used for errors of single datasets and maps, exports and keys, and in version 4.
    """

    def __init__(self, status: int, message: str, *, cause: str | None = None, **members: Any) -> None:
        super().__init__(status, message, errors_cause=cause, **members)


class PlatformRequest:
    """A request with its parameters and API key.

    Attributes
    ----------
    request : Request
    parameters : dict
        Parameters of the query string and of a JSON or form body; the body takes precedence. The last one
        of a repeated parameter in the query string is used.
    body : dict
        Parameters of the body.
    has_key : bool
        Whether the request has a key, known or not.
    key : Key
        The default key if the request has none, an unknown one, or the name of another user.
    is_of_unknown_user : bool
        Whether the path names a user other than the account; no key is known then.
    """

    def __init__(self, request: Request, body: Parameters, state: State) -> None:
        self.request = request
        self.body: Parameters = replace_surrogates(body)
        query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        self.parameters: Parameters = {**dict(query), **self.body}
        user, token = state.user, str(self.parameters.get("api_key") or "")
        header = request.headers.get("authorization", "")
        is_basic = header.lower().startswith("basic ")
        if is_basic:  # the parameter is then ignored, as in CARTO
            user, token = basic_credentials(header) or ("", "")
        self.has_key = is_basic or bool(token)
        self.is_of_unknown_user = bool(request.scope.get(UNKNOWN_USER_KEY))
        is_of_account = user == state.user and not self.is_of_unknown_user
        self._given = state.key(token) if token and is_of_account else None
        key = self._given or state.key(None)
        assert key is not None  # the default key cannot be deleted
        self.key: Key = key
        self.account_url = f"{request.base_url}user/{state.user}"

    @property
    def is_owner(self) -> bool:
        """Whether the request has the master key. Requests with any other key are anonymous where a key is optional."""
        return self.key.kind == "master"

    def require_any_key(self) -> None:
        """Raise PlatformError (401) if the request has no key of the account."""
        if self._given is None:
            raise PlatformError(401)

    def require_master(self) -> None:
        """Raise PlatformError (401) unless the key is the master key."""
        if not self.is_owner:
            raise PlatformError(401)


def route(
    state: State, path: str, *, jsonp: bool = True, **handlers: Callable[[PlatformRequest], Response]
) -> list[Route]:
    """Return the routes of a path, with and without a trailing slash.

    Parameters
    ----------
    state : State
    path : str
        Path below the user, in Starlette's syntax.
    jsonp : bool
        Whether JSON responses take the parameter ``callback``.
    **handlers : callable
        Handlers by HTTP method. They run in a worker thread and may raise `PlatformError`.
    """

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method, handlers.get("GET"))
        assert handler is not None  # Starlette rejects other methods; it adds HEAD to GET
        callback = None
        try:
            call = PlatformRequest(request, await body_parameters(request), state)
            callback = call.parameters.get("callback") if jsonp else None
            response = await run_in_threadpool(handler, call)
        except CauseError as error:
            return with_platform_headers(error_response(error), request)
        except (PlatformError, RequestError, psycopg.OperationalError, psycopg.DataError) as error:
            response = error_response(error)
        return with_platform_headers(with_callback(response, callback), request)

    return [Route(path + end, endpoint, methods=list(handlers)) for end in ("", "/")]


def options_routes() -> list[Route]:
    """Return the routes that respond to ``OPTIONS`` of any path of versions 1 and 4, as in CARTO without a key."""

    async def endpoint(request: Request) -> Response:
        return with_platform_headers(Response(), request)

    return [Route(f"/api/{version}/{{path:path}}", endpoint, methods=["OPTIONS"]) for version in ("v1", "v4")]


def platform_response(content: Any, status: int = 200) -> Response:
    """Build a JSON response."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, {"Content-Type": JSON_TYPE})


def error_response(error: PlatformError | RequestError | psycopg.Error) -> Response:
    """Build the response to an error."""
    match error:
        case PlatformError(message=None):
            return Response(status_code=error.status)
        case PlatformError(name=None, message=str()):
            return Response(error.message, error.status, {"Content-Type": JSON_TYPE})
        case PlatformError(name=None):
            return platform_response(error.message, error.status)
        case PlatformError():
            return platform_response({error.name: error.message, **error.members}, error.status)
        case RequestError():
            return platform_response({"errors": error.message}, error.status)
        case psycopg.OperationalError():  # no connection, or a lock timeout
            return platform_response({"errors": str(error).strip()}, 503)
        case _:  # NUL in a string, a number out of range
            return platform_response({"errors": error.diag.message_primary or str(error)}, 400)


def with_platform_headers(response: Response, request: Request) -> Response:
    """Add the headers that CARTO sends with each response: security headers, and CORS headers in version 4."""
    path = request.scope["path"]
    for name, value in _SECURITY_HEADERS.items():
        if name != "X-Frame-Options" or path.startswith("/api/"):  # pages may be shown in a frame
            response.headers[name] = value
    if path.startswith("/api/v4/"):
        response.headers.update(_CORS_HEADERS)
    return response


def with_callback(response: Response, callback: Any) -> Response:
    """Wrap a JSON response into a call of a JSONP callback; return it unchanged without a callback."""
    if callback is None or response.headers.get("content-type") != JSON_TYPE:
        return response
    if not isinstance(callback, str) or not _CALLBACK.fullmatch(callback):
        return platform_response({"errors": {"callback": "Invalid callback format"}}, 400)
    body = b"/**/%s(%s)" % (callback.encode(), bytes(response.body))
    headers = {
        name: value for name, value in response.headers.items() if name not in ("content-type", "content-length")
    }
    return Response(body, response.status_code, {**headers, "Content-Type": "text/javascript; charset=utf-8"})
