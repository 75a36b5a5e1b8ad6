"""Queries for vector tiles."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache

from psycopg import sql

from cartoframes_lite.local.maps.layer_inspection import InspectedLayer
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, HALF_WORLD, Box, expand_box, tile_box

TILE_PIXELS = 256
_EXTENT = 4096
_KEPT_LAYERS = 64  # each up to some 0.3 MB, three times the longest query of a layer
# Stand for the extent of the tile, with and without its margin. Random, so that no query of a user contains them.
_BOX, _BUFFERED = (f"/* {secrets.token_hex(16)} */" for _ in range(2))


def vector_query(layers: Sequence[InspectedLayer], zxy: tuple[int, int, int], buffer_pixels: float) -> str:
    """Return the query for a vector tile.

    Parameters
    ----------
    layers : sequence of InspectedLayer
    zxy : tuple of int
        Zoom, x, y.
    buffer_pixels : float
        Margin around the tile, in which features are kept.
    """
    box = tile_box(*zxy)
    parts = " || ".join(_layer_query(inspected, zxy[0], buffer_pixels) for inspected in layers)
    buffered = expand_box(box, buffer_pixels, TILE_PIXELS)
    return f"SELECT {parts.replace(_BOX, _coordinates(box)).replace(_BUFFERED, _coordinates(buffered))}"


@lru_cache(_KEPT_LAYERS)
def _layer_query(inspected: InspectedLayer, zoom: int, buffer_pixels: float) -> str:
    """Return the SQL expression for a layer of the tiles of a zoom, which takes longer to compose than many tiles."""
    box, buffered = (sql.SQL(f"ST_MakeEnvelope({place}, 3857)") for place in (_BOX, _BUFFERED))
    columns = (sql.SQL(", {}").format(sql.Identifier(column.name)) for column in inspected.drawable_columns)
    return (
        sql.SQL(
            "(SELECT ST_AsMVT(tile, {name}, {extent}, {column}) FROM (SELECT"
            " ST_AsMVTGeom({geometry}, {box}, {extent}, {buffer}, true) AS {geometry}{values}"
            " FROM {source} AS cdbq WHERE {geometry} && {buffered}) AS tile)"
        )
        .format(
            name=sql.Literal(inspected.layer.id),
            extent=sql.Literal(_EXTENT),
            column=sql.Literal(GEOMETRY_COLUMN),
            box=box,
            buffer=sql.Literal(round(buffer_pixels * _EXTENT / TILE_PIXELS)),
            geometry=sql.Identifier(GEOMETRY_COLUMN),
            values=sql.Composed(list(columns)),
            source=inspected.source(box, 2 * HALF_WORLD / 2**zoom / TILE_PIXELS),
            buffered=buffered,
        )
        .as_string()
    )


def _coordinates(box: Box) -> str:
    """Return the coordinates of a box in SQL; PostgreSQL reads them as exactly the same numbers."""
    return ", ".join(map(repr, box))
