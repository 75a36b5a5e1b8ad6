"""``/api/v3/me`` and ``/api/v1/users``: account, quotas and client configuration."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.account import ACCOUNT_TYPE, email, usage
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.serializers import base_url, organization
from cartoframes_lite.local.state import State


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path and at the root."""

    def me(call: PlatformRequest) -> Response:
        config = _config(state, call.request)
        if call.key.kind != "master":
            return platform_response({"config": config})
        full = {**account(state, catalog, call.request), "api_key": call.key.token}
        return platform_response({"user_data": full, "config": config})

    def public_me(call: PlatformRequest) -> Response:
        return platform_response({"user_data": _public(state, call.request), "config": _config(state, call.request)})

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        if call.request.path_params["id"] not in (state.user, state.user_id):
            raise PlatformError(404)
        return platform_response(account(state, catalog, call.request))

    return [
        *route(state, "/api/v3/me", GET=me),
        *route(state, "/api/v4/me", GET=public_me),
        *route(state, "/api/v1/users/{id}", GET=show),
    ]


def account(state: State, catalog: Catalog, request: Request) -> dict[str, Any]:
    """Return the API representation of the account for its owner, without the API key."""
    used = usage(catalog)
    return {
        **_public(state, request),
        "email": email(state),
        "account_type": ACCOUNT_TYPE,
        "quota_in_bytes": used.quota_bytes,
        "db_size_in_bytes": used.data_bytes,
        "remaining_byte_quota": max(0, used.quota_bytes - used.data_bytes),
        "table_quota": state.plan.tables,
        "table_count": used.tables,
        "remaining_table_quota": max(0, state.plan.tables - used.tables),
        "public_visualization_count": used.public,
        "all_visualization_count": used.tables + used.maps,
        "max_layers": state.plan.layers,
        "private_tables": state.plan.private_datasets,
        "concurrent_imports": state.plan.concurrent_imports,
        "org_admin": True,
        "org_user": True,
        "viewer": False,
        "groups": [],
    }


def _public(state: State, request: Request) -> dict[str, Any]:
    """Return the public attributes of the account."""
    unknown = ("name", "last_name", "avatar_url", "website", "description", "location", "twitter_username")
    return {
        "id": state.user_id,
        "username": state.user,
        "base_url": base_url(state, request),
        "organization": organization(),
        **dict.fromkeys(unknown),
    }


def _config(state: State, request: Request) -> dict[str, Any]:
    """Return the configuration that clients need: URLs of the APIs and names."""
    root = str(request.base_url).rstrip("/")
    template = f"{root}/user/{{user}}"
    return {
        "user_name": state.user,
        "base_url": base_url(state, request),
        "sql_api_template": template,
        "maps_api_template": template,
        "organization_name": organization()["name"],
    }
