"""Dataviews: aggregates of a node of a map, in a box and with the filters of the other dataviews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.http.request_bodies import Parameters
from cartoframes_lite.local.maps import histograms
from cartoframes_lite.local.maps.config import Dataview, MapConfig
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import read_number
from cartoframes_lite.local.maps.numeric_columns import counts, finite, is_float
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, envelope, rows, subquery
from cartoframes_lite.local.maps.viewports import mercator
from cartoframes_lite.local.postgres.session import Session

_OPERATIONS = ("count", "avg", "sum", "min", "max")
_CATEGORIES = 6


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
    whole = subquery(config.nodes[dataview.source].query(without=config.dataviews))
    overrides: dict[str, float] = {
        word: _number(query, word) for word in ("start", "end", "bins", "offset", "categories") if word in query
    }
    match dataview.type:
        case "formula":
            found = await _formula(session, dataview.options, source, whole)
        case "aggregation":
            found = await _aggregation(session, dataview.options, source, whole, overrides, own_filter=own_filter)
        case "histogram":
            unit = query.get("aggregation")
            found = await histograms.answer(session, dataview.options, source, whole, overrides, unit)
        case _:
            raise MapError(f"Invalid dataview type: '{dataview.type}'")
    return {**found, "type": dataview.type}


async def search(session: Session, config: MapConfig, name: str, query: Parameters) -> dict[str, Any]:
    """Return the categories of an aggregation that contain a text."""
    dataview = _find(config, name)
    if dataview.type != "aggregation":
        raise MapError(f"Dataview '{name}' cannot be searched", status=400, kind="dataview")
    column, function, aggregated = _aggregated(dataview.options)
    value = sql.SQL("count(1)") if function == "count" else _call(function, sql.Identifier(aggregated or ""))
    source = _source(config, dataview, query, own_filter=_flag(query, "own_filter"), filtered=True)
    pattern = str(query.get("q", "")).replace("\0", "")  # with the wildcards of LIKE, as CARTO leaves them
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
    sides = [read_number(part) for part in text.split(",")]
    if len(sides) != 4 or not math.isfinite(sum(sides)) or not math.isfinite(sides[2] - sides[0]):
        raise MapError('Invalid bbox filter, expected format="west,south,east,north"')
    west, south, east, north = sides
    width = min(east - west, 360)
    west = (west + 180) % 360 - 180
    spans = [(west, west + width)]
    if width >= 360:
        spans = [(-180.0, 180.0)]
    elif west + width > 180:
        spans = [(west, 180.0), (-180.0, west + width - 360)]
    corners = [(*mercator(left, south), *mercator(right, north)) for left, right in spans]
    return [envelope(box) for box in corners]


async def _formula(
    session: Session, options: Mapping[str, Any], source: sql.Composable, whole: sql.Composable
) -> dict[str, Any]:
    """Answer a formula: one number."""
    operation, column = options.get("operation"), options.get("column")
    if not isinstance(operation, str):
        raise MapError("Formula expects 'operation' in dataview options")
    if operation not in _OPERATIONS:
        raise MapError(f"Formula does not support '{operation}' operation")
    if operation != "count" and not isinstance(column, str):
        raise MapError("Formula expects 'column' in dataview options")
    value: sql.Composable = sql.Identifier(column) if isinstance(column, str) and column else sql.SQL("1")
    is_special = await is_float(session, whole, value)
    statement = sql.SQL("SELECT {call} AS result, sum(({value} IS NULL)::int) AS nulls{special} FROM {source} AS cdbq")
    found = statement.format(
        call=_call(operation, finite(value) if is_special else value),
        value=value,
        special=sql.SQL(", ") + counts(value) if is_special else sql.SQL(""),
        source=source,
    )
    [row] = await rows(session, found)
    return {"operation": operation, **row}


async def _aggregation(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    whole: sql.Composable,
    overrides: Mapping[str, float],
    *,
    own_filter: bool,
) -> dict[str, Any]:
    """Answer an aggregation: with its own filter all categories, else the largest ones and the others as one."""
    column, function, aggregated = _aggregated(options)
    wanted = overrides.get("categories", 0)
    value: sql.Composable = sql.SQL("1") if aggregated is None else sql.Identifier(aggregated)
    is_special = aggregated is not None and await is_float(session, whole, value)
    parts = {
        "source": source,
        "column": sql.Identifier(column),
        "call": _call(function, value),
        "special": counts(value) if is_special and function != "count" else sql.SQL("0 AS infinities, 0 AS nans"),
        "kept": _kept(column, function, value, is_special=is_special),
        "limit": sql.Literal(math.ceil(wanted) if wanted > 0 else _CATEGORIES),
        "others": sql.SQL("sum" if function == "count" else _OPERATIONS[_OPERATIONS.index(function)]),
    }
    ranked = (
        "SELECT {column} AS category, {call} AS value, row_number() OVER (ORDER BY {call} DESC) AS rank"
        " FROM {source} AS cdbq WHERE {kept} GROUP BY {column}"
    )
    every = sql.SQL(
        "SELECT {column} AS category, {call} AS value, false AS agg FROM {source} AS cdbq GROUP BY {column}"
        " ORDER BY value DESC, category"
    )
    largest = sql.SQL(
        f"WITH cdb_categories AS ({ranked}), cdb_shown AS ("
        "SELECT category, value, false AS agg, rank FROM cdb_categories WHERE rank < {limit}"
        " UNION ALL SELECT NULL, {others}(value), true, {limit} FROM cdb_categories WHERE rank >= {limit}"
        " HAVING count(*) > 0) SELECT category, value, agg FROM cdb_shown ORDER BY rank"
    )
    summary = sql.SQL(
        f"WITH cdb_categories AS ({ranked})"
        " SELECT count(*) AS count, count(*) FILTER (WHERE {column} IS NULL) AS nulls, {special},"
        " (SELECT min(value) FROM cdb_categories) AS min, (SELECT max(value) FROM cdb_categories) AS max,"
        " (SELECT count(*) FROM (SELECT 1 FROM {source} AS cdbq GROUP BY {column}) AS cdb_groups) AS categories"
        " FROM {source} AS cdbq"
    )
    categories = await rows(session, (every if own_filter else largest).format(**parts))
    names = ("count", "nulls", "nans", "infinities", "min", "max", "categories")
    found: dict[str, Any] = dict.fromkeys(names, 0)
    if categories:
        [found] = await rows(session, summary.format(**parts))
    return {
        "aggregation": function,
        **{("categoriesCount" if name == "categories" else name): found[name] for name in names},
        "categories": [{**row, "category": "Other"} if row["agg"] else row for row in categories],
    }


def _kept(column: str, function: str, value: sql.Composable, *, is_special: bool) -> sql.Composed:
    """Return the condition on the rows that rank a category."""
    if function == "count":
        return sql.SQL("{} IS NOT NULL").format(sql.Identifier(column))
    return sql.SQL("{} IS NOT NULL").format(finite(value) if is_special else value)


def _aggregated(options: Mapping[str, Any]) -> tuple[str, str, str | None]:
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
    return column, function, aggregated if isinstance(aggregated, str) and aggregated else None


def _call(function: str, value: sql.Composable) -> sql.Composed:
    """Return the call of one of the operations."""
    return sql.SQL("{}({})").format(sql.SQL(_OPERATIONS[_OPERATIONS.index(function)]), value)


def _flag(query: Parameters, name: str) -> bool:
    return str(query.get(name, "0")) in ("1", "true")


def _number(query: Parameters, name: str) -> float:
    """Read a number; raise MapError if it is none."""
    value = read_number(query[name])
    if not math.isfinite(value):
        raise MapError(f"Invalid number format for parameter '{name}'")
    return value
