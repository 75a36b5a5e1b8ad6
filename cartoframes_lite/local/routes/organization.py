"""``/api/v2/organization/{id}/users`` and ``/api/v1/organization/{id}/users``: the users of the organization."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import account
from cartoframes_lite.local.catalog.members import ORGANIZATION, ORGANIZATION_ID, Member, MemberExistsError, Members
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.paging import read_order, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.http.responses import JSON_TYPE
from cartoframes_lite.local.routes import member_parameters
from cartoframes_lite.local.state import State
from cartoframes_lite.local.user_serializers import UserSerializer

_PER_PAGE = 50
_ORDERS = ("username", "updated_at")


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def users(call: PlatformRequest) -> UserSerializer:
        return UserSerializer(state, catalog, members, call.account_url)

    def respond(call: PlatformRequest, member: Member | None) -> Response:
        return platform_response(_with_limits(users(call), member))

    def plain_list(call: PlatformRequest) -> Response:
        _check_organization(call, by_name=True)
        shown = users(call)
        return platform_response([_with_limits(shown, one) for one in (None, *members.all())])

    def paged_list(call: PlatformRequest) -> Response:
        _check_organization(call, by_name=False)
        return platform_response(_page_of_users(call, state, members, users(call)))

    def create(call: PlatformRequest) -> Response:
        _check_organization(call, by_name=True)
        values = member_parameters.new_member(call.parameters, members)
        try:
            return respond(call, members.create(values, values["password"]))
        except MemberExistsError as error:
            raise PlatformError(410, [str(error)], name=None) from error

    def show(call: PlatformRequest) -> Response:
        return respond(call, _find(call, state, members))

    def update(call: PlatformRequest) -> Response:
        member = _find(call, state, members)
        changes = member_parameters.changes(call.parameters, member, members, state)
        if member is None:
            account.update_owner(state, changes)
            return respond(call, None)
        try:
            return respond(call, members.update(member, changes, changes.get("password")))
        except MemberExistsError as error:
            raise PlatformError(410, [str(error)], name=None) from error

    def delete(call: PlatformRequest) -> Response:
        member = _find(call, state, members)
        if member is None:
            raise PlatformError(401, "Can't delete org owner", name=None)
        members.delete(member)
        return Response("User deleted", 200, {"Content-Type": JSON_TYPE})

    def show_organization(call: PlatformRequest) -> Response:
        call.require_master()
        return platform_response(users(call).organization())

    version_1, version_2 = (f"/api/{version}/organization/{{organization}}/users" for version in ("v1", "v2"))
    return [
        *route(state, version_1, GET=paged_list, POST=create),
        *route(state, version_2, GET=plain_list, POST=create),
        *(
            one
            for path in (version_1, version_2)
            for one in route(state, path + "/{username}", GET=show, PUT=update, DELETE=delete)
        ),
        *route(state, "/api/v1/org", jsonp=False, GET=show_organization),
    ]


def _find(call: PlatformRequest, state: State, members: Members) -> Member | None:
    """Return the user in the path, None for the owner; raise PlatformError (401, 404) if the caller has none."""
    _check_organization(call, by_name=True)
    name = call.request.path_params["username"]
    if name == state.user:
        return None
    for member in members.all():
        if member.username == name:
            return member
    raise PlatformError(404, f"No user with username '{name}' in '{ORGANIZATION}'", name=None)


def _page_of_users(call: PlatformRequest, state: State, members: Members, users: UserSerializer) -> dict[str, Any]:
    """Serialize the requested page of users, by name or e-mail address if there is a parameter ``q``."""
    page, [(order, _)] = read_page(call, per_page=_PER_PAGE), read_order(call, _ORDERS, default="username")
    query = str(call.parameters.get("q") or "")
    found = [(state.user, account.updated_at(state), users.owner(db_size=False))]
    found += [(one.username, one.updated_at, users.member(one, db_size=False)) for one in members.all()]
    matching = [one for one in found if query in one[0] or query == one[2]["email"]]
    matching.sort(key=lambda one: one[1].isoformat() if order == "updated_at" else one[0])
    listed = [serialized for _, _, serialized in page.of(matching)]
    # As in CARTO, the names of the two numbers are swapped.
    return {"users": listed, "total_entries": len(listed), "total_user_entries": len(matching)}


def _check_organization(call: PlatformRequest, *, by_name: bool) -> None:
    """Raise PlatformError (401) without the master key, or for another organization than that of the account."""
    call.require_master()
    if call.request.path_params["organization"] not in (
        (ORGANIZATION, ORGANIZATION_ID) if by_name else (ORGANIZATION_ID,)
    ):
        raise PlatformError(401, {}, name=None)


def _with_limits(users: UserSerializer, member: Member | None) -> dict[str, Any]:
    """Serialize a user, None for the owner, as the API for administrators does: without id, with limits and key."""
    shown = users.owner() if member is None else users.member(member)
    del shown["id"]
    # Members cannot use the APIs: they have no key.
    return {**shown, "soft_geocoding_limit": False, "api_key": users.master_token if member is None else None}
