"""Execution and inspection of the queries of maps, and their use as subqueries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.pq.abc import PGresult
from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.postgres.session import Session
from cartoframes_lite.local.sql.json_values import Rows

GEOMETRY_COLUMN = "the_geom_webmercator"
HALF_WORLD = 20037508.342789244  # meters, EPSG:3857
_MANY_ROWS = 500  # from here on, rows are converted in a worker thread
MAX_ROWS = 100_000  # of a JSON response, which is built in memory
_TOKEN = re.compile(r"!(\w++)!")
TIME_OIDS = (1082, 1114, 1184)  # date, timestamp with and without time zone
_METERS_PER_DOT = 0.00028  # pixel size in the OGC definition of scale denominators

# Types that vector tiles and UTFGrids support: boolean, integers, floats, numeric and text. Others are NULL in a grid.
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
    """Return a statement of the user as SQL, unchanged."""
    return sql.SQL(text)


def without_semicolon(text: str) -> str:
    """Return a query without a trailing semicolon."""
    stripped = text.rstrip()
    return stripped[:-1] if stripped.endswith(";") else text


def envelope(box: Box) -> sql.Composed:
    """Return a box as an SQL expression."""
    return sql.SQL("ST_MakeEnvelope({}, 3857)").format(sql.SQL(", ").join(map(sql.Literal, box)))


_WORLD_ENVELOPE = envelope(WORLD)


def subquery(
    text: str, *, box: sql.Composable = _WORLD_ENVELOPE, resolution: float = 2 * HALF_WORLD / 256
) -> sql.Composed:
    """Return a query of the user in parentheses, with the tokens of CARTO replaced.

    A comment in the last line of the query hides the closing parenthesis, as in CARTO.

    Parameters
    ----------
    text : str
    box : Composable
        Value of ``!bbox!``: expression for a geometry in EPSG:3857.
    resolution : float
        Meters per pixel, for ``!pixel_width!`` and ``!scale_denominator!``.
    """

    def fill_in(token: re.Match[str]) -> str:
        match token[1]:
            case "pixel_width" | "pixel_height":
                return repr(resolution)
            case "scale_denominator":
                return repr(resolution / _METERS_PER_DOT)
            case "bbox":
                return box.as_string()
        return token[0]

    return sql.SQL("({})").format(statement(_TOKEN.sub(fill_in, without_semicolon(text))))


def tile_box(zoom: int, x: int, y: int) -> Box:
    """Return the extent of a tile, EPSG:3857."""
    size = 2 * HALF_WORLD / 2**zoom
    west, north = x * size - HALF_WORLD, HALF_WORLD - y * size
    return west, north - size, west + size, north


def expand_box(box: Box, pixels: float, width: float) -> Box:
    """Return a box expanded by a margin in pixels; ``width`` is the width of the box in pixels."""
    margin = (box[2] - box[0]) * pixels / width
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def column_list(columns: Iterable[str]) -> sql.Composed:
    """Return a comma-separated list of columns."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


async def fetch_rows(session: Session, query: sql.Composable) -> list[dict[str, Any]]:
    """Run a query; return its rows with values as in the JSON of the Maps API.

    Raises
    ------
    MapError
        If there are more than 100,000 rows.
    """
    result = await session.read(query.as_string())
    if result.ntuples > MAX_ROWS:
        raise MapError(f"the result has {result.ntuples} rows, more than {MAX_ROWS}", status=400)
    if result.ntuples < _MANY_ROWS:
        return _as_json(result)
    return await run_in_threadpool(_as_json, result)


def _as_json(result: PGresult) -> list[dict[str, Any]]:
    """Convert the rows of a result to JSON values."""
    columns = Rows(result)
    times = {_name(result, index): index for index in range(result.nfields) if result.ftype(index) in TIME_OIDS}
    decoded = []
    for row in range(result.ntuples):
        values = json.loads(columns.object(result, row))
        for name, index in times.items():
            values[name] = _with_milliseconds(values[name], result.get_value(row, index))
        decoded.append(values)
    return decoded


async def columns_of(session: Session, source: sql.Composable) -> list[Column]:
    """Return the columns of a query in parentheses; raise SQLError if it fails."""
    result = await session.read(sql.SQL("SELECT * FROM {} AS cdbq LIMIT 0").format(source).as_string())
    return [Column(_name(result, index), result.ftype(index)) for index in range(result.nfields)]


async def estimated_rows(session: Session, text: str) -> int:
    """Return the number of rows that the PostgreSQL planner estimates."""
    result = await session.read(f"EXPLAIN (FORMAT JSON) SELECT * FROM {subquery(text).as_string()} AS cdbq")
    return int(json.loads(result.get_value(0, 0) or b"")[0]["Plan"]["Plan Rows"])


async def tables_of(session: Session, text: str) -> list[str]:
    """Return the tables that a query reads, as schema.name."""
    query = sql.SQL("SELECT unnest(cartodb.cdb_querytablestext({})) AS name")
    wrapped = sql.SQL("SELECT * FROM {} AS cdbq").format(subquery(text)).as_string()
    return [row["name"] for row in await fetch_rows(session, query.format(sql.Literal(wrapped)))]


def _name(result: PGresult, index: int) -> str:
    return (result.fname(index) or b"").decode()


def _with_milliseconds(timestamp: Any, text: bytes | None) -> Any:
    """Add milliseconds to a timestamp, as in JavaScript; the JSON of the SQL API has wrapped seconds."""
    if not isinstance(timestamp, str) or not timestamp.endswith("Z"):
        return timestamp
    fraction = re.match(rb"\d*", (text or b"").partition(b".")[2])
    digits = fraction[0].decode()[:3] if fraction else ""
    return f"{timestamp[:-1]}.{digits:0<3}Z"
