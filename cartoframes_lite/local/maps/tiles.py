"""Tiles of instantiated maps: one query each, over the index of the geometries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import lru_cache, partial
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
    NUMBER_OIDS,
    Box,
    Column,
    envelope,
    read,
    statement,
    tile_box,
    widened,
)
from cartoframes_lite.local.maps.tile_cache import TileCache, read_state, state_expression, state_of
from cartoframes_lite.local.maps.viewports import Viewport
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.sessions import Sessions

TILE_PIXELS = 256
_EXTENT = 4096
_MAX_ZOOM = 30
_PICTURE_BUFFER_PIXELS = 64
_BUFFER_PIXELS = 4.0  # so that lines along an edge are not cut in their width
_MOST_FEATURES = 65_535  # of a layer in a picture or a grid, as CARTO has it
_RENDER_TIMEOUT = "You are over platform's limits: Render timeout error. Contact CARTO support for more details."
_UNSTYLED = "Unsupported format: 'cartocss' option is missing for {}"
_GRID_KEY = "cartodb_id"

_Made = tuple[bytes, str | None]
"""A tile, and the state of its tables in the same snapshot or before: what is newer than its state is made again."""


class Tiles:
    """Makes tiles, or finds them made.

    Parameters
    ----------
    sessions : Sessions
        Of transactions that only read.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._cache = TileCache()
        self._budget = PixelBudget()
        self.forget = self._cache.forget

    async def vector(
        self, group: Layergroup, layers: Sequence[InspectedLayer], place: tuple[int, int, int], role: str
    ) -> bytes:
        """Return a vector tile; empty if nothing is there.

        Parameters
        ----------
        group : Layergroup
        layers : sequence of InspectedLayer
        place : tuple of int
            Zoom, x, y.
        role : str
            Whose rights count.
        """
        pixels = group.config.buffer_sizes.get("mvt", _BUFFER_PIXELS)

        async def make(session: Session) -> _Made:
            query = _vector_query(layers, tile_box(*place), pixels, group.tables)
            result = await read(session, query, binary=True)
            return result.get_value(0, 0) or b"", read_state(result.get_value(0, 1))

        key = ("mvt", group.id, tuple(shown.layer.index for shown in layers), place, role)
        return await self._cached(group, role, key, make) if layers else b""

    async def picture(
        self, group: Layergroup, layers: Sequence[MapLayer], place: tuple[int, int, int], role: str, *, scale: int
    ) -> bytes:
        """Return a tile as PNG, of ``scale`` times the usual pixels."""
        check_drawable(group, layers, "png")

        async def make(session: Session) -> _Made:
            state = await state_of(session, group.tables)
            view = Viewport(tile_box(*place), place[0], TILE_PIXELS, TILE_PIXELS)
            return await _draw(session, group, layers, view, scale=scale, kind="png"), state

        key = ("png", group.id, tuple(layer.index for layer in layers), place, role, scale)
        async with self._budget.reserve((TILE_PIXELS * scale) ** 2):
            return await self._cached(group, role, key, make)

    async def static(
        self, group: Layergroup, layers: Sequence[MapLayer], view: Viewport, role: str, *, kind: str
    ) -> bytes:
        """Return a picture of a part of a map; ``kind`` is png or jpeg."""
        check_drawable(group, layers, kind)
        async with self._budget.reserve(view.width * view.height), self._sessions.open(role) as session:
            return await _draw(session, group, layers, view, kind=kind)

    async def grid(self, group: Layergroup, layer: MapLayer, place: tuple[int, int, int], role: str) -> bytes:
        """Return the features of a tile as UTFGrid."""
        check_drawable(group, [layer], "grid.json")
        if not layer.interactivity:
            raise MapError("Tileset has no interactivity", status=400)

        async def make(session: Session) -> _Made:
            state = await state_of(session, group.tables)
            return await _draw_grid(session, group, layer, place), state

        return await self._cached(group, role, ("grid", group.id, layer.index, place, role), make)

    async def _cached(
        self, group: Layergroup, role: str, key: Hashable, make: Callable[[Session], Awaitable[_Made]]
    ) -> bytes:
        """Return a tile made before if no table has changed since, or make it."""
        async with self._sessions.open(role) as session:
            kept = self._cache.get(key)
            if kept is not None and kept.state == await state_of(session, group.tables):
                return kept.tile
            tile, state = await make(session)
            if state is not None:
                self._cache.put(key, tile, state)
            return tile


def read_place(zoom: str, x: str, y: str) -> tuple[int, int, int]:
    """Read zoom, x and y of a tile; x goes around the world.

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
    """Refuse to draw layers without a style."""
    styled = {shown.layer.index for shown in group.shown if shown.style is not None}
    if any(layer.kind == "mapnik" and layer.index not in styled for layer in layers) or not layers:
        raise MapError(_UNSTYLED.format(kind), status=400, kind="tile")


async def _draw(
    session: Session,
    group: Layergroup,
    layers: Sequence[MapLayer],
    view: Viewport,
    *,
    scale: float = 1,
    kind: str,
) -> bytes:
    """Draw a part of a map.

    Parameters
    ----------
    session : Session
    group : Layergroup
    layers : sequence of MapLayer
        From below to above.
    view : Viewport
    scale : float
        How much larger everything is drawn.
    kind : {"png", "jpeg"}
    """
    background: str | None = None
    drawn: list[rendering.RenderedLayer] = []
    by_index = {shown.layer.index: shown for shown in group.shown}
    for layer in layers:
        shown = by_index.get(layer.index)
        if layer.kind == "plain":  # covers what is below it
            background, drawn = str(layer.options.get("color") or "") or background, []
        elif shown is not None and shown.style is not None:
            drawn.append(rendering.RenderedLayer(shown.style, _rows_of(session, shown, view, ())))
    buffer = int(group.config.buffer_sizes.get("png", _PICTURE_BUFFER_PIXELS))
    drawing_it = partial(
        rendering.render, scale=scale, zoom=view.zoom, background=background, format=kind, buffer=buffer
    )
    try:
        return await run_in_threadpool(drawing_it, drawn, view.box, view.width, view.height)
    except rendering.RenderingError as error:
        raise _refusal(error) from error


async def _draw_grid(session: Session, group: Layergroup, layer: MapLayer, place: tuple[int, int, int]) -> bytes:
    """Draw a UTFGrid."""
    [shown] = [shown for shown in group.shown if shown.layer.index == layer.index]
    assert shown.style is not None  # checked by `check_drawable`
    view = Viewport(tile_box(*place), place[0], TILE_PIXELS, TILE_PIXELS)
    drawable = {column.name: column.type_oid for column in shown.drawable_columns}
    known = [name for name in layer.interactivity if name in drawable]
    drawn = rendering.RenderedLayer(shown.style, _rows_of(session, shown, view, (_GRID_KEY, *known)))
    fields = sorted(set(layer.interactivity))
    drawing_it = partial(rendering.grid, zoom=view.zoom, fields=fields, key=_GRID_KEY)
    try:
        content = await run_in_threadpool(drawing_it, drawn, view.box)
    except rendering.RenderingError as error:
        raise _refusal(error) from error
    numbers = [name for name in known if drawable[name] in NUMBER_OIDS]
    data: dict[str, dict[str, Any]] = content["data"]
    for row in data.values():
        row |= {name: None for name in fields if name not in drawable}
        row |= {name: None for name in numbers if isinstance(row[name], str)}  # NaN and infinity
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _refusal(error: rendering.RenderingError) -> MapError:
    """Return why a picture cannot be drawn as an error of the API."""
    if isinstance(error, rendering.RenderTimeout):
        return MapError(_RENDER_TIMEOUT, status=429, kind="limit", subtype="render")
    return MapError(str(error), status=400, kind="tile")


def _rows_of(
    session: Session, shown: InspectedLayer, view: Viewport, also: Sequence[str]
) -> Callable[[Box], list[tuple[bytes, dict[str, Any]]]]:
    """Return what fetches the rows of a layer for the thread that draws them."""
    loop = asyncio.get_running_loop()
    resolution = (view.box[2] - view.box[0]) / view.width
    columns = sorted({*(shown.style.columns if shown.style else ()), *also})

    async def fetch(box: Box) -> list[tuple[bytes, dict[str, Any]]]:
        result = await read(session, _rows_query(shown, columns, box, resolution), binary=True)
        found = []
        for row in range(result.ntuples):
            geometry, attributes = result.get_value(row, 0), result.get_value(row, 1)
            found.append((geometry or b"", json.loads(attributes or b"{}")))
        return found

    return lambda box: asyncio.run_coroutine_threadsafe(fetch(box), loop).result()


def _rows_query(shown: InspectedLayer, columns: Sequence[str], box: Box, resolution: float) -> str:
    """Return the query of geometries and attributes in a box."""
    attributes: sql.Composable = sql.Literal("{}")
    if columns:  # a row, since a function has at most 100 arguments
        row = sql.SQL(", ").join(map(sql.Identifier, columns))
        attributes = sql.SQL("(SELECT to_jsonb(cdb_row)::text FROM (SELECT {}) AS cdb_row)").format(row)
    return (
        sql.SQL(
            "SELECT ST_AsBinary({geometry}), {attributes} FROM {source} AS cdbq WHERE {geometry} && {box} LIMIT {most}"
        )
        .format(
            geometry=sql.Identifier(GEOMETRY_COLUMN),
            attributes=attributes,
            source=shown.source(box, resolution),
            box=envelope(box),
            most=sql.Literal(_MOST_FEATURES),
        )
        .as_string()
    )


def _vector_query(layers: Sequence[InspectedLayer], box: Box, pixels: float, tables: tuple[str, ...]) -> str:
    """Return the one query of a vector tile and, in the same snapshot, of the state of the tables."""
    parts = [_layer_query(shown, box, pixels) for shown in layers]
    tile = sql.SQL(" || ").join(parts)
    return sql.SQL("SELECT {}, {}").format(tile, state_expression(tables)).as_string()


def _layer_query(shown: InspectedLayer, box: Box, pixels: float) -> sql.Composed:
    """Return the expression of a layer of a vector tile."""
    geometry = sql.Identifier(GEOMETRY_COLUMN)
    return sql.SQL(
        "(SELECT ST_AsMVT(tile, {name}, {extent}, {column}) FROM (SELECT"
        " ST_AsMVTGeom({geometry}, {box}, {extent}, {buffer}, true) AS {geometry}{values}"
        " FROM {source} AS cdbq WHERE {geometry} && {wide}) AS tile)"
    ).format(
        name=sql.Literal(shown.layer.id),
        extent=sql.Literal(_EXTENT),
        column=sql.Literal(GEOMETRY_COLUMN),
        box=envelope(box),
        buffer=sql.Literal(round(pixels * _EXTENT / TILE_PIXELS)),
        geometry=geometry,
        values=_values(tuple(shown.drawable_columns)),
        source=shown.source(box, (box[2] - box[0]) / TILE_PIXELS),
        wide=envelope(widened(box, pixels, TILE_PIXELS)),
    )


@lru_cache
def _values(columns: tuple[Column, ...]) -> sql.SQL:
    """Return columns for the end of a list; a tile has numeric ones as text."""
    return statement("".join(f", {sql.Identifier(column.name).as_string()}" for column in columns))
