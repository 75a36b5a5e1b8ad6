"""``/api/v1/map/{token}/.../{z}/{x}/{y}.{format}``: tiles of instantiated maps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.http.responses import JSON_TYPE
from cartoframes_lite.local.maps.authentication import MapsAuthenticator, MapsRequest
from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.tiles import Tiles, parse_zxy
from cartoframes_lite.local.routes.maps_handler import VECTOR_TYPE, MapsHandler

_FILE = re.compile(r"(-?\d+)(?:@([1-4])x)?\.([\w.]+)", re.ASCII)


def routes(authenticator: MapsAuthenticator, tiles: Tiles) -> list[Route]:
    """Return the routes of tiles."""
    handler = MapsHandler(authenticator)

    async def get_tile(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        return await tile_response(
            maps_request, tiles, group, role, maps_request.request.path_params.get("layers", "all")
        )

    return [
        handler.route("/{token}/{z}/{x}/{file}", GET=("tile", get_tile)),
        handler.route("/{token}/{layers}/{z}/{x}/{file}", GET=("tile", get_tile)),
    ]


async def tile_response(
    maps_request: MapsRequest, tiles: Tiles, group: Layergroup, role: str, selection: str
) -> Response:
    """Return the response to a request for a tile.

    Parameters
    ----------
    maps_request : MapsRequest
        Has ``z``, ``x`` and ``file`` as path parameters.
    tiles : Tiles
    group : Layergroup
    role : str
        Database role to read with.
    selection : str
        Layers: "all", "mapnik", or a comma-separated list of ids or indexes.
    """
    matched = _FILE.fullmatch(maps_request.text("file"))
    if matched is None:
        raise MapError(f"Invalid tile {maps_request.text('file')}")
    row, scale, kind = matched[1], int(matched[2] or 1), matched[3]
    zxy = parse_zxy(maps_request.text("z"), maps_request.text("x"), row)
    layers = select_layers(group, selection)
    match kind:
        case "mvt":
            indexes = {layer.index for layer in layers}
            inspected = [inspected for inspected in group.inspected if inspected.layer.index in indexes]
            tile = await tiles.vector(group, inspected, zxy, role)
            return Response(tile, 200, {"Content-Type": VECTOR_TYPE}) if tile else Response(status_code=204)
        case "png" | "png32":
            tile = await tiles.png(group, layers, zxy, role, scale=scale)
            return Response(tile, 200, {"Content-Type": "image/png"})
        case "grid.json":
            with_query = [layer for layer in layers if layer.kind == "mapnik"]
            interactive = [layer for layer in with_query if layer.interactivity] or with_query
            if not interactive:
                raise MapError("Tileset has no interactivity", status=400)
            tile = await tiles.grid(group, interactive[0], zxy, role)
            return Response(tile, 200, {"Content-Type": JSON_TYPE})
    raise MapError(f"Unsupported format {kind}")


def select_layers(group: Layergroup, selection: str) -> Sequence[MapLayer]:
    """Return the layers that a request selects; raise MapError if one does not exist."""
    layers = group.config.layers
    if selection == "all":
        return layers
    if selection == "mapnik":
        return group.config.queried
    selected = []
    for name in selection.split(","):
        layer = group.config.layer(name)
        if layer is None:
            raise MapError(f"Layer '{name}' not found in layergroup")
        selected.append(layer)
    return list({layer.index: layer for layer in sorted(selected, key=lambda layer: layer.index)}.values())
