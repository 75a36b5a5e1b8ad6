"""UTFGrids: the features of a tile by pixel, for interactivity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cartoframes_lite.local.maps.mapnik_library import mapnik
from cartoframes_lite.local.maps.rendering.features import Box, RenderedLayer, RenderingError
from cartoframes_lite.local.maps.rendering.images import prepare_map


def grid(
    layer: RenderedLayer,
    box: Box,
    width: int = 256,
    height: int = 256,
    *,
    zoom: float,
    fields: Sequence[str],
    key: str = "cartodb_id",
    resolution: int = 4,
    buffer: int = 64,
) -> dict[str, Any]:
    """Return the UTFGrid of a layer.

    Parameters
    ----------
    layer : RenderedLayer
        Its rows must also have the fields and the key.
    box, width, height, zoom, buffer
        As in :func:`render`.
    fields : sequence of str
        Attributes of each row in the grid.
    key : str, default "cartodb_id"
        Integer attribute that identifies a row.
    resolution : int, default 4
        Width of a grid cell, in pixels.

    Returns
    -------
    dict
        `grid` (lines of text), `keys` and `data` (the fields by key).

    Raises
    ------
    RenderingError
        If Mapnik cannot render the layer.
    """
    map_, (features,) = prepare_map([layer], box, width, height, zoom=zoom, buffer=buffer, key=key)
    cells = mapnik.Grid(map_.width, map_.height)
    try:
        mapnik.render_layer(map_, cells, layer=0, fields=[])
    except RuntimeError as error:
        raise RenderingError(str(error)) from error
    encoded: dict[str, list[str]] = cells.encode("utf", False, resolution)
    keys = [name for name in encoded["keys"] if name]
    data = {name: {field: features.attributes[int(name)].get(field) for field in fields} for name in keys}
    return {"grid": encoded["grid"], "keys": encoded["keys"], "data": data}
