"""``/api/v1/map/static``: static images of maps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps.authentication import MapsAuthenticator, MapsRequest
from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup, Layergroups
from cartoframes_lite.local.maps.number_parsing import read_number
from cartoframes_lite.local.maps.queries import Box
from cartoframes_lite.local.maps.templates import Template, Templates
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.maps.viewports import Viewport, viewport_of_bbox, viewport_of_center
from cartoframes_lite.local.routes.map_tiles import select_layers
from cartoframes_lite.local.routes.maps_handler import MapsHandler
from cartoframes_lite.local.routes.named_maps import open_template, read_parameters
from cartoframes_lite.local.state import State

_MAX_PIXELS = 8192
_SIZE = re.compile(r"\d{1,4}", re.ASCII)
_FORMATS = {"png": "png", "jpg": "jpeg"}


def routes(
    state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, templates: Templates, tiles: Tiles
) -> list[Route]:
    """Return the routes of static images."""
    handler = MapsHandler(authenticator)

    async def image_response(
        maps_request: MapsRequest, group: Layergroup, role: str, layers: Sequence[MapLayer], view: Viewport
    ) -> Response:
        kind = _format(maps_request)
        image = await tiles.static(group, layers, view, role, kind=kind)
        return Response(image, 200, {"Content-Type": f"image/{kind}"})

    async def get_center(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        zoom, latitude, longitude = (_parse_number(maps_request.text(name)) for name in ("z", "lat", "lng"))
        view = viewport_of_center(longitude, latitude, zoom, _size(maps_request))
        return await image_response(maps_request, group, role, _layers(maps_request, group), view)

    async def get_bbox(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        view = viewport_of_bbox(_parse_bbox(maps_request.text("bbox")), _size(maps_request))
        return await image_response(maps_request, group, role, _layers(maps_request, group), view)

    async def get_named(maps_request: MapsRequest) -> Response:
        template = await open_template(state, templates, maps_request)
        content = template.instance(read_parameters(maps_request))
        group = await layergroups.instance(content, state.owner_role, template=template)
        layers = _layers(maps_request, group) if "layer" in maps_request.query else _preview_layers(template, group)
        return await image_response(maps_request, group, state.owner_role, layers, _view(maps_request, template))

    return [
        handler.route("/static/center/{token}/{z}/{lat}/{lng}/{width}/{file}", GET=("static", get_center)),
        handler.route("/static/bbox/{token}/{bbox}/{width}/{file}", GET=("static", get_bbox)),
        handler.route("/static/named/{template}/{width}/{file}", GET=("static_named", get_named)),
    ]


def _format(maps_request: MapsRequest) -> str:
    """Return the format of the image."""
    suffix = maps_request.text("file").partition(".")[2]
    if suffix not in _FORMATS:
        raise MapError(f'Unsupported image format "{suffix}"')
    return _FORMATS[suffix]


def _size(maps_request: MapsRequest) -> tuple[int, int]:
    """Return width and height of the image in pixels."""
    texts = maps_request.text("width"), maps_request.text("file").partition(".")[0]
    sizes = [int(text) if _SIZE.fullmatch(text) else 0 for text in texts]
    if not all(0 < size <= _MAX_PIXELS for size in sizes):
        raise MapError(f"Invalid size of a picture: {'x'.join(texts)}, both from 1 to {_MAX_PIXELS}")
    return sizes[0], sizes[1]


def _parse_number(text: Any) -> float:
    """Parse a finite number."""
    value = read_number(text)
    if text == "" or not math.isfinite(value):
        raise MapError(f"Invalid number: {text}")
    return value


def _parse_bbox(text: str) -> Box:
    """Parse a box in degrees."""
    parts = [_parse_number(part) for part in text.split(",")]
    if len(parts) != 4:
        raise MapError('Invalid bbox, expected format="west,south,east,north"')
    return parts[0], parts[1], parts[2], parts[3]


def _layers(maps_request: MapsRequest, group: Layergroup) -> Sequence[MapLayer]:
    """Return the layers that a request selects; all by default."""
    return select_layers(group, str(maps_request.query.get("layer") or "all"))


def _preview_layers(template: Template, group: Layergroup) -> Sequence[MapLayer]:
    """Return the layers that are visible according to ``preview_layers`` of the template."""
    view = template.content.get("view")
    visibility = view.get("preview_layers") if isinstance(view, Mapping) else None
    if not isinstance(visibility, Mapping):
        return group.config.layers
    hidden = {str(name) for name, visible in visibility.items() if visible is False}
    visible_layers = [layer for layer in group.config.layers if not {layer.id, str(layer.index)} & hidden]
    return visible_layers or group.config.layers


def _view(maps_request: MapsRequest, template: Template) -> Viewport:
    """Return the view in the request, or else that of the template."""
    size, query = _size(maps_request), maps_request.query
    if all(name in query for name in ("zoom", "lon", "lat")):
        return viewport_of_center(
            _parse_number(query["lon"]), _parse_number(query["lat"]), _parse_number(query["zoom"]), size
        )
    if "bbox" in query:
        return viewport_of_bbox(_parse_bbox(str(query["bbox"])), size)
    view = template.content.get("view")
    view = view if isinstance(view, Mapping) else {}
    center, bounds = view.get("center"), view.get("bounds")
    if isinstance(center, Mapping) and "zoom" in view:
        zoom = query.get("zoom", view["zoom"])
        return viewport_of_center(
            _parse_number(center.get("lng")), _parse_number(center.get("lat")), _parse_number(zoom), size
        )
    if isinstance(bounds, Mapping):
        sides = [_parse_number(bounds.get(name)) for name in ("west", "south", "east", "north")]
        return viewport_of_bbox((sides[0], sides[1], sides[2], sides[3]), size)
    return viewport_of_center(0.0, 0.0, 1.0, size)
