"""``/api/v1/map/{token}/.../{z}/{x}/{y}.{format}``: tiles of instantiated maps."""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.tile_requests import TileRequest
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.routes.maps_handler import PREFIX, MapsHandler

# Only static images and named maps have paths of the same form.
_VALID_PATH = re.compile(
    PREFIX + r"/(?!(?:static|named)/)(?P<token>[^/]+)(?:/(?P<layers>[^/]+))?/(?P<z>\d+)/(?P<x>\d+)/(?P<file>\d[^/]*)$",
    re.ASCII,
)


def routes(authenticator: MapsAuthenticator, tiles: Tiles) -> tuple[list[Route], list[Route]]:
    """Return the routes of tiles: the route of valid paths, to be matched first, and those of all others.

    The first one matches only paths that no other route does. Matching the routes of all APIs, one after the other,
    would take about as long as the rest of a response from the cache.
    """
    handler = MapsHandler(authenticator)

    async def get_tile(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        selection = maps_request.request.path_params.get("layers") or "all"
        return await tile_response(maps_request, tiles, group, role, selection)

    paths = ("/{token}/{z}/{x}/{file}", "/{token}/{layers}/{z}/{x}/{file}")
    general = [handler.route(path, GET=("tile", get_tile)) for path in paths]
    valid = handler.route(paths[1], GET=("tile", get_tile))
    valid.path_regex = _VALID_PATH
    return [valid], general


async def tile_response(
    maps_request: MapsRequest, tiles: Tiles, group: Layergroup, role: str, selection: str
) -> Response:
    """Return the response to a request with the path parameters ``z``, ``x`` and ``file``."""
    tile = TileRequest.parse(maps_request.text("z"), maps_request.text("x"), maps_request.text("file"))
    content, content_type = await tile.render(tiles, group, selection, role)
    return Response(content, 200, {"Content-Type": content_type}) if content else Response(status_code=204)
