"""``/api/v1/perm``: read and replace access control lists of datasets and maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.sharing import ACCESSES
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.serializers import ORGANIZATION_ID, Serializer
from cartoframes_lite.local.state import State

_TYPES = ("user", "org", "group")


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def find(call: PlatformRequest) -> Visualization:
        call.require_master()
        try:
            return catalog.find_by_permission(call.request.path_params["id"])
        except LookupError:
            raise PlatformError(404) from None

    def respond(call: PlatformRequest, visualization: Visualization) -> Response:
        serializer = Serializer(state, catalog, members, call.request, owner=True)
        return platform_response(serializer.permission(visualization))

    def show(call: PlatformRequest) -> Response:
        return respond(call, find(call))

    def update(call: PlatformRequest) -> Response:
        found = find(call)
        catalog.share(found, _acl(call.body.get("acl"), members, state.user_id))
        return respond(call, find(call))

    return route(state, "/api/v1/perm/{id}", GET=show, PUT=update)


def _acl(entries: Any, members: Members, owner_id: str) -> list[dict[str, str]]:
    """Validate an access control list; omit entries with access "n" (none)."""
    if not isinstance(entries, list):
        raise PlatformError(400, ["acl must be a list"])
    acl: dict[tuple[str, str], str] = {}
    for entry in entries:
        entity = entry.get("entity") if isinstance(entry, Mapping) else None
        if not isinstance(entity, Mapping) or not isinstance(entity.get("id"), str):
            raise PlatformError(400, ["each entry of acl needs type, entity with id, and access"])
        kind, access = entry.get("type"), entry.get("access")
        if kind not in _TYPES:
            raise PlatformError(400, [f"invalid type {kind!r}: use one of {', '.join(_TYPES)}"])
        if access not in (*ACCESSES, "n"):
            raise PlatformError(400, [f"invalid access {access!r}: use one of {', '.join(ACCESSES)}, n"])
        _check_entity(kind, entity["id"], members, owner_id)
        acl[kind, entity["id"]] = access
    return [
        {"type": kind, "id": entity_id, "access": access} for (kind, entity_id), access in acl.items() if access != "n"
    ]


def _check_entity(kind: str, entity_id: str, members: Members, owner_id: str) -> None:
    """Raise PlatformError if the entity does not exist or is the owner."""
    if kind == "user" and entity_id == owner_id:
        raise PlatformError(400, ["cannot share with the owner"])
    known = {"user": {member.id for member in members.all()}, "org": {ORGANIZATION_ID}}
    if entity_id not in known.get(kind, set()):
        raise PlatformError(404, [f"no {kind} with id {entity_id!r}"])
