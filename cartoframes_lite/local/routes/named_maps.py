"""``/api/v1/map/named``: templates of named maps, and their instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps import config, metadata
from cartoframes_lite.local.maps.authentication import MapsAuthenticator, MapsRequest
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.json_input import JSONInputError, parse_json
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.templates import Template, Templates, is_authorized
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.routes.map_tiles import tile_response
from cartoframes_lite.local.routes.maps import read_filters
from cartoframes_lite.local.routes.maps_handler import MapsHandler, base_url, in_thread, json_response, require_json
from cartoframes_lite.local.state import State

_CALLBACK_MESSAGE = "callback parameter should be present and be a function name"


def routes(
    state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, templates: Templates, tiles: Tiles
) -> list[Route]:
    """Return the routes of named maps."""
    handler = MapsHandler(authenticator)

    async def list_templates(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "list")
        return json_response(maps_request, {"template_ids": await in_thread(templates.names)})

    async def create(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "create")
        require_json(maps_request, "POST template data")
        template = await in_thread(templates.create, _without_key(maps_request.body))
        return json_response(maps_request, {"template_id": template.name})

    async def get_template(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "get")
        name = _name(maps_request)
        template = await in_thread(templates.find, name)
        if template is None:
            raise MapError(f"Cannot find template '{name}' of user '{state.user}'", status=404)
        return json_response(maps_request, {"template": template.content})

    async def update(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "update")
        require_json(maps_request, "PUT template data")
        template = await in_thread(templates.update, _name(maps_request), _without_key(maps_request.body))
        return json_response(maps_request, {"template_id": template.name})

    async def delete(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "delete")
        await in_thread(templates.delete, _name(maps_request))
        return Response(status_code=204)

    async def instantiate(maps_request: MapsRequest) -> Response:
        require_json(maps_request)
        parameters = maps_request.body if isinstance(maps_request.body, Mapping) else {}
        if maps_request.request.method == "GET":
            parameters = _jsonp_parameters(maps_request)
        template = await open_template(state, templates, maps_request)
        content = template.instance(parameters)
        read = config.read(content, read_filters(maps_request))
        group, updated = await layergroups.instantiate(content, read, state.owner_role, template=template)
        token = f"{state.user}@{template.fingerprint[:8]}@{group.id}:{int(updated.timestamp() * 1000)}"
        return json_response(
            maps_request, metadata.describe(group, token, updated, base_url=base_url(maps_request, state.user))
        )

    async def get_tile(maps_request: MapsRequest) -> Response:
        template = await open_template(state, templates, maps_request)
        group = await layergroups.instance(template.instance({}), state.owner_role, template=template)
        return await tile_response(maps_request, tiles, group, state.owner_role, maps_request.text("layers"))

    return [
        handler.route("/named", GET=("named_list", list_templates), POST=("named_create", create)),
        handler.route(
            "/named/{template}",
            GET=("named_get", get_template),
            PUT=("named_update", update),
            DELETE=("named_delete", delete),
            POST=("named", instantiate),
        ),
        handler.route("/named/{template}/jsonp", GET=("named", instantiate)),
        handler.route("/named/{template}/{layers}/{z}/{x}/{file}", GET=("named_tiles", get_tile)),
    ]


async def open_template(state: State, templates: Templates, maps_request: MapsRequest) -> Template:
    """Return the template in the path of a request; raise MapError if its tokens do not allow its use."""
    name = _name(maps_request)
    template: Template | None = await in_thread(templates.find, name)
    if template is None:
        raise MapError(f"Template '{name}' of user '{state.user}' not found", status=404)
    if not is_authorized(template.auth, maps_request.auth_tokens):
        raise MapError("Unauthorized template instantiation", status=403)
    return template


def read_parameters(maps_request: MapsRequest) -> Mapping[str, Any]:
    """Parse the values of placeholders in the query string."""
    try:
        parameters = parse_json(str(maps_request.query.get("config") or "{}"))
    except JSONInputError:
        raise MapError("Invalid config parameter, should be a valid JSON") from None
    return parameters if isinstance(parameters, Mapping) else {}


def _name(maps_request: MapsRequest) -> str:
    """Return the name of the template in the path, without an optional ``user@``."""
    return maps_request.text("template").rpartition("@")[2]


def _without_key(body: Any) -> Any:
    """Return a body without ``api_key``, which some clients include."""
    return {name: item for name, item in body.items() if name != "api_key"} if isinstance(body, dict) else body


def _jsonp_parameters(maps_request: MapsRequest) -> Mapping[str, Any]:
    """Return the parameters of an instantiation by JSONP."""
    if not maps_request.query.get("callback"):
        raise MapError(_CALLBACK_MESSAGE)
    return read_parameters(maps_request)
