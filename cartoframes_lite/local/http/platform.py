"""Requests, errors and routes of CARTO's platform APIs: all endpoints except the SQL and Maps APIs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.authentication import basic_credentials, query_parameters
from cartoframes_lite.local.http.request_bodies import Parameters, body_parameters, replace_surrogates
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError
from cartoframes_lite.local.state import Key, State

_MAX_INT4 = 2**31 - 1


class PlatformError(Exception):
    """The request fails with an HTTP status and, where CARTO's response has one, a message.

    Parameters
    ----------
    status : int
    message : str or list of str, optional
        None means an empty response body.
    name : str
        Member of the response that contains the message: "errors", or "error" for some of CARTO's endpoints.
    """

    def __init__(self, status: int, message: str | list[str] | None = None, *, name: str = "errors") -> None:
        super().__init__(message)
        self.status, self.message, self.name = status, message, name


class PlatformRequest:
    """A request with its parameters and API key.

    Attributes
    ----------
    request : Request
    parameters : dict
        Parameters of the query string and of a JSON or form body; the body takes precedence.
    body : dict
        Parameters of the body.
    key : Key
        The default key if the request has none.

    Raises
    ------
    PlatformError
        401 if the key is unknown.
    """

    def __init__(self, request: Request, body: Parameters, state: State) -> None:
        self.request = request
        self.body: Parameters = replace_surrogates(body)
        self.parameters = {**query_parameters(request), **self.body}
        basic = basic_credentials(request.headers.get("authorization", ""))
        self._token = basic[1] if basic else self.parameters.get("api_key")
        key = state.key(str(self._token or "")) if basic is None or basic[0] == state.user else None
        if key is None:
            raise PlatformError(401)
        self.key: Key = key

    def require_any_key(self) -> None:
        """Raise PlatformError (401) if the request has no key."""
        if not self._token:
            raise PlatformError(401)

    def require_master(self) -> None:
        """Raise PlatformError (401) unless the key is the master key: CARTO treats others as anonymous."""
        if self.key.kind != "master":
            raise PlatformError(401)


def route(state: State, path: str, **handlers: Callable[[PlatformRequest], Response]) -> list[Route]:
    """Return the routes of a path, with and without a trailing slash.

    Parameters
    ----------
    state : State
    path : str
        Path below the user, in Starlette's syntax.
    **handlers : callable
        Handlers by HTTP method. They run in a worker thread and may raise `PlatformError`.
    """

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method, handlers.get("GET"))
        assert handler is not None  # Starlette rejects other methods; it adds HEAD to GET
        try:
            call = PlatformRequest(request, await body_parameters(request), state)
            return await run_in_threadpool(handler, call)
        except RequestError as error:
            return platform_response({"errors": error.message}, error.status)
        except psycopg.OperationalError as error:  # no connection, or a lock timeout
            return platform_response({"errors": str(error).strip()}, 503)
        except psycopg.DataError as error:  # NUL in a string, a number out of range
            return platform_response({"errors": error.diag.message_primary or str(error)}, 400)
        except PlatformError as error:
            if error.message is None:
                return Response(status_code=error.status)
            return platform_response({error.name: error.message}, error.status)

    return [Route(path + end, endpoint, methods=list(handlers)) for end in ("", "/")]


def platform_response(content: Any, status: int = 200) -> Response:
    """Build a JSON response."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, {"Content-Type": JSON_TYPE})


def positive_parameter(call: PlatformRequest, parameter: str, default: int, *, name: str = "errors") -> int:
    """Return a parameter that is a positive integer; raise PlatformError (400, with ``name``) if it is not."""
    try:
        number = int(call.parameters.get(parameter, default))
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= _MAX_INT4:
        raise PlatformError(400, f"Wrong '{parameter}' parameter value: a positive number is needed", name=name)
    return number


def page_parameters(call: PlatformRequest, items: Sequence[dict[str, Any]], per_page: int) -> dict[str, Any]:
    """Return the requested page of a list, with links to other pages.

    Parameters
    ----------
    call : PlatformRequest
        Its parameters ``page`` and ``per_page`` are read.
    items : sequence of dict
        The complete list.
    per_page : int
        Default page size.
    """
    page, per_page = positive_parameter(call, "page", 1), positive_parameter(call, "per_page", per_page)
    base = str(call.request.url.replace(query="")).rstrip("/")
    last = max(1, -(-len(items) // per_page))

    def link(number: int) -> dict[str, str]:
        return {"href": f"{base}?{urlencode({'page': number, 'per_page': per_page})}"}

    links = {"first": link(1), "last": link(last)}
    if page > 1:
        links["prev"] = link(page - 1)
    if page < last:
        links["next"] = link(page + 1)
    shown = items[(page - 1) * per_page : page * per_page]
    return {"total": len(items), "count": len(shown), "result": shown, "_links": links}
