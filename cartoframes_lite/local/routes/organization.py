"""``/api/v1/organization/local/users``: list, create, update and delete members of the organization."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.members import ORGANIZATION, Member, MemberExistsError, Members
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.users import account
from cartoframes_lite.local.serializers import format_datetime, organization
from cartoframes_lite.local.state import State

_DEFAULT_QUOTA_BYTES = 100 << 20
_MAX_QUOTA_BYTES = 2**63 - 1
_MIN_PASSWORD_LENGTH = 6
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "email": (
        lambda value: isinstance(value, str) and re.fullmatch(r"[^@\s]+@[^@\s]+", value) is not None,
        "is invalid",
    ),
    "quota_in_bytes": (
        lambda value: type(value) is int and 0 < value <= _MAX_QUOTA_BYTES,
        "must be a positive number",
    ),
    "name": (lambda value: value is None or isinstance(value, str), "must be a string"),
    "last_name": (lambda value: value is None or isinstance(value, str), "must be a string"),
    "viewer": (lambda value: isinstance(value, bool), "must be true or false"),
    "org_admin": (lambda value: isinstance(value, bool), "must be true or false"),
    "password": (
        lambda value: isinstance(value, str) and len(value) >= _MIN_PASSWORD_LENGTH,
        f"must be at least {_MIN_PASSWORD_LENGTH} characters long",
    ),
}


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def authorize(call: PlatformRequest) -> None:
        call.require_master()
        if call.request.path_params["organization"] != ORGANIZATION:
            raise PlatformError(404, ["organization not found"])

    def find(call: PlatformRequest) -> Member:
        authorize(call)
        name = call.request.path_params["username"]
        if name == state.user:
            raise PlatformError(403, ["the owner of the organization cannot be changed here"])
        try:
            return members.find(name)
        except LookupError:
            raise PlatformError(404, [f"no user {name!r} in the organization"]) from None

    def index(call: PlatformRequest) -> Response:
        authorize(call)
        found = [_serialize(member, call.request) for member in members.all()]
        users = [account(state, catalog, call.request), *found]
        return platform_response({"users": users, "total_entries": len(users), "total_user_entries": len(users)})

    def create(call: PlatformRequest) -> Response:
        authorize(call)
        values = _new_member(call.body)
        try:
            return platform_response(_serialize(members.create(values, values["password"]), call.request), 201)
        except MemberExistsError as error:
            raise PlatformError(422, [str(error)]) from error

    def show(call: PlatformRequest) -> Response:
        if call.request.path_params["username"] == state.user:
            authorize(call)
            return platform_response(account(state, catalog, call.request))
        return platform_response(_serialize(find(call), call.request))

    def update(call: PlatformRequest) -> Response:
        member = find(call)
        _check(call.body)
        try:
            return platform_response(
                _serialize(members.update(member, call.body, call.body.get("password")), call.request)
            )
        except MemberExistsError as error:
            raise PlatformError(422, [str(error)]) from error

    def delete(call: PlatformRequest) -> Response:
        members.delete(find(call))
        return Response(status_code=204)

    found = []
    for version in ("v1", "v2"):
        path = f"/api/{version}/organization/{{organization}}/users"
        found += route(state, path, GET=index, POST=create)
        found += route(state, path + "/{username}", GET=show, PUT=update, DELETE=delete)
    return found


def _new_member(body: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the attributes of a new member and add defaults."""
    values = {"quota_in_bytes": _DEFAULT_QUOTA_BYTES, **body}
    _check({"email": None, "password": None, **values})
    username = values.get("username")
    if not isinstance(username, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", username):
        raise PlatformError(422, ["username must consist of lower case letters, digits and '-'"])
    return values


def _check(values: Mapping[str, Any]) -> None:
    """Raise PlatformError with all invalid attributes of a member."""
    reasons = [
        f"{name} {reason}"
        for name, (is_good, reason) in _CHECKS.items()
        if name in values and not is_good(values[name])
    ]
    if reasons:
        raise PlatformError(422, reasons)


def _serialize(member: Member, request: Request) -> dict[str, Any]:
    """Return the API representation of a member. Members own no tables on this server."""
    return {
        "id": member.id,
        "username": member.username,
        "email": member.email,
        "name": member.name,
        "last_name": member.last_name,
        "avatar_url": None,
        "base_url": f"{request.base_url}user/{member.username}",
        "quota_in_bytes": member.quota_in_bytes,
        "db_size_in_bytes": 0,
        "table_count": 0,
        "public_visualization_count": 0,
        "all_visualization_count": 0,
        "org_admin": member.org_admin,
        "org_user": True,
        "viewer": member.viewer,
        "organization": organization(),
        "created_at": format_datetime(member.created_at),
        "updated_at": format_datetime(member.updated_at),
    }
