"""``/api/v1/perm``: whom datasets and maps are shared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ..catalogue.entries import Catalogue, Visualization
from ..catalogue.members import Members
from ..catalogue.sharing import ACCESSES
from ..rails import Call, RefusedError, answer, route
from ..state import State
from .presented import ORGANIZATION_ID, Presenter

_TYPES = ("user", "org", "group")


def routes(state: State, catalogue: Catalogue, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def find(call: Call) -> Visualization:
        call.require_master()
        try:
            return catalogue.of_permission(call.request.path_params["id"])
        except LookupError:
            raise RefusedError(404) from None

    def presented(call: Call, visualization: Visualization) -> Response:
        presenter = Presenter(state, catalogue, members, call.request, owner=True)
        return answer(presenter.permission(visualization))

    def show(call: Call) -> Response:
        return presented(call, find(call))

    def update(call: Call) -> Response:
        found = find(call)
        catalogue.share(found, _acl(call.body.get("acl"), members, state.user_id))
        return presented(call, find(call))

    return route(state, "/api/v1/perm/{id}", GET=show, PUT=update)


def _acl(entries: Any, members: Members, owner_id: str) -> list[dict[str, str]]:
    """Check a list of who may do what, and leave out who may do nothing."""
    if not isinstance(entries, list):
        raise RefusedError(400, ["acl is a list"])
    acl: dict[tuple[str, str], str] = {}
    for entry in entries:
        entity = entry.get("entity") if isinstance(entry, Mapping) else None
        if not isinstance(entity, Mapping) or not isinstance(entity.get("id"), str):
            raise RefusedError(400, ["each entry of acl has a type, an entity with its id, and an access"])
        kind, access = entry.get("type"), entry.get("access")
        if kind not in _TYPES:
            raise RefusedError(400, [f"type is one of {', '.join(_TYPES)}, not {kind!r}"])
        if access not in (*ACCESSES, "n"):
            raise RefusedError(400, [f"access is one of {', '.join(ACCESSES)}, n, not {access!r}"])
        _check_entity(kind, entity["id"], members, owner_id)
        acl[kind, entity["id"]] = access
    return [
        {"type": kind, "id": identity, "access": access} for (kind, identity), access in acl.items() if access != "n"
    ]


def _check_entity(kind: str, identity: str, members: Members, owner_id: str) -> None:
    """Refuse to share with those that do not exist, or own all."""
    if kind == "user" and identity == owner_id:
        raise RefusedError(400, ["the owner cannot be one of those that it is shared with"])
    known = {"user": {member.id for member in members.all()}, "org": {ORGANIZATION_ID}}
    if identity not in known.get(kind, set()):
        raise RefusedError(404, [f"there is no {kind} with the id {identity!r}"])
