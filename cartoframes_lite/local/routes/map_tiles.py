"""``/api/v1/map/{token}/.../{z}/{x}/{y}.{format}``: tiles of instantiated maps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import Route

from ..answers import JSON_TYPE
from ..maps.config import Layer
from ..maps.entrance import MapsDoor, Visit
from ..maps.layergroups import Layergroup
from ..maps.refusals import MapError
from ..maps.tiles import Tiles, read_place
from .map_visits import VECTOR_TYPE, MapRoutes

_FILE = re.compile(r"(-?\d+)(?:@([1-4])x)?\.([\w.]+)", re.ASCII)


def routes(door: MapsDoor, tiles: Tiles) -> list[Route]:
    """Return the routes of tiles."""
    make = MapRoutes(door)

    async def show(visit: Visit) -> Response:
        group, role = await door.open(visit)
        return await answer_tile(visit, tiles, group, role, visit.request.path_params.get("layers", "all"))

    return [
        make.route("/{token}/{z}/{x}/{file}", GET=("tile", show)),
        make.route("/{token}/{layers}/{z}/{x}/{file}", GET=("tile", show)),
    ]


async def answer_tile(visit: Visit, tiles: Tiles, group: Layergroup, role: str, chosen: str) -> Response:
    """Answer a request for a tile.

    Parameters
    ----------
    visit : Visit
        With ``z``, ``x`` and ``file`` in its path.
    tiles : Tiles
    group : Layergroup
    role : str
        Whose rights count.
    chosen : str
        Which layers: "all", "mapnik", or ids or indexes between commas.
    """
    found = _FILE.fullmatch(visit.text("file"))
    if found is None:
        raise MapError(f"Invalid tile {visit.text('file')}")
    row, scale, kind = found[1], int(found[2] or 1), found[3]
    place = read_place(visit.text("z"), visit.text("x"), row)
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


def pick_layers(group: Layergroup, chosen: str) -> Sequence[Layer]:
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
