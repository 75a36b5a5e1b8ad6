"""Tiles that requests describe: position, format and layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cartoframes_lite.local.http.responses import JSON_TYPE
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layer_selection import select_layers
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.tiles import Tiles, parse_zxy

VECTOR_TYPE = "application/x-protobuf"
_FILE = re.compile(r"(-?\d+)(?:@([1-4])x)?\.([\w.]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TileRequest:
    """Position and format of a tile.

    Attributes
    ----------
    zxy : tuple of int
        Zoom, x, y.
    scale : int
        Size of a PNG tile as a multiple of 256 pixels.
    format : str
    """

    zxy: tuple[int, int, int]
    scale: int
    format: str

    @classmethod
    def parse(cls, zoom: str, x: str, file: str) -> TileRequest:
        """Parse zoom, x and ``Y.FORMAT`` or ``Y@SCALEx.FORMAT``; raise MapError if there is no such tile."""
        matched = _FILE.fullmatch(file)
        if matched is None:
            raise MapError(f"Invalid tile {file}")
        return cls(parse_zxy(zoom, x, matched[1]), int(matched[2] or 1), matched[3])

    async def render(self, tiles: Tiles, group: Layergroup, selection: str, role: str) -> tuple[bytes, str]:
        """Return the tile and its content type; a vector tile without features is empty.

        Parameters
        ----------
        tiles : Tiles
        group : Layergroup
        selection : str
            Layers, as in `select_layers`.
        role : str
            Database role to read with.

        Raises
        ------
        MapError
            If a layer does not exist, or cannot be rendered in this format.
        """
        layers = select_layers(group, selection)
        match self.format:
            case "mvt":
                indexes = {layer.index for layer in layers}
                inspected = [inspected for inspected in group.inspected if inspected.layer.index in indexes]
                return await tiles.vector(group, inspected, self.zxy, role), VECTOR_TYPE
            case "png" | "png32":
                return await tiles.png(group, layers, self.zxy, role, scale=self.scale), "image/png"
            case "grid.json":
                with_query = [layer for layer in layers if layer.kind == "mapnik"]
                interactive = [layer for layer in with_query if layer.interactivity] or with_query
                if not interactive:
                    raise MapError("Tileset has no interactivity", status=400)
                return await tiles.grid(group, interactive[0], self.zxy, role), JSON_TYPE
        raise MapError(f"Unsupported format {self.format}")
