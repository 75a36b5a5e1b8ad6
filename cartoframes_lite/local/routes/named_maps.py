"""``/api/v1/map/named``: templates of named maps, and their instances."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.instantiation import instantiate_template
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.templates import Template, Templates
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.routes.map_tiles import tile_response
from cartoframes_lite.local.routes.maps_handler import MapsHandler, json_response
from cartoframes_lite.local.state import State

_CALLBACK_MESSAGE = "callback parameter should be present and be a function name"


def routes(
    state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, templates: Templates, tiles: Tiles
) -> list[Route]:
    """Return the routes of named maps."""
    handler = MapsHandler(authenticator)
    return [
        *_template_routes(handler, authenticator, templates),
        *_instance_routes(handler, state, layergroups, templates, tiles),
    ]


def _template_routes(handler: MapsHandler, authenticator: MapsAuthenticator, templates: Templates) -> list[Route]:
    """Return the routes that list, create, read, update and delete templates, all with the master key."""

    async def list_templates(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "list")
        return json_response(maps_request, {"template_ids": await run_in_threadpool(templates.names)})

    async def create(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "create")
        maps_request.require_json("POST template data")
        template = await run_in_threadpool(templates.create, maps_request.template)
        return json_response(maps_request, {"template_id": template.name})

    async def get_template(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "get")
        template = await run_in_threadpool(templates.get, maps_request.template_name)
        return json_response(maps_request, {"template": template.content})

    async def update(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "update")
        maps_request.require_json("PUT template data")
        template = await run_in_threadpool(templates.update, maps_request.template_name, maps_request.template)
        return json_response(maps_request, {"template_id": template.name})

    async def delete(maps_request: MapsRequest) -> Response:
        authenticator.require_master(maps_request, "delete")
        await run_in_threadpool(templates.delete, maps_request.template_name)
        return Response(status_code=204)

    return [
        handler.route("/named", GET=("named_list", list_templates), POST=("named_create", create)),
        handler.route(
            "/named/{template}",
            GET=("named_get", get_template),
            PUT=("named_update", update),
            DELETE=("named_delete", delete),
        ),
    ]


def _instance_routes(
    handler: MapsHandler, state: State, layergroups: Layergroups, templates: Templates, tiles: Tiles
) -> list[Route]:
    """Return the routes that instantiate templates, and of the tiles of their default instances."""

    async def open_template(maps_request: MapsRequest) -> Template:
        template: Template = await run_in_threadpool(
            templates.open, maps_request.template_name, maps_request.auth_tokens
        )
        return template

    async def instantiate(maps_request: MapsRequest) -> Response:
        maps_request.require_json()
        parameters = maps_request.body if isinstance(maps_request.body, Mapping) else {}
        if maps_request.request.method == "GET":
            if not maps_request.query.get("callback"):
                raise MapError(_CALLBACK_MESSAGE)
            parameters = maps_request.placeholders()
        template = await open_template(maps_request)
        base_url = maps_request.base_url(state.user)
        response = await instantiate_template(
            layergroups, template, parameters, maps_request.filters(), state=state, base_url=base_url
        )
        return json_response(maps_request, response)

    async def get_tile(maps_request: MapsRequest) -> Response:
        template = await open_template(maps_request)
        group = await layergroups.template_instance(template.instance({}), state.owner_role, template=template)
        return await tile_response(maps_request, tiles, group, state.owner_role, maps_request.text("layers"))

    return [
        handler.route("/named/{template}", POST=("named", instantiate)),
        handler.route("/named/{template}/jsonp", GET=("named", instantiate)),
        handler.route("/named/{template}/{layers}/{z}/{x}/{file}", GET=("named_tiles", get_tile)),
    ]
