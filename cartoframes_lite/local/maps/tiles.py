"""Tiles and static images of instantiated maps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from psycopg import sql
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.maps import rendering
from cartoframes_lite.local.maps.config import MapLayer
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layer_inspection import InspectedLayer
from cartoframes_lite.local.maps.layergroups import Layergroup
from cartoframes_lite.local.maps.pixel_budget import PixelBudget
from cartoframes_lite.local.maps.queries import (
    GEOMETRY_COLUMN,
    HALF_WORLD,
    NUMBER_OIDS,
    Box,
    envelope,
    tile_box,
)
from cartoframes_lite.local.maps.table_states import TableStates
from cartoframes_lite.local.maps.tile_cache import TileCache
from cartoframes_lite.local.maps.vector_queries import TILE_PIXELS, vector_query
from cartoframes_lite.local.maps.viewports import Viewport
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.sessions import Sessions

_BUFFER_PIXELS = 4.0  # so that lines along a tile edge are not clipped to half their width
_MAX_ZOOM = 30
_IMAGE_BUFFER_PIXELS = 64
_MAX_FEATURES = 65_535  # per layer of an image or UTFGrid, as in CARTO
_RENDER_TIMEOUT_MESSAGE = (
    "You are over platform's limits: Render timeout error. Contact CARTO support for more details."
)
_UNSTYLED_MESSAGE = "Unsupported format: 'cartocss' option is missing for {}"
_GRID_KEY = "cartodb_id"


class Tiles:
    """Render tiles, or return them from the cache.

    Parameters
    ----------
    sessions : Sessions
        Read-only sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._states = TableStates(sessions)
        self._cache = TileCache()
        self._budget = PixelBudget()
        self.clear = self._cache.clear
        self.close = self._states.close

    async def vector(
        self, group: Layergroup, layers: Sequence[InspectedLayer], zxy: tuple[int, int, int], role: str
    ) -> bytes:
        """Return a vector tile; empty if it has no features.

        Parameters
        ----------
        group : Layergroup
        layers : sequence of InspectedLayer
        zxy : tuple of int
            Zoom, x, y.
        role : str
            Database role to read with.
        """
        if not layers:
            return b""
        pixels = group.config.buffer_sizes.get("mvt", _BUFFER_PIXELS)

        async def make(session: Session) -> bytes:
            result = await session.read(vector_query(layers, zxy, pixels), binary=True)
            return result.get_value(0, 0) or b""

        key = ("mvt", group.id, tuple(inspected.layer.index for inspected in layers), zxy, role)
        return await self._cached(group, role, key, make)

    async def png(
        self, group: Layergroup, layers: Sequence[MapLayer], zxy: tuple[int, int, int], role: str, *, scale: int
    ) -> bytes:
        """Return a PNG tile of 256 times ``scale`` pixels."""
        check_drawable(group, layers, "png")

        async def make(session: Session) -> bytes:
            view = Viewport(tile_box(*zxy), zxy[0], TILE_PIXELS, TILE_PIXELS)
            return await _render(session, group, layers, view, scale=scale, kind="png")

        key = ("png", group.id, tuple(layer.index for layer in layers), zxy, role, scale)
        async with self._budget.reserve((TILE_PIXELS * scale) ** 2):
            return await self._cached(group, role, key, make)

    async def static(
        self, group: Layergroup, layers: Sequence[MapLayer], view: Viewport, role: str, *, kind: str
    ) -> bytes:
        """Return a static image; ``kind`` is png or jpeg."""
        check_drawable(group, layers, kind)
        async with self._budget.reserve(view.width * view.height), self._sessions.open(role) as session:
            return await _render(session, group, layers, view, kind=kind)

    async def grid(self, group: Layergroup, layer: MapLayer, zxy: tuple[int, int, int], role: str) -> bytes:
        """Return the UTFGrid of a tile."""
        check_drawable(group, [layer], "grid.json")
        if not layer.interactivity:
            raise MapError("Tileset has no interactivity", status=400)

        async def make(session: Session) -> bytes:
            return await _render_grid(session, group, layer, zxy)

        return await self._cached(group, role, ("grid", group.id, layer.index, zxy, role), make)

    async def _cached(
        self, group: Layergroup, role: str, key: Hashable, make: Callable[[Session], Awaitable[bytes]]
    ) -> bytes:
        """Return a tile from the cache if no table has changed, else make and keep it.

        The state of the tables is older than the tile, so that a tile is never kept longer than it is valid.
        """
        asked = self._states.ask(role, group.tables)
        if key in self._cache:
            cached = self._cache.get(key, await asked)
            if cached is not None:
                return cached
        async with self._sessions.open(role) as session:
            state = await asked
            tile = await make(session)
        self._cache.put(key, tile, state)
        return tile


def parse_zxy(zoom: str, x: str, y: str) -> tuple[int, int, int]:
    """Parse zoom, x and y of a tile; x wraps around the world.

    Raises
    ------
    MapError
        If there is no such tile.
    """
    try:
        level, column, row = int(zoom), int(x), int(y)
    except ValueError:
        raise MapError(f"Invalid tile XYZ ({x},{y}{zoom})") from None
    if not 0 <= level <= _MAX_ZOOM or not 0 <= row < 2**level:
        raise MapError(f"Invalid tile XYZ ({column},{row}{level})")
    return level, column % 2**level, row


def check_drawable(group: Layergroup, layers: Sequence[MapLayer], kind: str) -> None:
    """Raise MapError if a layer has no style."""
    styled = {inspected.layer.index for inspected in group.inspected if inspected.style is not None}
    if any(layer.kind == "mapnik" and layer.index not in styled for layer in layers) or not layers:
        raise MapError(_UNSTYLED_MESSAGE.format(kind), status=400, kind="tile")


async def _render(
    session: Session,
    group: Layergroup,
    layers: Sequence[MapLayer],
    view: Viewport,
    *,
    scale: float = 1,
    kind: str,
) -> bytes:
    """Render a view of a map.

    Parameters
    ----------
    session : Session
    group : Layergroup
    layers : sequence of MapLayer
        From bottom to top.
    view : Viewport
    scale : float
        Factor for the size of the image and all symbols.
    kind : {"png", "jpeg"}
    """
    background: str | None = None
    rendered_layers: list[rendering.RenderedLayer] = []
    by_index = {inspected.layer.index: inspected for inspected in group.inspected}
    for layer in layers:
        inspected = by_index.get(layer.index)
        if layer.kind == "plain":  # covers the layers below
            background, rendered_layers = str(layer.options.get("color") or "") or background, []
        elif inspected is not None and inspected.style is not None:
            rendered_layers.append(rendering.RenderedLayer(inspected.style, _rows_of(session, inspected, view, ())))
    buffer = int(group.config.buffer_sizes.get("png", _IMAGE_BUFFER_PIXELS))
    render = partial(rendering.render, scale=scale, zoom=view.zoom, background=background, format=kind, buffer=buffer)
    try:
        return await run_in_threadpool(render, rendered_layers, view.box, view.width, view.height)
    except rendering.RenderingError as error:
        raise _map_error(error) from error


async def _render_grid(session: Session, group: Layergroup, layer: MapLayer, zxy: tuple[int, int, int]) -> bytes:
    """Render a UTFGrid."""
    [inspected] = [inspected for inspected in group.inspected if inspected.layer.index == layer.index]
    assert inspected.style is not None  # checked by `check_drawable`
    view = Viewport(tile_box(*zxy), zxy[0], TILE_PIXELS, TILE_PIXELS)
    drawable = {column.name: column.type_oid for column in inspected.drawable_columns}
    known = [name for name in layer.interactivity if name in drawable]
    rendered_layer = rendering.RenderedLayer(inspected.style, _rows_of(session, inspected, view, (_GRID_KEY, *known)))
    fields = sorted(set(layer.interactivity))
    render = partial(rendering.grid, zoom=view.zoom, fields=fields, key=_GRID_KEY)
    try:
        content = await run_in_threadpool(render, rendered_layer, view.box)
    except rendering.RenderingError as error:
        raise _map_error(error) from error
    numbers = [name for name in known if drawable[name] in NUMBER_OIDS]
    data: dict[str, dict[str, Any]] = content["data"]
    for row in data.values():
        row |= {name: None for name in fields if name not in drawable}
        row |= {name: None for name in numbers if isinstance(row[name], str)}  # NaN and infinity
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _map_error(error: rendering.RenderingError) -> MapError:
    """Convert a rendering error to an error of the Maps API."""
    if isinstance(error, rendering.RenderTimeout):
        return MapError(_RENDER_TIMEOUT_MESSAGE, status=429, kind="limit", subtype="render")
    return MapError(str(error), status=400, kind="tile")


def _rows_of(
    session: Session, inspected: InspectedLayer, view: Viewport, additional: Sequence[str]
) -> Callable[[Box], list[tuple[bytes, dict[str, Any]]]]:
    """Return a function that fetches the rows of a layer, to be called in the rendering thread."""
    loop = asyncio.get_running_loop()
    resolution = (view.box[2] - view.box[0]) / view.width
    columns = sorted({*(inspected.style.columns if inspected.style else ()), *additional})

    async def fetch_box(box: Box) -> list[tuple[bytes, dict[str, Any]]]:
        rows = []
        for offset in _world_offsets(view.box, box):
            result = await session.read(_rows_query(inspected, columns, box, resolution, offset), binary=True)
            for row in range(result.ntuples):
                geometry, attributes = result.get_value(row, 0), result.get_value(row, 1)
                rows.append((geometry or b"", json.loads(attributes or b"{}")))
        return rows

    return lambda box: asyncio.run_coroutine_threadsafe(fetch_box(box), loop).result()


def _world_offsets(view: Box, buffered: Box) -> list[float]:
    """Return how far the rows of a view lie to the west of it, in meters, because it crosses the 180th meridian.

    Symbols near that meridian would be cut otherwise. A view that is wider than the world shows it once.
    """
    world = 2 * HALF_WORLD
    if view[2] - view[0] > world * 1.001:  # not for rounding errors
        return [0.0]
    across = [world] if buffered[2] > HALF_WORLD else []
    return [0.0, *across, *([-world] if buffered[0] < -HALF_WORLD else [])]


def _rows_query(inspected: InspectedLayer, columns: Sequence[str], view: Box, resolution: float, offset: float) -> str:
    """Return the query for the geometries and attributes in a box, whose rows lie ``offset`` meters to the west."""
    box = (view[0] - offset, view[1], view[2] - offset, view[3])
    attributes: sql.Composable = sql.Literal("{}")
    geometry = sql.Identifier(GEOMETRY_COLUMN)
    if columns:  # to_jsonb of a row, because functions have at most 100 arguments
        row = sql.SQL(", ").join(map(sql.Identifier, columns))
        attributes = sql.SQL("(SELECT to_jsonb(cdb_row)::text FROM (SELECT {}) AS cdb_row)").format(row)
    return (
        sql.SQL(
            "SELECT ST_AsBinary({drawn}), {attributes} FROM {source} AS cdbq WHERE {geometry} && {box} LIMIT {most}"
        )
        .format(
            drawn=sql.SQL("ST_Translate({}, {}, 0)").format(geometry, offset) if offset else geometry,
            geometry=geometry,
            attributes=attributes,
            source=inspected.source(envelope(box), resolution),
            box=envelope(box),
            most=sql.Literal(_MAX_FEATURES),
        )
        .as_string()
    )
