"""``/api/v3/api_keys``: list, create, regenerate and delete API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.members import ORGANIZATION
from cartoframes_lite.local.http.paging import linked_page, read_order, read_page
from cartoframes_lite.local.http.platform import FORBIDDEN, CauseError, PlatformRequest, platform_response, route
from cartoframes_lite.local.postgres.grants import NotGrantedError
from cartoframes_lite.local.routes.api_key_grants import grants_errors
from cartoframes_lite.local.state import DEFAULT_NAME, MASTER_NAME, Key, KeyExistsError, State

_KINDS = ("master", "default", "regular")
_ORDERS = ("type", "name", "updated_at")
_TAKEN = "Name has already been taken"


def routes(state: State) -> list[Route]:
    """Return the routes of API keys."""

    def find(call: PlatformRequest) -> Key:
        name = call.request.path_params["name"]
        for key in _visible(call, state):
            if key.name == name:
                return key
        raise CauseError(404, f"API key not found: {name}")

    def serialize(key: Key) -> dict[str, Any]:
        return _serialize(state, key, state.granted([key])[key.name])

    def index(call: PlatformRequest) -> Response:
        call.require_any_key()
        return platform_response(_list(call, state))

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        _check_target_user(state, call)
        quota, existing = state.plan.api_keys, state.keys()
        if quota is not None and [key.kind for key in existing].count("regular") >= quota:
            raise CauseError(403, "You have reached the limit of API keys for your plan")
        name, grants = call.parameters.get("name"), call.parameters.get("grants")
        _check_key(existing, name, grants)
        try:
            return platform_response(serialize(state.create_key(str(name), grants or [])), 201)
        except KeyExistsError as error:
            raise _invalid([_TAKEN]) from error
        except NotGrantedError as error:
            raise _invalid([f"Grants can only grant {error.kind} permissions you have"]) from error

    def show(call: PlatformRequest) -> Response:
        call.require_any_key()
        return platform_response(serialize(find(call)))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        key = find(call)
        if key.kind != "regular":
            raise CauseError(403, FORBIDDEN)
        state.delete_key(key.name)
        return Response(status_code=204)

    def regenerate(call: PlatformRequest) -> Response:
        call.require_master()
        key = find(call)
        if key.kind == "default":  # CARTO has a status of 500
            raise CauseError(403, FORBIDDEN)
        return platform_response(serialize(state.regenerate_key(key.name)))

    return [
        *route(state, "/api/v3/api_keys", GET=index, POST=create),
        *route(state, "/api/v3/api_keys/{name}", GET=show, DELETE=delete),
        *route(state, "/api/v3/api_keys/{name}/token/regenerate", POST=regenerate),
    ]


def _visible(call: PlatformRequest, state: State) -> list[Key]:
    """Return the keys that the caller may see: all with the master key, else its own."""
    _check_target_user(state, call)
    return state.keys() if call.is_owner else [call.key]


def _list(call: PlatformRequest, state: State) -> dict[str, Any]:
    """Serialize the requested page of the keys that the caller may see; raise CauseError (400) for unknown types."""
    page = read_page(call)
    [(order, _)] = read_order(call, _ORDERS)
    kinds = [text.strip() for text in str(call.parameters.get("type") or "").split(",") if text.strip()]
    if not set(kinds) <= set(_KINDS):
        listed = ", ".join(f'"{kind}"' for kind in _KINDS)
        raise CauseError(400, f"Wrong 'type' parameter value. Valid values are one of [{listed}]")
    keys = [key for key in _visible(call, state) if not kinds or key.kind in kinds]
    by_value = {"type": lambda key: key.kind, "name": lambda key: key.name}
    keys.sort(key=by_value.get(order, lambda key: key.updated_at))
    keys.sort(key=lambda key: _KINDS.index(key.kind))
    shown = page.of(keys)
    granted = state.granted(shown)
    base = f"{call.account_url}/api/v3/api_keys"
    items = [
        {
            **_serialize(state, key, granted[key.name]),
            "_links": {"self": f"{base}/{quote(key.name, safe='')}"},
        }
        for key in shown
    ]
    return linked_page(call, page, items, len(keys))


def _check_target_user(state: State, call: PlatformRequest) -> None:
    """Raise CauseError (404) unless the keys of the account itself are requested: members have no keys."""
    target = call.parameters.get("target_user")
    if target is not None and target != state.user:
        raise CauseError(404, f"User '{target}' not found in the organization '{ORGANIZATION}'")


def _check_key(existing: Sequence[Key], name: Any, grants: Any) -> None:
    """Raise CauseError (422) with all reasons why a name or grants are invalid."""
    reasons = [f"Grants {reason}" for reason in grants_errors(grants)]
    if name is None or not str(name).strip():
        reasons.append("Name can't be blank")
    elif str(name) in [key.name for key in existing]:
        reasons.append(_TAKEN)
    if name in (MASTER_NAME, DEFAULT_NAME):
        reasons.append(f"Name api_key name cannot be {MASTER_NAME} nor {DEFAULT_NAME}")
    if reasons:
        raise _invalid(reasons)
    [apis] = [section for section in grants if section["type"] == "apis"]
    if "apis" not in apis:
        raise CauseError(422, 'apis array is needed for type "apis"')


def _invalid(reasons: Sequence[str]) -> CauseError:
    """Return the error for an invalid key."""
    return CauseError(422, f"Validation failed: {', '.join(reasons)}")


def _serialize(state: State, key: Key, granted: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return a key in the format of the API, with the privileges that it has in the database now."""
    sections = {section["type"]: section for section in key.grants}
    database: dict[str, Any] = {"type": "database", **granted}
    if "table_metadata" in sections.get("database", {}):
        database["table_metadata"] = []
    grants = [{"type": "apis", "apis": sections["apis"]["apis"]}, database]
    for kind, member in (("dataservices", "services"), ("data-observatory", "datasets")):
        if values := sections.get(kind, {}).get(member):
            grants.append({"type": kind, member: values})
    return {
        "name": key.name,
        "user": {"username": state.user},
        "type": key.kind,
        "token": key.token,
        "grants": grants,
        "created_at": _format_time(key.created_at),
        "updated_at": _format_time(key.updated_at),
    }


def _format_time(time: datetime) -> str:
    """Return a time as this API writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
