"""Starlette application of an account: routes, middleware and the handlers of unexpected errors."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartoframes_lite.local.catalog.exports import ExportJobs
from cartoframes_lite.local.catalog.map_layers import SavedLayers
from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.named_map_templates import NamedMapTemplates
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.authentication import Authenticator
from cartoframes_lite.local.http.byte_budget import ByteBudget
from cartoframes_lite.local.http.platform import ORIGINAL_PATH_KEY, UNKNOWN_USER_KEY, options_routes
from cartoframes_lite.local.http.rate_limits import RateLimits
from cartoframes_lite.local.http.request_bodies import HELD_BYTES_KEY
from cartoframes_lite.local.http.responses import RequestError, error_response, json_response
from cartoframes_lite.local.imports.jobs import ImportJobs
from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.errors import error_status
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.templates import Templates
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.routes import (
    api_keys,
    columns,
    connectors,
    datasets,
    favorites,
    grantables,
    groups,
    home,
    kuviz,
    kuviz_pages,
    map_layers,
    map_tiles,
    mapcaps,
    maps,
    named_maps,
    organization,
    permissions,
    records,
    sql,
    sql_batch,
    sql_copy,
    static_maps,
    tables,
    tags,
    users,
    visualizations,
    vizjson,
)
from cartoframes_lite.local.routes import exports as export_routes
from cartoframes_lite.local.routes import imports as import_routes
from cartoframes_lite.local.routes import syncs as sync_routes
from cartoframes_lite.local.server import KEEP_ALIVE_S
from cartoframes_lite.local.sql.batch_jobs import BatchJobs
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State
from cartoframes_lite.local.syncs.schedule import Syncs

_LOG = logging.getLogger(__name__)
_MAX_HEAD_BYTES = 8192  # URL and headers; the limit of Node.js
_MAPS_PATH = re.compile("/api/v1/map(/|$)")
_UNKNOWN_TO_MAPS = "DB host or name not found in redis (try CARTODB/script/restore_redis)"
_UNKNOWN_USER_ADVICE = "Please check that you have entered the correct domain."
_SQL_OR_MAPS_PATH = re.compile("/api/[^/]+/(sql|map)/")
_CATALOG_PATH = re.compile("/api/[^/]+/viz(/|$)")  # it has responses of its own for unknown users
_NOT_FOUND_PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
    "<body>\n<pre>Cannot {method} {path}</pre>\n</body>\n</html>\n"
)
_KEEP_ALIVE = ((b"connection", b"keep-alive"), (b"keep-alive", b"timeout=%d" % KEEP_ALIVE_S))
_SQL_PATH = re.compile(r"/api/[^/]+/sql(/|\.|$)")
_SQL_CORS = (  # of CARTO's SQL API; the other APIs add their own
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-allow-headers",
        b"X-Requested-With, X-Prototype-Version, X-CSRF-Token, Authorization, Carto-Source-Lib, Carto-Source-Context,"
        b" Carto-Source-Context-Id",
    ),
    (
        b"access-control-expose-headers",
        b"Carto-Rate-Limit-Limit, Carto-Rate-Limit-Remaining, Carto-Rate-Limit-Reset, Retry-After",
    ),
)
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
        Serves ``/user/{user}/api/...`` and, since there is only one user, also ``/api/...``.
    """
    limits, sessions = RateLimits(state.rate_limit, state.plan.rate_limits), Sessions(state)
    authenticator = Authenticator(state, limits)
    jobs = BatchJobs(state, sessions)
    catalog = Catalog(state)
    exports = ExportJobs(state, catalog)
    imports = ImportJobs(state, catalog)
    syncs = Syncs(state, imports)
    reading, derived = Sessions(state, read_only=True), NamedMapTemplates(state, catalog, SavedLayers(state, catalog))
    layergroups, templates, tiles = Layergroups(state, reading), Templates(state, derived.find), Tiles(reading)
    maps_authenticator = MapsAuthenticator(state, limits, layergroups, templates)
    tile_routes, other_tile_routes = map_tiles.routes(maps_authenticator, tiles)
    state.on_reset += [layergroups.clear, tiles.clear]
    state.on_reset += [limits.reset, jobs.reset, imports.clear, syncs.clear, exports.clear]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        syncs.start()
        async with jobs.working():
            yield
        await run_in_threadpool(syncs.close)
        await run_in_threadpool(imports.close)
        await run_in_threadpool(exports.close)
        sessions.close()
        tiles.close()
        reading.close()

    app = Starlette(
        routes=[  # matched in this order: the most frequent ones first
            *tile_routes,
            *sql_copy.routes(authenticator, sessions, state),
            *sql_batch.routes(authenticator, jobs),
            *sql.routes(authenticator, sessions),
            *named_maps.routes(state, maps_authenticator, layergroups, templates, tiles),
            *static_maps.routes(state, maps_authenticator, layergroups, templates, tiles),
            *maps.routes(state, maps_authenticator, layergroups, reading),
            *other_tile_routes,
            *api_keys.routes(state),
            *import_routes.routes(state, imports),
            *sync_routes.routes(state, syncs),
            *connectors.routes(state),
            *_catalog_routes(state, catalog, exports),
            *home.routes(state, authenticator, jobs),
            *options_routes(),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _handle_http_exception, ClientDisconnect: _handle_disconnect},
    )
    # With Starlette's own handler of unexpected errors, uvicorn closes the connection, which the client may already
    # be using for its next request.
    app.add_middleware(ExceptionMiddleware, handlers={Exception: _handle_unexpected})
    budget = ByteBudget(state.plan.body_bytes, state.plan.body_timeout_s, state.plan.idle_timeout_s)
    app.add_middleware(AccountMiddleware, user=state.user, budget=budget)
    return app


def _catalog_routes(state: State, catalog: Catalog, exports: ExportJobs) -> list[BaseRoute]:
    """Return the routes of datasets and maps, of users and groups, and of published pages."""
    members, layers = Members(state), SavedLayers(state, catalog)
    return [
        *visualizations.routes(state, catalog, members, layers),
        *favorites.routes(state, catalog),
        *vizjson.routes(state, catalog, layers),
        *mapcaps.routes(state, catalog, layers),
        *map_layers.routes(state, catalog, layers),
        *tags.routes(state, catalog),
        *tables.routes(state, catalog, members),
        *columns.routes(state, catalog),
        *records.routes(state, catalog),
        *permissions.routes(state, catalog, members),
        *datasets.routes(state, catalog),
        *users.routes(state, catalog, members),
        *groups.routes(state, catalog, members),
        *grantables.routes(state, catalog, members),
        *organization.routes(state, catalog, members),
        *export_routes.routes(state, catalog, exports),
        *kuviz.routes(state, catalog),
        *kuviz_pages.routes(state),
    ]


async def _handle_unexpected(request: Request, error: Exception) -> Response:
    """Log an unexpected error and return a 500. Only the path is logged: the query string may contain a key."""
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error_response_for(request.url.path, RequestError("Internal server error", status=500))


async def _handle_disconnect(request: Request, error: Exception) -> Response:
    """Return a 499 for a request whose client disconnected before sending all of it; it is not received."""
    return Response(status_code=499)


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    """Return the response to a Starlette HTTPException. Like CARTO, a wrong method is a 404, not a 405."""
    assert isinstance(error, HTTPException)  # the type that the handler is registered for
    if error.status_code in (404, 405):
        path = html.escape(request.scope[ORIGINAL_PATH_KEY].decode("latin-1"))
        return HTMLResponse(_NOT_FOUND_PAGE.format(method=request.method, path=path), 404)
    return _error_response_for(request.url.path, RequestError(error.detail, status=error.status_code))


def _error_response_for(path: str, error: RequestError) -> Response:
    """Build an error response in the format of the API that a path belongs to."""
    if not _MAPS_PATH.match(path):
        return error_response(error)
    status, members = error_status(error)
    return json_response(members, status=status)


def _with_common_headers(scope: Scope, send: Send, *, has_sql_cors: bool) -> Send:
    """Return a `send` that adds ``Keep-Alive``, unless the connection is to be closed, and those of CORS."""
    connection = b", ".join(value for name, value in scope["headers"] if name == b"connection").lower()
    is_closing = scope["http_version"] == "1.0" or b"close" in connection
    added = [*(() if is_closing else _KEEP_ALIVE), *(_SQL_CORS if has_sql_cors else ())]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_with_headers if added else send


class AccountMiddleware:
    """Reject requests for other hosts and users, and remove the user from the path.

    Parameters
    ----------
    app : ASGI application
    user : str
        Name of the only account.
    budget : ByteBudget
        Memory budget of all request bodies.
    """

    def __init__(self, app: ASGIApp, user: str, budget: ByteBudget) -> None:
        self._app, self._user, self._budget = app, user, budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or respond to it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        user, raw_path = _split_user(scope["raw_path"])
        if raw_path.endswith("/") and _SQL_OR_MAPS_PATH.match(raw_path):
            raw_path = raw_path[:-1]  # CARTO ignores a trailing slash in both APIs
        foreign = _foreign_host(scope)
        rejection = self._rejection(scope, user, raw_path) if foreign is None else _reject_host(foreign, raw_path)
        send = _with_common_headers(scope, send, has_sql_cors=foreign is None and bool(_SQL_PATH.match(raw_path)))
        if rejection is not None:
            await rejection(scope, receive, send)
        else:
            changed = {"path": unquote(raw_path), "raw_path": raw_path.encode("latin-1")}
            with self._budget.holding() as held:
                await self._app(
                    {
                        **scope,
                        **changed,
                        ORIGINAL_PATH_KEY: scope["raw_path"],
                        HELD_BYTES_KEY: held,
                        UNKNOWN_USER_KEY: user not in (None, self._user),
                    },
                    receive,
                    send,
                )

    def _rejection(self, scope: Scope, user: str | None, path: str) -> Response | None:
        """Return the response to a request that is rejected, None if it is accepted."""
        fields = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if len(scope["raw_path"]) + len(scope["query_string"]) + fields > _MAX_HEAD_BYTES:
            return Response(status_code=431)
        if user is not None and user != self._user and not _CATALOG_PATH.match(path):
            message = f"Sorry, we can't find CARTO user '{user}'. {_UNKNOWN_USER_ADVICE}"
            if _MAPS_PATH.match(path):
                message = _UNKNOWN_TO_MAPS
            return _error_response_for(path, RequestError(message, status=404))
        return None


def _foreign_host(scope: Scope) -> str | None:
    """Return the host of a request if it is not this one.

    DNS rebinding: such a request comes from a web page whose name was made to resolve to loopback.
    """
    hosts = (value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host")
    return next((host for host in hosts if host and _without_port(host) not in _HOSTS), None)


def _reject_host(host: str, path: str) -> Response:
    """Return the response to a request for another host."""
    message = f"host {host!r} is not allowed: this server serves localhost only"
    return _error_response_for(path, RequestError(message, status=403))


def _split_user(raw_path: bytes) -> tuple[str | None, str]:
    """Split ``/user/NAME/...``, or ``/u/NAME/...`` as in CARTO's Rails application, into user and remaining path."""
    path = raw_path.decode("latin-1")
    parts = path.split("/", 3)
    if len(parts) < 3 or parts[1] not in ("user", "u"):
        return None, path
    return unquote(parts[2]), f"/{''.join(parts[3:])}"


def _without_port(host: str) -> str:
    """Return a ``Host`` header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
