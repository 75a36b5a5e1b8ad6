"""``/api/v4/kuviz`` and ``/api/v4/app``: publish HTML pages, list, update and delete them."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.account import count_public_maps
from cartoframes_lite.local.catalog.published_pages import NameTakenError, PublishedPage, PublishedPages
from cartoframes_lite.local.catalog.search import search
from cartoframes_lite.local.catalog.search_parameters import read_search
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.paging import read_order
from cartoframes_lite.local.http.platform import (
    FORBIDDEN,
    CauseError,
    PlatformError,
    PlatformRequest,
    platform_response,
    route,
    with_platform_headers,
)
from cartoframes_lite.local.http.request_bodies import upload_blocks
from cartoframes_lite.local.http.responses import RequestError
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import State

_MAX_BYTES = 10 << 20
_MAX_DISCARDED_BYTES = 10 * _MAX_BYTES
_ORDERS = ("name", "updated_at", "privacy")
_PRIVACIES = ("public", "password")
_IF_EXISTS = ("fail", "replace")


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""
    return [*_routes(state, catalog, "kuviz"), *_routes(state, catalog, "app")]


def _routes(state: State, catalog: Catalog, page_type: str) -> list[Route]:
    """Return the routes of a type of pages."""
    pages = PublishedPages(state, page_type)
    name_of_list = "visualizations" if page_type == "kuviz" else "apps"

    def respond(call: PlatformRequest, page: PublishedPage) -> Response:
        return platform_response(_serialize(page, f"{call.account_url}/{page_type}/{page.id}"))

    def find(call: PlatformRequest) -> PublishedPage:
        try:
            return pages.find(str(call.request.path_params["id"]))
        except LookupError:
            raise PlatformError(404) from None

    def index(call: PlatformRequest) -> Response:
        _require_master(state, call)
        order = read_order(call, _ORDERS, combinations=_ORDERS, name="error")
        for parameter in ("type", "types", "order", "order_direction"):
            call.parameters.pop(parameter, None)
        criteria = replace(read_search(call), types=(page_type,), order=order)
        found = search(catalog, criteria)
        shown = [_serialize(one, f"{call.account_url}/{page_type}/{one.id}") for one in found.visualizations]
        return platform_response({name_of_list: shown, "total_entries": found.total})

    def create(call: PlatformRequest) -> Response:
        _require_master(state, call)
        for name in ("data", "name"):
            if not _is_present(call.parameters.get(name)):
                raise _invalid(f"missing {name} parameter")
        html = _check_input(call)
        assert html is not None  # the parameter is present
        quota = state.plan.public_maps
        if page_type == "kuviz" and quota is not None and count_public_maps(state) >= quota:
            raise CauseError(402, "Public map quota exceeded")
        name, password = str(call.parameters["name"]), _text(call, "password")
        if page_type == "kuviz" and _if_exists(call, "fail") == "replace" and (existing := pages.named(name)):
            for duplicate in existing[1:]:
                pages.delete(duplicate)
            return change(call, existing[0], html)
        return respond(call, _save(lambda: pages.create(name, html, password)))

    def update(call: PlatformRequest) -> Response:
        _require_master(state, call)
        html, page, name = _check_input(call), find(call), call.parameters.get("name")
        if page_type == "kuviz" and _if_exists(call, "replace") == "replace" and _is_present(name):
            for duplicate in pages.named(str(name)):
                if duplicate.id != page.id:
                    pages.delete(duplicate)
        return change(call, page, html)

    def change(call: PlatformRequest, page: PublishedPage, html: bytes | None) -> Response:
        for name in ("name", "privacy"):
            if name in call.parameters and not _is_present(call.parameters[name]):
                raise _invalid(f"Validation failed: {name.capitalize()} can't be blank")
        details = {name: _text(call, name) for name in ("name", "privacy", "password")}
        return respond(call, _save(lambda: pages.update(page, html=html, **details)))

    def delete(call: PlatformRequest) -> Response:
        _require_master(state, call)
        pages.delete(find(call))
        return Response(status_code=204)

    path = f"/api/v4/{page_type}"
    return [
        _limited(one)
        for one in (
            *route(state, path, GET=index, POST=create),
            *route(state, path + "/{id:uuid}", PUT=update, DELETE=delete),
        )
    ]


def _limited(unlimited: Route) -> Route:
    """Return a route that rejects larger requests with CARTO's error."""
    endpoint: Callable[[Request], Awaitable[Response]] = unlimited.endpoint

    async def limited(request: Request) -> Response:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > _MAX_BYTES:
            await _discard_body(request)
            message = f"Visualization over the size limit ({_MAX_BYTES >> 20}MB)"
            return with_platform_headers(platform_response({"error": message}, 400), request)
        return await endpoint(request)

    return Route(unlimited.path, limited, methods=list(unlimited.methods or ()))


async def _discard_body(request: Request) -> None:
    """Receive a body of moderate size: if the connection was closed first, the client could not read the response."""
    received = 0
    with suppress(RequestError):
        async for block in upload_blocks(request):
            received += len(block)
            if received > _MAX_DISCARDED_BYTES:
                break


def _require_master(state: State, call: PlatformRequest) -> None:
    """Raise PlatformError unless the parameter ``api_key`` is the master key: as on CARTO, a header is not enough."""
    call.require_any_key()
    key = state.key(_text(call, "api_key"))
    if key is None or key.kind != "master":
        raise CauseError(403, FORBIDDEN)


def _check_input(call: PlatformRequest) -> bytes | None:
    """Validate the privacy and the content of a page; return the content, None if there is none."""
    privacy, data = call.parameters.get("privacy"), call.parameters.get("data")
    if _is_present(privacy) and privacy not in _PRIVACIES:
        listed = ", ".join(f'"{name}"' for name in _PRIVACIES)
        raise _invalid(f"privacy mode not allowed. Allowed ones are [{listed}]")
    if privacy == "password" and not _is_present(call.parameters.get("password")):
        raise _invalid("Changing privacy to protected should come along with the password param")
    if not _is_present(data):
        return None
    try:
        html = base64.b64decode(str(data), validate=True)
    except ValueError:
        raise _invalid("data parameter must be encoded in base64") from None
    # A regular expression would take quadratic time.
    if not any(b">" in line[start:] for line in html.split(b"\n") if (start := line.find(b"<html")) >= 0):
        raise _invalid("data parameter must be HTML")
    return html


def _if_exists(call: PlatformRequest, default: str) -> str:
    """Return the parameter ``if_exists``; raise PlatformError for an unknown value."""
    value = call.parameters.get("if_exists")
    if value is None:
        return default
    if value not in _IF_EXISTS:
        allowed = ", ".join(_IF_EXISTS)
        raise CauseError(400, f"Wrong 'if_exists' parameter value. Valid values are one of {allowed}")
    return str(value)


def _save(save: Callable[[], PublishedPage]) -> PublishedPage:
    """Call a function that stores a page; raise PlatformError if another one has its name."""
    try:
        return save()
    except NameTakenError:
        raise _invalid("Validation failed: Name has already been taken") from None
    except LookupError:
        raise PlatformError(404) from None


def _serialize(page: PublishedPage | Visualization, url: str) -> dict[str, Any]:
    """Return the API representation of a page."""
    return {
        "id": page.id,
        "name": page.name,
        "privacy": page.privacy,
        "created_at": format_datetime(page.created_at),
        "updated_at": format_datetime(page.updated_at),
        "url": url,
    }


def _is_present(value: Any) -> bool:
    """Return whether a parameter has a value that is neither empty nor blank."""
    return value is not None and value is not False and (not isinstance(value, str) or bool(value.strip()))


def _text(call: PlatformRequest, name: str) -> str | None:
    """Return a parameter as text; None if it is missing or blank."""
    value = call.parameters.get(name)
    return str(value) if _is_present(value) else None


def _invalid(message: str) -> PlatformError:
    """Return the error for an invalid page."""
    return PlatformError(400, message, name="error")
