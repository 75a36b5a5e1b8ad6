"""``/api/v1/viz/{id}/like`` and ``.../watching``: favorites of the account, and who edits a map."""

from __future__ import annotations

from datetime import datetime, timedelta

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.viewable import find_viewable
from cartoframes_lite.local.state import State

_WATCHING = timedelta(seconds=60)


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""
    watched_until: dict[str, datetime] = {}
    state.on_reset.append(watched_until.clear)

    def like(call: PlatformRequest) -> Response:
        found = find_viewable(call, catalog)
        _require_owner(call)
        if not catalog.set_liked(found.id, liked=True):
            raise PlatformError(400, "You've already favorited this visualization", name="text")
        return platform_response({"id": found.id, "liked": True})

    def unlike(call: PlatformRequest) -> Response:
        found = find_viewable(call, catalog)
        _require_owner(call)
        catalog.set_liked(found.id, liked=False)
        return platform_response({"id": found.id, "liked": False})

    def watchers(call: PlatformRequest) -> Response:
        found = find_viewable(call, catalog)
        _require_owner(call)
        until = watched_until.get(found.id)
        is_watched = until is not None and state.clock.now() < until
        return platform_response([state.user] if is_watched else [])

    def watch(call: PlatformRequest) -> Response:
        found = find_viewable(call, catalog)
        _require_owner(call)
        watched_until[found.id] = state.clock.now() + _WATCHING
        return watchers(call)

    return [
        *route(state, "/api/v1/viz/{id}/like", POST=like, DELETE=unlike),
        *route(state, "/api/v1/viz/{id}/watching", GET=watchers, PUT=watch),
    ]


def _require_owner(call: PlatformRequest) -> None:
    """Raise PlatformError (403) for a caller who is not the owner of the account."""
    if not call.is_owner:
        raise PlatformError(403)
