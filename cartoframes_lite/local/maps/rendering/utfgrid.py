"""UTFGrid: which row is where in a tile, for a pointer that moves over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cartoframes_lite.local.maps.mapnik_library import mapnik
from cartoframes_lite.local.maps.rendering.features import Box, RenderedLayer, RenderingError
from cartoframes_lite.local.maps.rendering.images import prepared


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
    """Return the grid of a layer.

    Parameters
    ----------
    layer : RenderedLayer
        Its rows have the fields and the key, too.
    box, width, height, zoom, buffer
        As :func:`draw` takes them.
    fields : sequence of str
        Attributes that the grid holds for each row.
    key : str, default "cartodb_id"
        The attribute, an integer, by which rows are known.
    resolution : int, default 4
        Pixels of a tile along each side of a cell.

    Returns
    -------
    dict
        `grid` (lines of text), `keys` and `data`, the values of which are those that the rows have.

    Raises
    ------
    RenderingError
        Mapnik cannot draw it.
    """
    drawn, (rows,) = prepared([layer], box, width, height, zoom=zoom, buffer=buffer, key=key)
    cells = mapnik.Grid(drawn.width, drawn.height)
    try:
        mapnik.render_layer(drawn, cells, layer=0, fields=[])
    except RuntimeError as error:
        raise RenderingError(str(error)) from error
    encoded: dict[str, list[str]] = cells.encode("utf", False, resolution)
    keys = [name for name in encoded["keys"] if name]
    data = {name: {field: rows.attributes[int(name)].get(field) for field in fields} for name in keys}
    return {"grid": encoded["grid"], "keys": encoded["keys"], "data": data}
