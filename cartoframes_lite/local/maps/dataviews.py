"""Dataviews: aggregates of an analysis node, within a bounding box and with the filters of other dataviews."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.http.request_bodies import Parameters
from cartoframes_lite.local.maps import histograms
from cartoframes_lite.local.maps.config import Dataview, MapConfig
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import parse_number
from cartoframes_lite.local.maps.numeric_columns import is_float, null_if_special, special_counts
from cartoframes_lite.local.maps.queries import GEOMETRY_COLUMN, envelope, fetch_rows, subquery
from cartoframes_lite.local.maps.viewports import mercator
from cartoframes_lite.local.postgres.session import Session

_OPERATIONS = ("count", "avg", "sum", "min", "max")
_DEFAULT_CATEGORIES = 6
# Queries of an aggregation.
_RANKED = (
    "SELECT {column} AS category, {call} AS value, row_number() OVER (ORDER BY {call} DESC) AS rank"
    " FROM {source} AS cdbq WHERE {kept} GROUP BY {column}"
)
_ALL_CATEGORIES = sql.SQL(
    "SELECT {column} AS category, {call} AS value, false AS agg FROM {source} AS cdbq GROUP BY {column}"
    " ORDER BY value DESC, category"
)
_LARGEST_CATEGORIES = sql.SQL(
    f"WITH cdb_categories AS ({_RANKED}), cdb_shown AS ("
    "SELECT category, value, false AS agg, rank FROM cdb_categories WHERE rank < {limit}"
    " UNION ALL SELECT NULL, {others}(value), true, {limit} FROM cdb_categories WHERE rank >= {limit}"
    " HAVING count(*) > 0) SELECT category, value, agg FROM cdb_shown ORDER BY rank"
)
_SUMMARY = sql.SQL(
    f"WITH cdb_categories AS ({_RANKED})"
    " SELECT count(*) AS count, count(*) FILTER (WHERE {column} IS NULL) AS nulls, {special},"
    " (SELECT min(value) FROM cdb_categories) AS min, (SELECT max(value) FROM cdb_categories) AS max,"
    " (SELECT count(*) FROM (SELECT 1 FROM {source} AS cdbq GROUP BY {column}) AS cdb_groups) AS categories"
    " FROM {source} AS cdbq"
)


async def evaluate(session: Session, config: MapConfig, name: str, query: Parameters) -> dict[str, Any]:
    """Return the result of a dataview.

    Parameters
    ----------
    session : Session
    config : MapConfig
    name : str
        Name of the dataview.
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
    unfiltered = subquery(config.nodes[dataview.source].query(without=config.dataviews))
    overrides: dict[str, float] = {
        word: _parse_number(query, word) for word in ("start", "end", "bins", "offset", "categories") if word in query
    }
    match dataview.type:
        case "formula":
            result = await _formula(session, dataview.options, source, unfiltered)
        case "aggregation":
            result = await _aggregation(session, dataview.options, source, unfiltered, overrides, own_filter=own_filter)
        case "histogram":
            unit = query.get("aggregation")
            result = await histograms.evaluate(session, dataview.options, source, unfiltered, overrides, unit)
        case _:
            raise MapError(f"Invalid dataview type: '{dataview.type}'")
    return {**result, "type": dataview.type}


async def search(session: Session, config: MapConfig, name: str, query: Parameters) -> dict[str, Any]:
    """Return the categories of an aggregation whose text contains the parameter ``q``."""
    dataview = _find(config, name)
    if dataview.type != "aggregation":
        raise MapError(f"Dataview '{name}' cannot be searched", status=400, kind="dataview")
    column, function, aggregated = _aggregation_options(dataview.options)
    value = sql.SQL("count(1)") if function == "count" else _aggregate_call(function, sql.Identifier(aggregated or ""))
    source = _source(config, dataview, query, own_filter=_flag(query, "own_filter"), filtered=True)
    pattern = str(query.get("q", "")).replace("\0", "")  # wildcards of LIKE are not escaped, as in CARTO
    statement = sql.SQL(
        "SELECT {column} AS category, {value} AS value FROM {source} AS cdbq"
        " WHERE {column}::text ILIKE {pattern} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).format(column=sql.Identifier(column), value=value, source=source, pattern=sql.Literal(f"%{pattern}%"))
    return {"type": "aggregation", "categories": await fetch_rows(session, statement)}


def _find(config: MapConfig, name: str) -> Dataview:
    dataview = config.dataviews.get(name)
    if dataview is None:
        raise MapError(f"Dataview '{name}' does not exist", status=400, kind="dataview")
    return dataview


def _source(
    config: MapConfig, dataview: Dataview, query: Parameters, *, own_filter: bool, filtered: bool
) -> sql.Composable:
    """Return the query for the rows of a dataview, in parentheses."""
    node = config.nodes[dataview.source]
    without = () if filtered and own_filter else (dataview.name,)
    text = node.query(without=without if filtered else config.dataviews)
    source: sql.Composable = subquery(text)
    if query.get("bbox"):
        boxes = [
            sql.SQL("ST_Intersects({}, {})").format(sql.Identifier(GEOMETRY_COLUMN), box)
            for box in _parse_bbox(str(query["bbox"]))
        ]
        inside = sql.SQL(" OR ").join(boxes)
        source = sql.SQL("(SELECT * FROM {} AS cdb_unbounded WHERE {})").format(source, inside)
    return source


def _parse_bbox(text: str) -> list[sql.Composed]:
    """Parse a bounding box in degrees; one across the 180th meridian becomes two envelopes."""
    sides = [parse_number(part) for part in text.split(",")]
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
    session: Session, options: Mapping[str, Any], source: sql.Composable, unfiltered: sql.Composable
) -> dict[str, Any]:
    """Return the result of a formula: one number."""
    operation, column = options.get("operation"), options.get("column")
    if not isinstance(operation, str):
        raise MapError("Formula expects 'operation' in dataview options")
    if operation not in _OPERATIONS:
        raise MapError(f"Formula does not support '{operation}' operation")
    if operation != "count" and not isinstance(column, str):
        raise MapError("Formula expects 'column' in dataview options")
    value: sql.Composable = sql.Identifier(column) if isinstance(column, str) and column else sql.SQL("1")
    may_be_nan = await is_float(session, unfiltered, value)
    statement = sql.SQL("SELECT {call} AS result, sum(({value} IS NULL)::int) AS nulls{special} FROM {source} AS cdbq")
    composed = statement.format(
        call=_aggregate_call(operation, null_if_special(value) if may_be_nan else value),
        value=value,
        special=sql.SQL(", ") + special_counts(value) if may_be_nan else sql.SQL(""),
        source=source,
    )
    [row] = await fetch_rows(session, composed)
    return {"operation": operation, **row}


async def _aggregation(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    unfiltered: sql.Composable,
    overrides: Mapping[str, float],
    *,
    own_filter: bool,
) -> dict[str, Any]:
    """Return the result of an aggregation: with its own filter, all categories; else the largest, and "Other"."""
    column, function, aggregated = _aggregation_options(options)
    limit = overrides.get("categories", 0)
    value: sql.Composable = sql.SQL("1") if aggregated is None else sql.Identifier(aggregated)
    may_be_nan = aggregated is not None and await is_float(session, unfiltered, value)
    parts = {
        "source": source,
        "column": sql.Identifier(column),
        "call": _aggregate_call(function, value),
        "special": special_counts(value)
        if may_be_nan and function != "count"
        else sql.SQL("0 AS infinities, 0 AS nans"),
        "kept": _ranked_rows(column, function, value, may_be_nan=may_be_nan),
        "limit": sql.Literal(math.ceil(limit) if limit > 0 else _DEFAULT_CATEGORIES),
        "others": sql.SQL("sum" if function == "count" else _OPERATIONS[_OPERATIONS.index(function)]),
    }
    categories = await fetch_rows(session, (_ALL_CATEGORIES if own_filter else _LARGEST_CATEGORIES).format(**parts))
    names = ("count", "nulls", "nans", "infinities", "min", "max", "categories")
    result: dict[str, Any] = dict.fromkeys(names, 0)
    if categories:
        [result] = await fetch_rows(session, _SUMMARY.format(**parts))
    return {
        "aggregation": function,
        **{("categoriesCount" if name == "categories" else name): result[name] for name in names},
        "categories": [{**row, "category": "Other"} if row["agg"] else row for row in categories],
    }


def _ranked_rows(column: str, function: str, value: sql.Composable, *, may_be_nan: bool) -> sql.Composed:
    """Return the condition on the rows from which the largest categories are computed."""
    if function == "count":
        return sql.SQL("{} IS NOT NULL").format(sql.Identifier(column))
    return sql.SQL("{} IS NOT NULL").format(null_if_special(value) if may_be_nan else value)


def _aggregation_options(options: Mapping[str, Any]) -> tuple[str, str, str | None]:
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


def _aggregate_call(function: str, value: sql.Composable) -> sql.Composed:
    """Return the call of an aggregate function."""
    return sql.SQL("{}({})").format(sql.SQL(_OPERATIONS[_OPERATIONS.index(function)]), value)


def _flag(query: Parameters, name: str) -> bool:
    return str(query.get(name, "0")) in ("1", "true")


def _parse_number(query: Parameters, name: str) -> float:
    """Parse a number; raise MapError if it is invalid."""
    value = parse_number(query[name])
    if not math.isfinite(value):
        raise MapError(f"Invalid number format for parameter '{name}'")
    return value
