"""``/api/v1/map/{token}/.../{z}/{x}/{y}.{format}``: tiles of instantiated maps."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.maps.tile_requests import TileRequest
from cartoframes_lite.local.maps.tiles import Tiles
from cartoframes_lite.local.routes.maps_handler import MapsHandler


def routes(authenticator: MapsAuthenticator, tiles: Tiles) -> list[Route]:
    """Return the routes of tiles."""
    handler = MapsHandler(authenticator)

    async def get_tile(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        selection = maps_request.request.path_params.get("layers", "all")
        return await tile_response(maps_request, tiles, group, role, selection)

    return [
        handler.route("/{token}/{z}/{x}/{file}", GET=("tile", get_tile)),
        handler.route("/{token}/{layers}/{z}/{x}/{file}", GET=("tile", get_tile)),
    ]


async def tile_response(
    maps_request: MapsRequest, tiles: Tiles, group: Layergroup, role: str, selection: str
) -> Response:
    """Return the response to a request with the path parameters ``z``, ``x`` and ``file``."""
    tile = TileRequest.parse(maps_request.text("z"), maps_request.text("x"), maps_request.text("file"))
    content, content_type = await tile.render(tiles, group, selection, role)
    return Response(content, 200, {"Content-Type": content_type}) if content else Response(status_code=204)
