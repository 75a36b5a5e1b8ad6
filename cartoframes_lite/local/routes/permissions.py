"""``/api/v1/perm``: whom datasets and maps are shared with."""

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
            return catalog.of_permission(call.request.path_params["id"])
        except LookupError:
            raise PlatformError(404) from None

    def presented(call: PlatformRequest, visualization: Visualization) -> Response:
        presenter = Serializer(state, catalog, members, call.request, owner=True)
        return platform_response(presenter.permission(visualization))

    def show(call: PlatformRequest) -> Response:
        return presented(call, find(call))

    def update(call: PlatformRequest) -> Response:
        found = find(call)
        catalog.share(found, _acl(call.body.get("acl"), members, state.user_id))
        return presented(call, find(call))

    return route(state, "/api/v1/perm/{id}", GET=show, PUT=update)


def _acl(entries: Any, members: Members, owner_id: str) -> list[dict[str, str]]:
    """Check a list of who may do what, and leave out who may do nothing."""
    if not isinstance(entries, list):
        raise PlatformError(400, ["acl is a list"])
    acl: dict[tuple[str, str], str] = {}
    for entry in entries:
        entity = entry.get("entity") if isinstance(entry, Mapping) else None
        if not isinstance(entity, Mapping) or not isinstance(entity.get("id"), str):
            raise PlatformError(400, ["each entry of acl has a type, an entity with its id, and an access"])
        kind, access = entry.get("type"), entry.get("access")
        if kind not in _TYPES:
            raise PlatformError(400, [f"type is one of {', '.join(_TYPES)}, not {kind!r}"])
        if access not in (*ACCESSES, "n"):
            raise PlatformError(400, [f"access is one of {', '.join(ACCESSES)}, n, not {access!r}"])
        _check_entity(kind, entity["id"], members, owner_id)
        acl[kind, entity["id"]] = access
    return [
        {"type": kind, "id": identity, "access": access} for (kind, identity), access in acl.items() if access != "n"
    ]


def _check_entity(kind: str, identity: str, members: Members, owner_id: str) -> None:
    """Refuse to share with those that do not exist, or own all."""
    if kind == "user" and identity == owner_id:
        raise PlatformError(400, ["the owner cannot be one of those that it is shared with"])
    known = {"user": {member.id for member in members.all()}, "org": {ORGANIZATION_ID}}
    if identity not in known.get(kind, set()):
        raise PlatformError(404, [f"there is no {kind} with the id {identity!r}"])
