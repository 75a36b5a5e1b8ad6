"""What the endpoints outside of the SQL and Maps APIs have in common: who asks, and how errors look."""

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
from cartoframes_lite.local.http.request_bodies import Parameters, body_parameters, whole_characters
from cartoframes_lite.local.http.responses import JSON_TYPE, RequestError
from cartoframes_lite.local.state import Key, State

_MOST = 2**31 - 1


class PlatformError(Exception):
    """The request is refused with a status and, where CARTO gives one, a message.

    Parameters
    ----------
    status : int
    message : str or list of str, optional
    name : str
        Member of the answer that holds the message: "errors", or "error" where CARTO has that.
    """

    def __init__(self, status: int, message: str | list[str] | None = None, *, name: str = "errors") -> None:
        super().__init__(message)
        self.status, self.message, self.name = status, message, name


class PlatformRequest:
    """A request with its parameters and the key it stands on.

    Attributes
    ----------
    request : Request
    parameters : dict
        Those of the query string and of a JSON or form body; the body's win.
    body : dict
        Those of the body.
    key : Key
        The default key if the request names none.
    """

    def __init__(self, request: Request, body: Parameters, state: State) -> None:
        self.request = request
        self.body: Parameters = whole_characters(body)
        self.parameters = {**query_parameters(request), **self.body}
        basic = basic_credentials(request.headers.get("authorization", ""))
        self._token = basic[1] if basic else self.parameters.get("api_key")
        key = state.key(str(self._token or "")) if basic is None or basic[0] == state.user else None
        if key is None:
            raise PlatformError(401)
        self.key: Key = key

    def require_any_key(self) -> None:
        """Refuse a request that names no key."""
        if not self._token:
            raise PlatformError(401)

    def require_master(self) -> None:
        """Refuse all but the master key: with another one CARTO takes the request for an anonymous one."""
        if self.key.kind != "master":
            raise PlatformError(401)


def route(state: State, path: str, **handlers: Callable[[PlatformRequest], Response]) -> list[Route]:
    """Make the routes of a path, with and without a slash at its end.

    Parameters
    ----------
    state : State
    path : str
        Path below the user, as Starlette writes it.
    **handlers : callable
        By HTTP method. They run in a worker thread and may raise `PlatformError`.
    """

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method, handlers.get("GET"))
        assert handler is not None  # Starlette refuses other methods; HEAD comes with GET
        try:
            call = PlatformRequest(request, await body_parameters(request), state)
            return await run_in_threadpool(handler, call)
        except RequestError as error:
            return platform_response({"errors": error.message}, error.status)
        except psycopg.OperationalError as error:  # no connection, or a lock that somebody else keeps
            return platform_response({"errors": str(error).strip()}, 503)
        except psycopg.DataError as error:  # NUL in a text, a number beyond a type
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
    """Return a parameter that counts from 1; ``name`` as in `PlatformError`."""
    try:
        number = int(call.parameters.get(parameter, default))
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= _MOST:
        raise PlatformError(400, f"Wrong '{parameter}' parameter value: a positive number is needed", name=name)
    return number


def page_parameters(call: PlatformRequest, items: Sequence[dict[str, Any]], per_page: int) -> dict[str, Any]:
    """Return the page of a list that a request asks for, with links to others.

    Parameters
    ----------
    call : PlatformRequest
    items : sequence of dict
        The whole list.
    per_page : int
        Unless the request says otherwise.
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
