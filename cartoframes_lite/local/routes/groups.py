"""``/api/v1/organization/{id}/groups``: groups of users."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import account
from cartoframes_lite.local.catalog.groups import Group, GroupExistsError, Groups, count_shared
from cartoframes_lite.local.catalog.members import ORGANIZATION_ID, Members
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.paging import read_order, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.state import State
from cartoframes_lite.local.user_serializers import UserSerializer, serialize_group

_PATH = "/api/v1/organization/{organization}/groups"
_GROUP_ORDERS = ("id", "name", "display_name", "organization_id", "updated_at")
_ALL_PARTS = ("fetch_shared_tables_count", "fetch_shared_maps_count", "fetch_users")
_WRONG_PASSWORD = "Confirmation password sent does not match your current password"  # a message


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""
    groups = Groups(state)
    return [*_group_routes(state, catalog, members, groups), *_user_routes(state, catalog, members, groups)]


def _group_routes(state: State, catalog: Catalog, members: Members, groups: Groups) -> list[Route]:
    """Return the routes of groups."""

    def users(call: PlatformRequest) -> UserSerializer:
        return UserSerializer(state, catalog, members, call.account_url)

    def respond(call: PlatformRequest, group: Group, parts: tuple[str, ...]) -> Response:
        return platform_response(_serialize(state, users(call), group, parts))

    def index(call: PlatformRequest) -> Response:
        _check_organization(call)
        return listed(call, groups.all())

    def index_of_user(call: PlatformRequest) -> Response:
        call.require_master()
        user_id = call.request.path_params["user"]
        if user_id != state.user_id and user_id not in users(call).all_members:
            raise PlatformError(404, [f"User {user_id} not found"])
        return listed(call, [group for group in groups.all() if user_id in group.user_ids])

    def listed(call: PlatformRequest, found: list[Group]) -> Response:
        page, matching = read_page(call), _matching(call, found)
        shown = [_serialize(state, users(call), group, _parts(call)) for group in page.of(matching)]
        return platform_response({"groups": shown, "total_entries": len(matching)})

    def show(call: PlatformRequest) -> Response:
        return respond(call, _find(call, groups), _parts(call))

    def create(call: PlatformRequest) -> Response:
        _check_organization(call)
        return respond(call, _named(groups.create, call), _ALL_PARTS)

    def update(call: PlatformRequest) -> Response:
        group = _find(call, groups)
        return respond(call, _named(lambda name: groups.rename(group, name), call), _ALL_PARTS)

    def delete(call: PlatformRequest) -> Response:
        group = _find(call, groups)
        _check_password(state, call)
        groups.delete(group)
        return Response(status_code=204)

    return [
        *route(state, _PATH, GET=index, POST=create),
        *route(state, _PATH + "/{group}", GET=show, PUT=update, DELETE=delete),
        *route(state, "/api/v1/users/{user}/groups", GET=index_of_user),
    ]


def _user_routes(state: State, catalog: Catalog, members: Members, groups: Groups) -> list[Route]:
    """Return the routes of the users of groups."""

    def users(call: PlatformRequest) -> UserSerializer:
        return UserSerializer(state, catalog, members, call.account_url)

    def change(call: PlatformRequest) -> Response:
        group = _find(call, groups)
        _check_password(state, call)
        given = call.parameters.get("users") or [call.request.path_params.get("user", call.parameters.get("user_id"))]
        known = {state.user_id, *users(call).all_members}
        listed_ids = given if isinstance(given, list) else [given]
        found = [one for one in listed_ids if isinstance(one, str) and one in known]
        if not found:
            raise PlatformError(404, [f"Users {given} not found"])
        apply = groups.add_users if call.request.method == "POST" else groups.remove_users
        apply(group, found)
        return platform_response({})

    def index(call: PlatformRequest) -> Response:
        group = _find(call, groups)
        page, shown = read_page(call, per_page=50), users(call)
        read_order(call, ("username", "updated_at"), default="username")
        found = [shown.owner(db_size=False)] if state.user_id in group.user_ids else []
        found += [shown.member(one, db_size=False) for one in members.all() if one.id in group.user_ids]
        matching = [one for one in found if str(call.parameters.get("q") or "") in one["username"]]
        matching.sort(key=lambda one: one["username"])
        in_page = list(page.of(matching))
        return platform_response({"users": in_page, "total_entries": len(in_page), "total_user_entries": len(matching)})

    return [
        *route(state, _PATH + "/{group}/users", GET=index, POST=change, DELETE=change),
        *route(state, _PATH + "/{group}/users/{user}", DELETE=change),
    ]


def _find(call: PlatformRequest, groups: Groups) -> Group:
    """Return the group in the path; raise PlatformError as `_check_organization`, or 404 if it does not exist."""
    _check_organization(call)
    group_id = call.request.path_params["group"]
    try:
        return groups.find(group_id)
    except LookupError:
        raise PlatformError(404, [f"Group {group_id} not found"]) from None


def _matching(call: PlatformRequest, groups: list[Group]) -> list[Group]:
    """Return the groups whose names contain the parameter ``q``, in the requested order."""
    [(order, _)] = read_order(call, _GROUP_ORDERS)
    query = str(call.parameters.get("q") or "").lower()
    matching = [group for group in groups if query in group.name.lower()]
    if order != "organization_id":
        matching.sort(key=lambda group: str(getattr(group, order)))
    return matching


def _check_organization(call: PlatformRequest) -> None:
    """Raise PlatformError without the master key (401), or for another organization than that of the account (404)."""
    call.require_master()
    organization = call.request.path_params["organization"]
    if organization != ORGANIZATION_ID:
        raise PlatformError(404, [f"Org. {organization} not found"])


def _check_password(state: State, call: PlatformRequest) -> None:
    """Raise PlatformError (403) for a wrong password; unlike on CARTO, none is needed."""
    given = call.parameters.get("password_confirmation")
    if given is not None and not account.is_password(state, given):
        raise PlatformError(403, "Error modifying groups", name="message", errors=[_WRONG_PASSWORD])


def _named(change: Callable[[str], Group], call: PlatformRequest) -> Group:
    """Call a function with the display name of a request; raise PlatformError if it is missing or taken."""
    name = call.parameters.get("display_name")
    if not isinstance(name, str) or not name.strip():
        raise PlatformError(422, ["display_name can't be blank"])
    try:
        return change(name)
    except GroupExistsError:
        raise PlatformError(409, ["A group with that name already exists"]) from None


def _parts(call: PlatformRequest) -> tuple[str, ...]:
    """Return the requested optional parts of groups."""
    return tuple(part for part in _ALL_PARTS if call.parameters.get(part) in ("true", True))


def _serialize(state: State, users: UserSerializer, group: Group, parts: Collection[str]) -> dict[str, Any]:
    """Serialize a group with the given parts."""
    shown = serialize_group(group)
    for kind, part in (("table", "fetch_shared_tables_count"), ("derived", "fetch_shared_maps_count")):
        if part in parts:
            shown[part.removeprefix("fetch_")] = count_shared(state, group, kind)
    if "fetch_users" in parts:
        shown["users"] = users.users_of(group)
    return shown
