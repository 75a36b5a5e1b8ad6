"""SQL around the queries of maps: what is known of one, and how it stands inside another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from ..routes.json_values import Rows
from ..session import Session

GEOMETRY_COLUMN = "the_geom_webmercator"
HALF_WORLD = 20037508.342789244  # metres, EPSG:3857
_METRES_PER_DOT = 0.00028  # of a screen, as scale denominators are defined

Box = tuple[float, float, float, float]
WORLD: Box = (-HALF_WORLD, -HALF_WORLD, HALF_WORLD, HALF_WORLD)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query."""

    name: str
    type_oid: int


def statement(text: str) -> sql.SQL:
    """Take a statement of the user as it is."""
    return sql.SQL(text)


def subquery(text: str, *, box: Box = WORLD, resolution: float = 2 * HALF_WORLD / 256) -> sql.Composed:
    """Return a query of the user in parentheses, with the tokens filled in that CARTO knows.

    Parameters
    ----------
    text : str
    box : tuple of float
        What ``!bbox!`` stands for, EPSG:3857.
    resolution : float
        Metres of a pixel, for ``!pixel_width!`` and ``!scale_denominator!``.
    """

    def fill_in(token: re.Match[str]) -> str:
        match token[1]:
            case "pixel_width" | "pixel_height":
                return repr(resolution)
            case "scale_denominator":
                return repr(resolution / _METRES_PER_DOT)
            case "bbox":
                return envelope(box).as_string()
        return token[0]

    text = re.sub(r"!(\w+)!", fill_in, text)
    return sql.SQL("({}\n)").format(statement(re.sub(r";\s*$", "", text)))


def envelope(box: Box) -> sql.Composed:
    """Return a box as an expression."""
    return sql.SQL("ST_MakeEnvelope({}, 3857)").format(sql.SQL(", ").join(map(sql.Literal, box)))


def tile_box(zoom: int, x: int, y: int) -> Box:
    """Return the box of a tile, EPSG:3857."""
    side = 2 * HALF_WORLD / 2**zoom
    west, north = x * side - HALF_WORLD, HALF_WORLD - y * side
    return west, north - side, west + side, north


def widened(box: Box, pixels: float, width: float) -> Box:
    """Return a box with a margin of so many pixels, of which the box is ``width`` wide."""
    margin = (box[2] - box[0]) * pixels / width
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def names(columns: Iterable[str]) -> sql.Composed:
    """Return a list of columns."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


async def rows(session: Session, query: sql.Composable) -> list[dict[str, Any]]:
    """Run a query; return its rows with values as CARTO writes them in JSON."""
    result = await session.execute(query.as_string())
    columns = Rows(result)
    return [json.loads(columns.object(result, row)) for row in range(result.ntuples)]


async def columns_of(session: Session, text: str) -> list[Column]:
    """Return the columns of a query; its tables have to be readable."""
    query = sql.SQL("SELECT * FROM {} AS cdbq LIMIT 0").format(subquery(text))
    result = await session.execute(query.as_string())
    return [Column((result.fname(at) or b"").decode(), result.ftype(at)) for at in range(result.nfields)]


async def estimated_rows(session: Session, text: str) -> int:
    """Return how many rows PostgreSQL expects."""
    result = await session.execute(f"EXPLAIN (FORMAT JSON) SELECT * FROM {subquery(text).as_string()} AS cdbq")
    return int(json.loads(result.get_value(0, 0) or b"")[0]["Plan"]["Plan Rows"])


async def tables_of(session: Session, text: str) -> list[str]:
    """Return the tables that a query reads, as schema.name."""
    query = sql.SQL("SELECT unnest(cartodb.cdb_querytablestext({})) AS name")
    whole = sql.SQL("SELECT * FROM {} AS cdbq").format(subquery(text)).as_string()
    return [row["name"] for row in await rows(session, query.format(sql.Literal(whole)))]
