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
from cartoframes_lite.local.maps.tiles import Tiles, read_place
from cartoframes_lite.local.routes.maps_handler import VECTOR_TYPE, MapsHandler

_FILE = re.compile(r"(-?\d+)(?:@([1-4])x)?\.([\w.]+)", re.ASCII)


def routes(authenticator: MapsAuthenticator, tiles: Tiles) -> list[Route]:
    """Return the routes of tiles."""
    make = MapsHandler(authenticator)

    async def show(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        return await answer_tile(
            maps_request, tiles, group, role, maps_request.request.path_params.get("layers", "all")
        )

    return [
        make.route("/{token}/{z}/{x}/{file}", GET=("tile", show)),
        make.route("/{token}/{layers}/{z}/{x}/{file}", GET=("tile", show)),
    ]


async def answer_tile(maps_request: MapsRequest, tiles: Tiles, group: Layergroup, role: str, chosen: str) -> Response:
    """Answer a request for a tile.

    Parameters
    ----------
    visit : MapsRequest
        With ``z``, ``x`` and ``file`` in its path.
    tiles : Tiles
    group : Layergroup
    role : str
        Whose rights count.
    chosen : str
        Which layers: "all", "mapnik", or ids or indexes between commas.
    """
    found = _FILE.fullmatch(maps_request.text("file"))
    if found is None:
        raise MapError(f"Invalid tile {maps_request.text('file')}")
    row, scale, kind = found[1], int(found[2] or 1), found[3]
    place = read_place(maps_request.text("z"), maps_request.text("x"), row)
    layers = pick_layers(group, chosen)
    match kind:
        case "mvt":
            indexes = {layer.index for layer in layers}
            shown = [shown for shown in group.shown if shown.layer.index in indexes]
            tile = await tiles.vector(group, shown, place, role)
            return Response(tile, 200, {"Content-Type": VECTOR_TYPE}) if tile else Response(status_code=204)
        case "png" | "png32":
            tile = await tiles.picture(group, layers, place, role, scale=scale)
            return Response(tile, 200, {"Content-Type": "image/png"})
        case "grid.json":
            drawn = [layer for layer in layers if layer.kind == "mapnik"]
            interactive = [layer for layer in drawn if layer.interactivity] or drawn
            if not interactive:
                raise MapError("Tileset has no interactivity", status=400)
            tile = await tiles.grid(group, interactive[0], place, role)
            return Response(tile, 200, {"Content-Type": JSON_TYPE})
    raise MapError(f"Unsupported format {kind}")


def pick_layers(group: Layergroup, chosen: str) -> Sequence[MapLayer]:
    """Return the layers that a request names; raise MapError if one does not exist."""
    layers = group.config.layers
    if chosen == "all":
        return layers
    if chosen == "mapnik":
        return group.config.queried
    picked = []
    for name in chosen.split(","):
        layer = group.config.layer(name)
        if layer is None:
            raise MapError(f"Layer '{name}' not found in layergroup")
        picked.append(layer)
    return list({layer.index: layer for layer in sorted(picked, key=lambda layer: layer.index)}.values())
