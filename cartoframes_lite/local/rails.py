"""What the endpoints outside of the SQL and Maps APIs have in common: who asks, and how errors look."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .access import Parameters, basic_credentials, body_parameters, query_parameters
from .answers import JSON_TYPE, RequestError
from .state import Key, State


class RefusedError(Exception):
    """The request is refused with a status and, where CARTO gives one, a message."""

    def __init__(self, status: int, message: str | list[str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Call:
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
        self.body = body
        self.parameters = {**query_parameters(request), **body}
        basic = basic_credentials(request.headers.get("authorization", ""))
        self._token = basic[1] if basic else self.parameters.get("api_key")
        key = state.key(str(self._token or "")) if basic is None or basic[0] == state.user else None
        if key is None:
            raise RefusedError(401)
        self.key: Key = key

    def require_any_key(self) -> None:
        """Refuse a request that names no key."""
        if not self._token:
            raise RefusedError(401)

    def require_master(self) -> None:
        """Refuse all but the master key: with another one CARTO takes the request for an anonymous one."""
        if self.key.kind != "master":
            raise RefusedError(401)


def route(state: State, path: str, **handlers: Callable[[Call], Response]) -> list[Route]:
    """Make the routes of a path, with and without a slash at its end.

    Parameters
    ----------
    state : State
    path : str
        Path below the user, as Starlette writes it.
    **handlers : callable
        By HTTP method. They run in a worker thread and may raise `RefusedError`.
    """

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method, handlers.get("GET"))
        assert handler is not None  # Starlette refuses other methods; HEAD comes with GET
        try:
            call = Call(request, await body_parameters(request), state)
            return await run_in_threadpool(handler, call)
        except RequestError as error:
            return answer({"errors": error.message}, error.status)
        except RefusedError as error:
            if error.message is None:
                return Response(status_code=error.status)
            return answer({"errors": error.message}, error.status)

    return [Route(path + end, endpoint, methods=list(handlers)) for end in ("", "/")]


def answer(content: Any, status: int = 200) -> Response:
    """Build a JSON response."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, {"Content-Type": JSON_TYPE})
