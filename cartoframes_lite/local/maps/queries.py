"""SQL around the queries of maps: what is known of one, and how it stands inside another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.postgres.session import Session, SQLError
from cartoframes_lite.local.sql.json_values import Rows

GEOMETRY_COLUMN = "the_geom_webmercator"
HALF_WORLD = 20037508.342789244  # meters, EPSG:3857
_MANY_ROWS = 500  # to be read beside the event loop
MOST_ROWS = 100_000  # of an answer in JSON, which is made in memory
_TOKEN = re.compile(r"!(\w++)!")
TIME_OIDS = (1082, 1114, 1184)  # date, timestamp with and without time zone
_METRES_PER_DOT = 0.00028  # of a screen, as scale denominators are defined

# Types that vector tiles and grids have: boolean, integers, floats, numeric and texts. Others are NULL in a grid.
NUMBER_OIDS = frozenset({20, 21, 23, 700, 701, 1700})
DRAWABLE_OIDS = NUMBER_OIDS | {16, 25, 705, 1042, 1043}

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


def without_semicolon(text: str) -> str:
    """Return a query without the semicolon at its end."""
    stripped = text.rstrip()
    return stripped[:-1] if stripped.endswith(";") else text


def subquery(text: str, *, box: Box = WORLD, resolution: float = 2 * HALF_WORLD / 256) -> sql.Composed:
    """Return a query of the user in parentheses, with the tokens filled in that CARTO knows.

    As with CARTO, a comment in the last line of the query hides the closing parenthesis.

    Parameters
    ----------
    text : str
    box : tuple of float
        What ``!bbox!`` stands for, EPSG:3857.
    resolution : float
        Meters of a pixel, for ``!pixel_width!`` and ``!scale_denominator!``.
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

    return sql.SQL("({})").format(statement(_TOKEN.sub(fill_in, without_semicolon(text))))


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


async def read(session: Session, query: str, *, binary: bool = False) -> PGresult:
    """Run a query in a transaction of its own that only reads.

    PostgreSQL lets nothing in a READ ONLY transaction make it READ WRITE once it has a snapshot, and a setting that the
    query changes ends with the transaction: it holds neither for the next layer nor for the next request.
    """
    await session.execute("BEGIN READ ONLY")
    try:
        result = await session.execute(query, binary=binary)
    except SQLError:
        with suppress(SQLError, psycopg.OperationalError):  # the connection may be lost: that error counts
            await session.execute("ROLLBACK")
        raise
    await session.execute("ROLLBACK")
    return result


async def rows(session: Session, query: sql.Composable) -> list[dict[str, Any]]:
    """Run a query; return its rows with values as the Maps API writes them in JSON.

    Raises
    ------
    MapError
        If there are more rows than fit an answer.
    """
    result = await read(session, query.as_string())
    if result.ntuples > MOST_ROWS:
        raise MapError(f"the answer would have {result.ntuples} rows, more than {MOST_ROWS}", status=400)
    if result.ntuples < _MANY_ROWS:
        return _as_json(result)
    return await run_in_threadpool(_as_json, result)


def _as_json(result: PGresult) -> list[dict[str, Any]]:
    """Return the rows of a result."""
    columns = Rows(result)
    times = {_name(result, at): at for at in range(result.nfields) if result.ftype(at) in TIME_OIDS}
    found = []
    for row in range(result.ntuples):
        values = json.loads(columns.object(result, row))
        for name, at in times.items():
            values[name] = _with_milliseconds(values[name], result.get_value(row, at))
        found.append(values)
    return found


async def columns_of(session: Session, source: sql.Composable) -> list[Column]:
    """Return the columns of a query in parentheses; its tables have to be readable."""
    result = await read(session, sql.SQL("SELECT * FROM {} AS cdbq LIMIT 0").format(source).as_string())
    return [Column(_name(result, at), result.ftype(at)) for at in range(result.nfields)]


async def estimated_rows(session: Session, text: str) -> int:
    """Return how many rows PostgreSQL expects."""
    result = await read(session, f"EXPLAIN (FORMAT JSON) SELECT * FROM {subquery(text).as_string()} AS cdbq")
    return int(json.loads(result.get_value(0, 0) or b"")[0]["Plan"]["Plan Rows"])


async def tables_of(session: Session, text: str) -> list[str]:
    """Return the tables that a query reads, as schema.name."""
    query = sql.SQL("SELECT unnest(cartodb.cdb_querytablestext({})) AS name")
    whole = sql.SQL("SELECT * FROM {} AS cdbq").format(subquery(text)).as_string()
    return [row["name"] for row in await rows(session, query.format(sql.Literal(whole)))]


def _name(result: PGresult, at: int) -> str:
    return (result.fname(at) or b"").decode()


def _with_milliseconds(moment: Any, text: bytes | None) -> Any:
    """Write a moment as JavaScript does: the SQL API leaves the fractions of its seconds out."""
    if not isinstance(moment, str) or not moment.endswith("Z"):
        return moment
    fraction = re.match(rb"\d*", (text or b"").partition(b".")[2])
    digits = fraction[0].decode()[:3] if fraction else ""
    return f"{moment[:-1]}.{digits:0<3}Z"
