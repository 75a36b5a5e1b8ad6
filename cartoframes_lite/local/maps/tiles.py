"""Tiles of instantiated maps: one query each, over the index of the geometries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any

from psycopg import sql
from starlette.concurrency import run_in_threadpool

from ..pool import Sessions
from ..session import Session
from . import drawing
from .config import Layer
from .layergroups import Layergroup, Shown
from .queries import GEOMETRY_COLUMN, Box, Column, envelope, statement, tile_box, widened
from .refusals import MapError
from .tile_cache import TileCache, read_state, state_expression, state_of
from .views import View

TILE_PIXELS = 256
_EXTENT = 4096
_MAX_ZOOM = 30
_PICTURE_BUFFER_PIXELS = 64
_BUFFER_PIXELS = 4.0  # so that lines along an edge are not cut in their width
_NUMERIC_OID = 1700
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
        self.forget = self._cache.forget

    async def vector(self, group: Layergroup, layers: Sequence[Shown], place: tuple[int, int, int], role: str) -> bytes:
        """Return a vector tile; empty if nothing is there.

        Parameters
        ----------
        group : Layergroup
        layers : sequence of Shown
        place : tuple of int
            Zoom, x, y.
        role : str
            Whose rights count.
        """
        pixels = group.config.buffer_sizes.get("mvt", _BUFFER_PIXELS)

        async def make(session: Session) -> _Made:
            query = _vector_query(layers, tile_box(*place), pixels, group.tables)
            result = await session.execute(query, binary=True)
            return result.get_value(0, 0) or b"", read_state(result.get_value(0, 1))

        key = ("mvt", group.id, tuple(shown.layer.index for shown in layers), place, role)
        return await self._cached(group, role, key, make) if layers else b""

    async def picture(
        self, group: Layergroup, layers: Sequence[Layer], place: tuple[int, int, int], role: str, *, scale: int
    ) -> bytes:
        """Return a tile as PNG, of ``scale`` times the usual pixels."""
        check_drawable(group, layers, "png")

        async def make(session: Session) -> _Made:
            state = await state_of(session, group.tables)
            view = View(tile_box(*place), place[0], TILE_PIXELS, TILE_PIXELS)
            return await draw(session, group, layers, view, scale=scale, kind="png"), state

        key = ("png", group.id, tuple(layer.index for layer in layers), place, role, scale)
        return await self._cached(group, role, key, make)

    async def grid(self, group: Layergroup, layer: Layer, place: tuple[int, int, int], role: str) -> bytes:
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


def check_drawable(group: Layergroup, layers: Sequence[Layer], kind: str) -> None:
    """Refuse to draw layers without a style."""
    styled = {shown.layer.index for shown in group.shown if shown.style is not None}
    if any(layer.kind == "mapnik" and layer.index not in styled for layer in layers) or not layers:
        raise MapError(_UNSTYLED.format(kind), status=400, kind="tile")


async def draw(
    session: Session,
    group: Layergroup,
    layers: Sequence[Layer],
    view: View,
    *,
    scale: float = 1,
    kind: str,
) -> bytes:
    """Draw a part of a map.

    Parameters
    ----------
    session : Session
    group : Layergroup
    layers : sequence of Layer
        From below to above.
    view : View
    scale : float
        How much larger everything is drawn.
    kind : {"png", "jpeg"}
    """
    background: str | None = None
    drawn: list[drawing.Drawn] = []
    by_index = {shown.layer.index: shown for shown in group.shown}
    for layer in layers:
        shown = by_index.get(layer.index)
        if layer.kind == "plain":  # covers what is below it
            background, drawn = str(layer.options.get("color") or "") or background, []
        elif shown is not None and shown.style is not None:
            drawn.append(drawing.Drawn(shown.style, _rows_of(session, shown, view, ())))
    buffer = int(group.config.buffer_sizes.get("png", _PICTURE_BUFFER_PIXELS))
    drawing_it = partial(drawing.draw, scale=scale, zoom=view.zoom, background=background, format=kind, buffer=buffer)
    try:
        return await run_in_threadpool(drawing_it, drawn, view.box, view.width, view.height)
    except drawing.DrawingError as error:
        raise MapError(str(error), status=400, kind="tile") from error


async def _draw_grid(session: Session, group: Layergroup, layer: Layer, place: tuple[int, int, int]) -> bytes:
    """Draw a UTFGrid."""
    [shown] = [shown for shown in group.shown if shown.layer.index == layer.index]
    assert shown.style is not None  # checked by `check_drawable`
    view = View(tile_box(*place), place[0], TILE_PIXELS, TILE_PIXELS)
    drawn = drawing.Drawn(shown.style, _rows_of(session, shown, view, (_GRID_KEY, *layer.interactivity)))
    drawing_it = partial(drawing.grid, zoom=view.zoom, fields=layer.interactivity, key=_GRID_KEY)
    try:
        content = await run_in_threadpool(drawing_it, drawn, view.box)
    except drawing.DrawingError as error:
        raise MapError(str(error), status=400, kind="tile") from error
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _rows_of(
    session: Session, shown: Shown, view: View, also: Sequence[str]
) -> Callable[[Box], list[tuple[bytes, dict[str, Any]]]]:
    """Return what fetches the rows of a layer for the thread that draws them."""
    loop = asyncio.get_running_loop()
    resolution = (view.box[2] - view.box[0]) / view.width
    columns = sorted({*(shown.style.columns if shown.style else ()), *also})

    async def fetch(box: Box) -> list[tuple[bytes, dict[str, Any]]]:
        result = await session.execute(_rows_query(shown, columns, box, resolution), binary=True)
        found = []
        for row in range(result.ntuples):
            geometry, attributes = result.get_value(row, 0), result.get_value(row, 1)
            found.append((geometry or b"", json.loads(attributes or b"{}")))
        return found

    return lambda box: asyncio.run_coroutine_threadsafe(fetch(box), loop).result()


def _rows_query(shown: Shown, columns: Sequence[str], box: Box, resolution: float) -> str:
    """Return the query of geometries and attributes in a box."""
    members: list[sql.Composable] = []
    for name in columns:
        members += [sql.Literal(name), sql.Identifier(name)]
    return (
        sql.SQL(
            "SELECT ST_AsBinary({geometry}), jsonb_build_object({members})::text FROM {source} AS cdbq"
            " WHERE {geometry} && {box}"
        )
        .format(
            geometry=sql.Identifier(GEOMETRY_COLUMN),
            members=sql.SQL(", ").join(members),
            source=shown.source(box, resolution),
            box=envelope(box),
        )
        .as_string()
    )


def _vector_query(layers: Sequence[Shown], box: Box, pixels: float, tables: tuple[str, ...]) -> str:
    """Return the one query of a vector tile and, in the same snapshot, of the state of the tables."""
    parts = [_layer_query(shown, box, pixels) for shown in layers]
    tile = sql.SQL(" || ").join(parts)
    return sql.SQL("SELECT {}, {}").format(tile, state_expression(tables)).as_string()


def _layer_query(shown: Shown, box: Box, pixels: float) -> sql.Composed:
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
        values=_values(tuple(shown.shown_columns())),
        source=shown.source(box, (box[2] - box[0]) / TILE_PIXELS),
        wide=envelope(widened(box, pixels, TILE_PIXELS)),
    )


@lru_cache
def _values(columns: tuple[Column, ...]) -> sql.SQL:
    """Return columns for the end of a list."""
    return statement("".join(f", {_value(column).as_string()}" for column in columns))


def _value(column: Column) -> sql.Composable:
    """Return a column as a tile can hold it: a number of any digits would be text there."""
    name = sql.Identifier(column.name)
    if column.type_oid == _NUMERIC_OID:
        return sql.SQL("{name}::float8 AS {name}").format(name=name)
    return sql.SQL("{}").format(name)
