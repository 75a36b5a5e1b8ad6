"""``/api/v3/me``, ``/api/v4/me`` and ``/api/v1/users``: the account, its quotas and the client configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import account
from cartoframes_lite.local.catalog.members import ORGANIZATION, Members
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.user_data import user_data
from cartoframes_lite.local.state import Key, State
from cartoframes_lite.local.user_serializers import UserSerializer

_VERSION = "1.0.0"  # of CARTO's web pages, which this server does not have
_UPDATING = "Error updating your account details"
_WRONG_PASSWORD = "Confirmation password sent does not match your current password"  # a message
_OWNER_REASON = "You can't delete your account because you are admin of an organization"
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PASSWORD_LENGTHS = range(6, 64)
# Settings of the web application, in the response to the owner.
_OWNER_SETTINGS: Mapping[str, Any] = {
    "default_fallback_basemap": None,
    "dashboard_notifications": {},
    "organization_notifications": [],
    "unfiltered_organization_notifications": [],
    "is_just_logged_in": False,
    "is_first_time_viewing_dashboard": False,
    "can_change_email": True,
    "auth_username_password_enabled": True,
    "can_change_password": True,
    "plan_name": account.ACCOUNT_TYPE,
    "plan_url": None,
    "can_be_deleted": False,
    "cant_be_deleted_reason": _OWNER_REASON,
    "services": [],
    "asset_host": None,
    "google_sign_in": False,
    "mfa_required": False,
    "license_expiration": None,
}


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path and at the root."""

    def users(call: PlatformRequest) -> UserSerializer:
        return UserSerializer(state, catalog, members, call.account_url)

    def me(call: PlatformRequest) -> Response:
        shown = {"user_frontend_version": _VERSION, "config": _config(state, call)}
        if call.is_owner:
            shown |= {"user_data": user_data(state, users(call), call.key.token), **_OWNER_SETTINGS}
        return platform_response(shown)

    def update_me(call: PlatformRequest) -> Response:
        call.require_master()
        changes = call.parameters.get("user")
        if isinstance(changes, dict) and changes:
            if not account.is_password(state, changes.get("password_confirmation")):
                raise _refused(403, {"password": [_WRONG_PASSWORD]})
            _update(state, changes)
        return platform_response(users(call).owner())

    def delete_me(call: PlatformRequest) -> Response:
        call.require_master()
        if not account.is_password(state, call.parameters.get("deletion_password_confirmation")):
            raise PlatformError(400, "Error deleting user: Password does not match", name="message")
        # As in CARTO, the owner of an organization cannot be deleted.
        raise PlatformError(400, f"Error deleting user: {_OWNER_REASON}", name="message", errors={})

    def public_me(call: PlatformRequest) -> Response:
        call.require_any_key()
        return platform_response(_public_profile(state, call, users(call)))

    def show(call: PlatformRequest) -> Response:
        call.require_master()  # whatever the id, the owner is shown
        return platform_response(user_data(state, users(call), call.key.token))

    return [
        *route(state, "/api/v3/me", jsonp=False, GET=me, PUT=update_me, DELETE=delete_me),
        *route(state, "/api/v4/me", jsonp=False, GET=public_me),
        *route(state, "/api/v1/users/{id}", jsonp=False, GET=show),
    ]


def _public_profile(state: State, call: PlatformRequest, users: UserSerializer) -> dict[str, Any]:
    """Serialize the account for any key; with the grant "profile" also the owner's name and groups."""
    url = call.account_url
    endpoints = {"sql": url, "maps": url, "import": url, "auth": url, "builder": url}
    organization: dict[str, Any] = {"name": ORGANIZATION}
    shown = {"username": state.user, "organization": organization, "api_endpoints": endpoints}
    if not _may_see_profile(call.key):
        return shown
    organization["owner"] = {"username": state.user}
    endpoints["maps_api_v2_template"] = _template(call)
    groups = [{name: group[name] for name in ("name", "display_name")} for group in users.groups_of(state.user_id)]
    return {
        **shown,
        "region": None,
        "groups": groups,
        "avatar_url": None,
        "first_name": users.profile["name"],
        "last_name": users.profile["last_name"],
    }


def _may_see_profile(key: Key) -> bool:
    """Return whether a key has the grant of the owner's profile."""
    return any("profile" in section.get("data", ()) for section in key.grants if section["type"] == "user")


def _update(state: State, changes: dict[str, Any]) -> None:
    """Change the owner's profile, e-mail address and password; raise PlatformError (400) for invalid ones."""
    errors: dict[str, list[str]] = {}
    details = {name: changes[name] for name in account.PROFILE_FIELDS if name in changes}
    for name, value in details.items():
        if not isinstance(value, bool if name == "available_for_hire" else str | None) or "\x00" in str(value):
            errors[name] = ["is invalid"]
    if changes.get("email"):
        details["email"] = changes["email"]
        if not (isinstance(changes["email"], str) and _EMAIL.fullmatch(changes["email"])):
            errors["email"] = ["is invalid"]
    password = None
    if changes.get("new_password") or changes.get("confirm_password"):
        password = str(changes.get("new_password") or "")
        if reason := _password_error(state, password, changes.get("confirm_password")):
            errors["new_password"] = [reason]
    if errors:
        raise _refused(400, errors)
    account.update_profile(state, details, password)


def _password_error(state: State, password: str, confirmed: Any) -> str:
    """Return the reason why a new password of the owner is invalid, empty if it is valid."""
    if not password:
        return "New password can't be blank"
    if password != confirmed:
        return "New password doesn't match confirmation"
    if len(password) not in _PASSWORD_LENGTHS:
        return "New password must be between 6 and 63 characters long"
    if password.lower() == state.user.lower():
        return "New password must be different than the user name"
    return "New password cannot be the same as old password" if account.is_password(state, password) else ""


def _refused(status: int, errors: dict[str, list[str]]) -> PlatformError:
    """Return the error for rejected changes of the account."""
    return PlatformError(status, _UPDATING, name="message", errors=errors)


def _template(call: PlatformRequest) -> str:
    """Return the template of the account's URLs."""
    return f"{str(call.request.base_url).rstrip('/')}/user/{{user}}"


def _config(state: State, call: PlatformRequest) -> dict[str, Any]:
    """Return the configuration that clients need: URLs of the APIs and names."""
    template = _template(call)
    return {
        "region": None,
        "app_assets_base_url": f"{call.request.base_url}assets",
        "maps_api_template": template,
        "maps_api_v2_template": template,
        "sql_api_template": template,
        "user_name": state.user,
        "cartodb_com_hosted": False,
        "account_host": call.request.url.netloc,
        "trackjs_customer": None,
        "trackjs_enabled": False,
        "trackjs_app_key": None,
        "google_tag_manager_id": None,
        "intercom_app_id": None,
        "upgrade_url": False,
        **({"watcher_ttl": 60, "data_library_enabled": False, "app_name": "CARTO"} if call.is_owner else {}),
        "base_url": call.account_url,
        "organization_name": ORGANIZATION,
    }
