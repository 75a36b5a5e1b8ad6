"""The application: its routes, and what every request has to pass before it comes to one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .access import Door
from .answers import RequestError, failure
from .limits import RateLimits
from .pool import Sessions
from .routes import api_keys, sql, sql_batch, sql_copy, visualizations
from .state import State

_MAX_HEAD_BYTES = 8192  # of URL and headers, as Node.js allows
_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def create_app(state: State) -> Starlette:
    """Build the application of one account.

    Parameters
    ----------
    state : State
        The account.

    Returns
    -------
    Starlette
        Answers ``/user/{user}/api/...`` and, since there is but one user, ``/api/...``.
    """
    limits, sessions = RateLimits(state.rate_limit), Sessions(state)
    door = Door(state, limits)
    jobs = sql_batch.Jobs(state, sessions)
    state.on_reset += [limits.forget, jobs.forget]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with jobs.working():
            yield
        sessions.close()

    app = Starlette(
        routes=[
            *sql_copy.routes(door, sessions),
            *sql_batch.routes(door, jobs),
            *sql.routes(door, sessions),
            *api_keys.routes(state),
            *visualizations.routes(state),
        ],
        lifespan=lifespan,
    )
    app.add_middleware(Entrance, user=state.user)
    return app


class Entrance:
    """Turns away what does not belong here, and takes the user off the path.

    Parameters
    ----------
    app : ASGI application
    user : str
        The one that there is.
    """

    def __init__(self, app: ASGIApp, user: str) -> None:
        self._app, self._user = app, user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(self._without_user(scope), receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        # Another name for this host is a page in a browser that was made to resolve to it.
        if host and _without_port(host) not in _HOSTS:
            return failure(RequestError(f"this server answers to localhost only, not to {host!r}", status=403))
        head = (
            len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) + 4 for k, v in scope["headers"])
        )
        if head > _MAX_HEAD_BYTES:
            return Response(status_code=431)
        user = _user(scope["path"])
        if user is not None and user != self._user:
            message = (
                f"Sorry, we can't find CARTO user '{user}'. Please check that you have entered the correct domain."
            )
            return failure(RequestError(message, status=404))
        return None

    def _without_user(self, scope: Scope) -> Scope:
        if _user(scope["path"]) is None:
            return scope
        path = "/" + scope["path"].split("/", 3)[3]
        return {**scope, "path": path, "raw_path": path.encode()}


def _user(path: str) -> str | None:
    """Find the user in ``/user/NAME/...``, or in ``/u/NAME/...`` as CARTO's Rails application takes it."""
    parts = path.split("/", 3)
    return unquote(parts[2]) if len(parts) == 4 and parts[1] in ("user", "u") else None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
