"""``PUT /api/v1/perm/{id}``: replace the access control list of a dataset or map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization, is_uuid
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.state import State
from cartoframes_lite.local.user_serializers import UserSerializer

_TYPES = ("user", "org", "group")
_ENTITY_MEMBERS = frozenset({"id", "username", "name", "avatar_url"})


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path. As in CARTO, permissions are read as parts of datasets and maps."""

    def update(call: PlatformRequest) -> Response:
        call.require_master()
        try:
            found = catalog.find_by_permission(call.request.path_params["id"])
        except LookupError:
            raise PlatformError(404) from None
        users = UserSerializer(state, catalog, members, call.account_url)
        catalog.share(found, _acl(call.parameters.get("acl"), found, users))
        changed = catalog.find_by_permission(found.permission_id)
        return platform_response(users.permission(changed, is_owner=True, db_size=True, groups=True))

    return route(state, "/api/v1/perm/{id}", jsonp=False, PUT=update)


def _acl(entries: Any, visualization: Visualization, users: UserSerializer) -> list[dict[str, str]]:
    """Validate an access control list; raise PlatformError (400, without a message) for an invalid entry."""
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise PlatformError(400)
    accesses = ("r", "n", "rw") if visualization.is_dataset else ("r", "n")
    acl = []
    for entry in entries:
        entity = entry.get("entity") if isinstance(entry, Mapping) else None
        if not (isinstance(entity, Mapping) and entity and entity.keys() <= _ENTITY_MEMBERS):
            raise PlatformError(400)
        if entry.get("type") not in _TYPES or entry.get("access") not in accesses:
            raise PlatformError(400)
        if entity.get("id") is not None:
            acl.append({"type": entry["type"], "id": _checked_id(entity["id"]), "access": entry["access"]})
    viewers = {one.id for one in users.all_members.values() if one.viewer}
    if any(entry["access"] == "rw" and entry["id"] in viewers for entry in acl):
        raise PlatformError(400)
    return acl


def _checked_id(entity_id: Any) -> str:
    """Return an id; raise PlatformError (400) if it is not a UUID."""
    if not (isinstance(entity_id, str) and is_uuid(entity_id)):
        raise PlatformError(400)
    return entity_id
