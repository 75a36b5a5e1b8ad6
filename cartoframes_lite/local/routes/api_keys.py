"""``/api/v3/api_keys``: list, create, regenerate and delete API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import psycopg
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.paging import linked_page, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.postgres.grants import NotGrantedError
from cartoframes_lite.local.state import DEFAULT_NAME, MASTER_NAME, Key, KeyExistsError, State

# Allowed values of each section of the grants, by type and member. An empty set allows any string.
_ALLOWED: dict[str, dict[str, frozenset[str]]] = {
    "apis": {"apis": frozenset({"sql", "maps", "do"})},
    "database": {"table_metadata": frozenset()},
    "dataservices": {"services": frozenset({"geocoding", "routing", "isolines", "observatory"})},
    "data-observatory": {"datasets": frozenset()},
    "user": {"data": frozenset({"profile", "email"})},
}
_TABLE_PERMISSIONS = frozenset({"select", "insert", "update", "delete"})
_SCHEMA_PERMISSIONS = frozenset({"create"})


def routes(state: State) -> list[Route]:
    """Return the routes of API keys."""

    def find(call: PlatformRequest) -> Key:
        name, keys = call.request.path_params["name"], state.keys()
        for key in keys:
            if key.name == name and (call.key.kind == "master" or key == call.key):
                return key
        raise PlatformError(404, f"API key not found: {name}")

    def index(call: PlatformRequest) -> Response:
        call.require_any_key()
        types = [text.strip() for text in str(call.parameters.get("type", "")).split(",") if text.strip()]
        if not {"master", "default", "regular"}.issuperset(types):
            raise PlatformError(400, "Wrong 'type' parameter value. Valid values are one of master, default, regular")
        visible = state.keys() if call.key.kind == "master" else [call.key]
        keys = [_key_with_link(call, key, state) for key in visible if not types or key.kind in types]
        page = read_page(call)
        return platform_response(linked_page(call, page, page.of(keys), len(keys)))

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        name, grants = call.parameters.get("name"), call.parameters.get("grants")
        _check_key(name, grants)
        try:
            key = state.create_key(str(name), grants or [])
        except KeyExistsError as error:
            raise PlatformError(422, "Validation failed: Name has already been taken") from error
        except NotGrantedError as error:
            raise PlatformError(422, f"can only grant permissions over owned tables: {error}") from error
        except psycopg.Error as error:
            raise PlatformError(422, error.diag.message_primary or "Unexpected error") from error
        return platform_response(_key_json(key, state), 201)

    def show(call: PlatformRequest) -> Response:
        call.require_any_key()
        return platform_response(_key_json(find(call), state))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        key = find(call)
        if key.kind != "regular":
            raise PlatformError(403, f"The key {key.name} cannot be deleted")
        state.delete_key(key.name)
        return Response(status_code=204)

    def regenerate(call: PlatformRequest) -> Response:
        call.require_master()
        key = find(call)
        if key.kind == "default":
            raise PlatformError(403, f"The token of the key {key.name} cannot be changed")
        return platform_response(_key_json(state.regenerate_key(key.name), state))

    return [
        *route(state, "/api/v3/api_keys", GET=index, POST=create),
        *route(state, "/api/v3/api_keys/{name}", GET=show, DELETE=delete),
        *route(state, "/api/v3/api_keys/{name}/token/regenerate", POST=regenerate),
    ]


def _key_json(key: Key, state: State) -> dict[str, Any]:
    """Return a key in the format of the API."""
    return {
        "name": key.name,
        "user": {"username": state.user},
        "type": key.kind,
        "token": key.token,
        "grants": list(key.grants),
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "updated_at": key.updated_at.isoformat(timespec="seconds"),
    }


def _key_with_link(call: PlatformRequest, key: Key, state: State) -> dict[str, Any]:
    """Return a key in the format of a list of keys, with a link to itself."""
    base = str(call.request.url.replace(query="")).rstrip("/")
    return {**_key_json(key, state), "_links": {"self": f"{base}/{quote(key.name, safe='')}"}}


def _check_key(name: Any, grants: Any) -> None:
    """Raise PlatformError (422) for an invalid name or invalid grants."""
    if not isinstance(name, str) or not name.strip():
        raise _invalid("Name can't be blank")
    if name in (MASTER_NAME, DEFAULT_NAME):
        raise _invalid(f"Name api_key name cannot be {MASTER_NAME} nor {DEFAULT_NAME}")
    if not isinstance(grants, list):
        raise _invalid("Grants has to be an array")
    for section in grants:
        kind = section.get("type") if isinstance(section, Mapping) else None
        if not isinstance(kind, str) or kind not in _ALLOWED:
            raise _invalid(f"Grants each section needs a type, one of {', '.join(_ALLOWED)}")
        _check_section(section)
    types = [section["type"] for section in grants]
    if types.count("apis") != 1:
        raise _invalid("Grants only one apis section is allowed")
    if types.count("database") > 1:
        raise _invalid("Grants only one database section is allowed")


def _check_section(section: Mapping[str, Any]) -> None:
    """Raise PlatformError (422) for a section of the grants with missing or unknown members."""
    kind = section["type"]
    for member, allowed in _ALLOWED[kind].items():
        words = section.get(member, [] if kind == "database" else None)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise _invalid(f"Grants {member} array is needed for type '{kind}'")
        if allowed and not allowed.issuperset(words):
            raise _invalid(f"Grants {member} of type '{kind}' are some of {', '.join(sorted(allowed))}")
    if kind == "database":
        _check_permissions(section, "tables", ("schema", "name"), _TABLE_PERMISSIONS)
        _check_permissions(section, "schemas", ("name",), _SCHEMA_PERMISSIONS)


def _check_permissions(section: Mapping[str, Any], member: str, names: Sequence[str], allowed: frozenset[str]) -> None:
    """Raise PlatformError (422) for entries of a database section without names or with unknown permissions."""
    entries = section.get(member, [])
    if not isinstance(entries, list):
        raise _invalid(f"Grants {member} has to be an array")
    for entry in entries:
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(name), str) for name in names):
            raise _invalid(f"Grants each of {member} needs {' and '.join(names)}")
        permissions = entry.get("permissions", [])
        if not isinstance(permissions, list) or not all(isinstance(word, str) for word in permissions):
            raise _invalid(f"Grants permissions of {member} have to be an array of strings")
        if not allowed.issuperset(word.lower() for word in permissions):
            raise _invalid(f"Grants permissions of {member} are some of {', '.join(sorted(allowed))}")


def _invalid(message: str) -> PlatformError:
    """Return the error for an invalid key."""
    return PlatformError(422, f"Validation failed: {message}")
