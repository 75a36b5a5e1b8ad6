"""``/api/v1/map/static``: static images of maps."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.layer_selection import preview_layers, select_layers
from cartoframes_lite.local.maps.layergroups import Layergroup, Layergroups
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.static_images import ImageFile, view_of_bbox, view_of_center, view_of_template
from cartoframes_lite.local.maps.templates import Templates
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.maps.viewports import Viewport
from cartoframes_lite.local.routes.maps_handler import MapsHandler
from cartoframes_lite.local.state import State


def routes(
    state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, templates: Templates, tiles: Tiles
) -> list[Route]:
    """Return the routes of static images."""
    handler = MapsHandler(authenticator)

    async def image_response(
        group: Layergroup, role: str, layers: Sequence[MapLayer], view: Viewport, format: str
    ) -> Response:
        image = await tiles.static(group, layers, view, role, kind=format)
        return Response(image, 200, {"Content-Type": f"image/{format}"})

    async def get_center(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        file = _image_file(maps_request)
        longitude, latitude, zoom = (maps_request.text(name) for name in ("lng", "lat", "z"))
        view = view_of_center(longitude, latitude, zoom, file.size)
        return await image_response(group, role, _selected_layers(maps_request, group), view, file.format)

    async def get_bbox(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        file = _image_file(maps_request)
        view = view_of_bbox(maps_request.text("bbox"), file.size)
        return await image_response(group, role, _selected_layers(maps_request, group), view, file.format)

    async def get_named(maps_request: MapsRequest) -> Response:
        template = await run_in_threadpool(templates.open, maps_request.template_name, maps_request.auth_tokens)
        content = template.instance(maps_request.placeholders())
        group = await layergroups.template_instance(content, state.owner_role, template=template)
        file = _image_file(maps_request)
        has_selection = "layer" in maps_request.query
        layers = _selected_layers(maps_request, group) if has_selection else preview_layers(template, group)
        view = view_of_template(template, maps_request.query, file.size)
        return await image_response(group, state.owner_role, layers, view, file.format)

    return [
        handler.route("/static/center/{token}/{z}/{lat}/{lng}/{width}/{file}", GET=("static", get_center)),
        handler.route("/static/bbox/{token}/{bbox}/{width}/{file}", GET=("static", get_bbox)),
        handler.route("/static/named/{template}/{width}/{file}", GET=("static_named", get_named)),
    ]


def _image_file(maps_request: MapsRequest) -> ImageFile:
    return ImageFile.parse(maps_request.text("width"), maps_request.text("file"))


def _selected_layers(maps_request: MapsRequest, group: Layergroup) -> Sequence[MapLayer]:
    """Return the layers that a request selects; all by default."""
    return select_layers(group, str(maps_request.query.get("layer") or "all"))
