"""``/api/v1/organization/{id}/grantables``: the users and groups that datasets and maps can be shared with."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import account
from cartoframes_lite.local.catalog.members import ORGANIZATION_ID, Members
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.paging import read_order, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.state import State
from cartoframes_lite.local.user_serializers import UserSerializer, serialize_group

_ORDERS = ("id", "name", "type", "avatar_url", "organization_id", "updated_at")


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_master()
        organization = call.request.path_params["organization"]
        if organization != ORGANIZATION_ID:
            raise PlatformError(404, f"Organization {organization} not found")
        page, [(order, _)] = read_page(call), read_order(call, _ORDERS)
        query, users = (
            str(call.parameters.get("q") or "").lower(),
            UserSerializer(state, catalog, members, call.account_url),
        )
        found = _grantables(state, users)
        matching = [one for one in found if query in one["name"].lower()]
        if order in ("id", "name", "type"):
            matching.sort(key=lambda one: str(one[order]))
        return platform_response({"grantables": list(page.of(matching)), "total_entries": len(matching)})

    return route(state, "/api/v1/organization/{organization}/grantables", GET=index)


def _grantables(state: State, users: UserSerializer) -> list[dict[str, Any]]:
    """Serialize all users and groups, in order of their last change."""
    found = [
        (account.updated_at(state), "user", state.user_id, state.user, users.public_owner(groups=True)),
        *(
            (one.updated_at, "user", one.id, one.username, users.public_member(one, groups=True))
            for one in users.all_members.values()
        ),
        *(
            (one.updated_at, "group", one.id, one.display_name, {**serialize_group(one), "users": users.users_of(one)})
            for one in users.all_groups.values()
        ),
    ]
    found.sort(key=lambda one: one[0])
    return [
        {"id": one_id, "type": kind, "name": name, "avatar_url": "" if kind == "group" else None, "model": model}
        for _, kind, one_id, name, model in found
    ]
