"""Dataviews: aggregates of a node of a map, in a box and with the filters of the other dataviews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from ..access import Parameters
from ..session import Session
from . import histograms
from .config import Dataview, MapConfig
from .queries import GEOMETRY_COLUMN, columns_of, envelope, rows, subquery
from .refusals import MapError
from .views import mercator

_OPERATIONS = ("count", "avg", "sum", "min", "max")
_CATEGORIES = 6
_FLOAT_OIDS = (700, 701)


async def answer(session: Session, config: MapConfig, name: str, query: Parameters) -> dict[str, Any]:
    """Return a dataview.

    Parameters
    ----------
    session : Session
    config : MapConfig
    name : str
        Of the dataview.
    query : dict
        Parameters of the request: ``bbox``, ``own_filter``, ``no_filters``, ``start``, ``end``, ``bins``,
        ``offset``, ``categories``, ``aggregation``.

    Raises
    ------
    MapError
    """
    dataview = _find(config, name)
    if "own_filter" in query and "no_filters" in query:
        message = "Both own_filter and no_filters cannot be sent in the same request"
        raise MapError(message, status=400, kind="dataview")
    own_filter = _flag(query, "own_filter")
    source = _source(config, dataview, query, own_filter=own_filter, filtered=not _flag(query, "no_filters"))
    overrides: dict[str, float] = {
        word: _number(query, word) for word in ("start", "end", "bins", "offset", "categories") if word in query
    }
    aggregation = str(query["aggregation"]) if "aggregation" in query else None
    match dataview.type:
        case "formula":
            found = await _formula(session, dataview.options, source)
        case "aggregation":
            found = await _aggregation(session, dataview.options, source, overrides, own_filter=own_filter)
        case "histogram":
            found = await histograms.answer(session, dataview.options, source, overrides, aggregation)
        case _:
            raise MapError(f"Invalid dataview type: '{dataview.type}'")
    return {**found, "type": dataview.type}


async def search(session: Session, config: MapConfig, name: str, query: Parameters) -> dict[str, Any]:
    """Return the categories of an aggregation that contain a text."""
    dataview = _find(config, name)
    if dataview.type != "aggregation":
        raise MapError(f"Dataview '{name}' cannot be searched", status=400, kind="dataview")
    column, function, aggregated = _aggregated(dataview.options)
    value = sql.SQL("count(1)") if function == "count" else _call(function, sql.Identifier(aggregated))
    source = _source(config, dataview, query, own_filter=_flag(query, "own_filter"), filtered=True)
    pattern = str(query.get("q", "")).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("\0", "")
    statement = sql.SQL(
        "SELECT {column} AS category, {value} AS value FROM {source} AS cdbq"
        " WHERE {column}::text ILIKE {pattern} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).format(column=sql.Identifier(column), value=value, source=source, pattern=sql.Literal(f"%{pattern}%"))
    return {"type": "aggregation", "categories": await rows(session, statement)}


def _find(config: MapConfig, name: str) -> Dataview:
    dataview = config.dataviews.get(name)
    if dataview is None:
        raise MapError(f"Dataview '{name}' does not exist", status=400, kind="dataview")
    return dataview


def _source(
    config: MapConfig, dataview: Dataview, query: Parameters, *, own_filter: bool, filtered: bool
) -> sql.Composable:
    """Return the rows that a dataview is about, in parentheses."""
    node = config.nodes[dataview.source]
    without = () if filtered and own_filter else (dataview.name,)
    text = node.query(without=without if filtered else config.dataviews)
    source: sql.Composable = subquery(text)
    if query.get("bbox"):
        boxes = [
            sql.SQL("ST_Intersects({}, {})").format(sql.Identifier(GEOMETRY_COLUMN), box)
            for box in _boxes(str(query["bbox"]))
        ]
        inside = sql.SQL(" OR ").join(boxes)
        source = sql.SQL("(SELECT * FROM {} AS cdb_unbounded WHERE {})").format(source, inside)
    return source


def _boxes(text: str) -> list[sql.Composed]:
    """Read a box in degrees; one across the 180th meridian is two."""
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError:
        west = south = east = north = math.nan
    if not all(map(math.isfinite, (west, south, east, north))):
        raise MapError('Invalid bbox filter, expected format="west,south,east,north"')
    width = min(east - west, 360)
    west = (west + 180) % 360 - 180
    spans = [(west, west + width)]
    if width >= 360:
        spans = [(-180.0, 180.0)]
    elif west + width > 180:
        spans = [(west, 180.0), (-180.0, west + width - 360)]
    corners = [(*mercator(left, south), *mercator(right, north)) for left, right in spans]
    return [envelope(box) for box in corners]


async def _formula(session: Session, options: Mapping[str, Any], source: sql.Composable) -> dict[str, Any]:
    """Answer a formula: one number."""
    operation, column = options.get("operation"), options.get("column")
    if not isinstance(operation, str):
        raise MapError("Formula expects 'operation' in dataview options")
    if operation not in _OPERATIONS:
        raise MapError(f"Formula does not support '{operation}' operation")
    if operation != "count" and not isinstance(column, str):
        raise MapError("Formula expects 'column' in dataview options")
    value: sql.Composable = sql.Identifier(column) if isinstance(column, str) and column else sql.SQL("1")
    is_float = isinstance(column, str) and await _is_float(session, source, column)
    finite = _finite(value) if is_float else value
    infinities = ", " + _counts() if is_float else ""
    statement = (
        sql.SQL("SELECT {call} AS result, count(*) FILTER (WHERE {value} IS NULL) AS nulls").format(
            call=_call(operation, finite), value=value
        )
        + sql.SQL(infinities).format(value=value)
        + sql.SQL(" FROM {} AS cdbq").format(source)
    )
    [row] = await rows(session, statement)
    return {"operation": operation, **row}


async def _aggregation(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    overrides: Mapping[str, float],
    *,
    own_filter: bool,
) -> dict[str, Any]:
    """Answer an aggregation: the largest categories, and the others as one."""
    column, function, aggregated = _aggregated(options)
    wanted = overrides.get("categories", 0)
    limit = int(wanted) if wanted > 0 else _CATEGORIES
    is_float = function != "count" and await _is_float(session, source, aggregated)
    value: sql.Composable = sql.SQL("1") if function == "count" else sql.Identifier(aggregated)
    finite = _finite(value) if is_float else value
    call = _call(function, finite)
    kept = sql.SQL("{} IS NOT NULL").format(sql.Identifier(column) if function == "count" else finite)
    statement = sql.SQL(
        "WITH cdb_rows AS (SELECT * FROM {source} AS cdbq),"
        " cdb_categories AS (SELECT {column} AS category, {call} AS value,"
        " row_number() OVER (ORDER BY {call} DESC NULLS LAST, {column}) AS rank"
        " FROM cdb_rows WHERE {kept} GROUP BY {column}),"
        " cdb_shown AS (SELECT category, value, false AS agg, rank FROM cdb_categories WHERE rank < {limit} OR {all}"
        " UNION ALL SELECT NULL, {others}(value), true, {limit} FROM cdb_categories WHERE rank >= {limit} AND NOT {all}"
        " HAVING count(*) > 0) SELECT category, value, agg FROM cdb_shown ORDER BY rank"
    ).format(
        source=source,
        column=sql.Identifier(column),
        call=call,
        kept=kept,
        limit=sql.Literal(limit),
        all=sql.Literal(own_filter),
        others=sql.SQL("sum") if function == "count" else sql.SQL(_OPERATIONS[_OPERATIONS.index(function)]),
    )
    categories = await rows(session, statement)
    infinities = sql.SQL(_counts() if is_float else "0 AS nans, 0 AS infinities").format(value=value)
    counted, extreme = await _summary(session, source, column, call, kept, infinities)
    if not categories:
        counted, extreme = (
            dict.fromkeys(("count", "nulls", "nans", "infinities", "categories"), 0),
            {"min": 0, "max": 0},
        )
    return {
        "aggregation": function,
        "count": counted["count"],
        "nulls": counted["nulls"],
        "nans": counted["nans"],
        "infinities": counted["infinities"],
        **extreme,
        "categoriesCount": counted["categories"],
        "categories": [{**row, "category": "Other"} if row["agg"] else row for row in categories],
    }


async def _summary(
    session: Session,
    source: sql.Composable,
    column: str,
    call: sql.Composable,
    kept: sql.Composable,
    infinities: sql.Composable,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return counts over all rows of an aggregation, and its smallest and largest value."""
    summary = sql.SQL(
        "SELECT count(*) AS count, count(*) FILTER (WHERE {column} IS NULL) AS nulls, {infinities},"
        " count(DISTINCT {column}) + coalesce(max(({column} IS NULL)::int), 0) AS categories FROM {source} AS cdbq"
    ).format(column=sql.Identifier(column), infinities=infinities, source=source)
    extremes = sql.SQL(
        "SELECT min(value) AS min, max(value) AS max FROM (SELECT {call} AS value FROM {source} AS cdbq WHERE {kept}"
        " GROUP BY {column}) AS cdb_values"
    ).format(call=call, source=source, kept=kept, column=sql.Identifier(column))
    [counted], [extreme] = await rows(session, summary), await rows(session, extremes)
    return counted, extreme


def _aggregated(options: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return column, function and aggregated column of an aggregation."""
    column, function = options.get("column"), options.get("aggregation")
    if not isinstance(column, str):
        raise MapError("Aggregation expects 'column' in dataview options")
    if not isinstance(function, str):
        raise MapError("Aggregation expects 'aggregation' operation in dataview options")
    if function not in _OPERATIONS:
        raise MapError(f"Aggregation does not support '{function}' operation")
    aggregated = options.get("aggregationColumn")
    if function != "count" and not isinstance(aggregated, str):
        raise MapError(f"Aggregation '{function}' is missing some options: aggregationColumn")
    return column, function, str(aggregated)


async def _is_float(session: Session, source: sql.Composable, column: str) -> bool:
    """Say whether a column can hold what is no number."""
    columns = await columns_of(session, f"SELECT * FROM {source.as_string()} AS cdbq")
    return any(known.name == column and known.type_oid in _FLOAT_OIDS for known in columns)


def _call(function: str, value: sql.Composable) -> sql.Composed:
    """Return the call of one of the operations."""
    return sql.SQL("{}({})").format(sql.SQL(_OPERATIONS[_OPERATIONS.index(function)]), value)


def _finite(value: sql.Composable) -> sql.Composed:
    """Return a value as NULL if it is no number."""
    return sql.SQL("CASE WHEN {value} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {value} END").format(value=value)


def _counts() -> str:
    """Return the columns that count what is no number."""
    return (
        "count(*) FILTER (WHERE {value} IN ('Infinity', '-Infinity')) AS infinities,"
        " count(*) FILTER (WHERE {value} = 'NaN') AS nans"
    )


def _flag(query: Parameters, name: str) -> bool:
    return str(query.get(name, "0")) in ("1", "true")


def _number(query: Parameters, name: str) -> float:
    """Read a number; raise MapError if it is none."""
    try:
        value = float(str(query[name]))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MapError(f"Invalid number format for parameter '{name}'")
    return value
