"""Histograms of numbers and of times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from ..session import Session
from .queries import rows, statement
from .refusals import MapError

_MIN_BINS, _MAX_BINS = 6, 48
_MOST_BINS = 10_000
_MOST_TIMES = 100  # of bins that "auto" makes
_UNITS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "week": 7 * 86400.0,
    "month": 30 * 86400.0,
    "quarter": 91 * 86400.0,
    "year": 365 * 86400.0,
    "decade": 3652 * 86400.0,
    "century": 36525 * 86400.0,
    "millennium": 365243 * 86400.0,
}


async def answer(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    overrides: Mapping[str, float],
    aggregation: str | None,
) -> dict[str, Any]:
    """Answer a histogram.

    Parameters
    ----------
    session : Session
    options : mapping
        Of the dataview: ``column``, ``bins``, ``aggregation``, ``offset``.
    source : Composable
        The rows, in parentheses.
    overrides : mapping
        ``start``, ``end``, ``bins``, ``offset`` of the request.
    aggregation : str, optional
        Unit of the bins of the request.

    Raises
    ------
    MapError
    """
    column = options.get("column")
    if not isinstance(column, str):
        raise MapError("Histogram expects `column` in widget options")
    unit = aggregation or options.get("aggregation")
    types = sql.SQL("SELECT pg_typeof({})::text AS type FROM {} AS cdbq LIMIT 1")
    found = await rows(session, types.format(sql.Identifier(column), source))
    is_time = bool(found) and found[0]["type"].startswith(("timestamp", "date"))
    if is_time and unit is not None:
        return await _of_times(session, column, source, overrides, str(unit), options)
    value: sql.Composable = sql.Identifier(column)
    value = sql.SQL("extract(epoch FROM {})::float8" if is_time else "{}::float8").format(value)
    return await _of_numbers(session, value, source, overrides, options)


async def _of_numbers(
    session: Session,
    value: sql.Composable,
    source: sql.Composable,
    overrides: Mapping[str, float],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Answer a histogram of numbers."""
    values = sql.SQL("(SELECT {} AS value FROM {} AS cdbq)").format(value, source)
    basics = sql.SQL(
        "SELECT count(*) FILTER (WHERE value IS NULL) AS nulls, count(*) FILTER (WHERE value = 'NaN') AS nans,"
        " count(*) FILTER (WHERE value IN ('Infinity', '-Infinity')) AS infinities, min(value) FILTER (WHERE {finite})"
        " AS min, max(value) FILTER (WHERE {finite}) AS max, count(*) FILTER (WHERE {finite}) AS count,"
        " percentile_disc(0.75) WITHIN GROUP (ORDER BY value) FILTER (WHERE {finite})"
        " - percentile_disc(0.25) WITHIN GROUP (ORDER BY value) FILTER (WHERE {finite}) AS iqr FROM {values} AS v"
    ).format(values=values, finite=statement("value - value = 0"))
    [found] = await rows(session, basics)
    start, end = found["min"] or 0.0, found["max"] or 0.0
    if "start" in overrides and "end" in overrides:
        start, end = sorted((overrides["start"], overrides["end"]))
    count = overrides.get("bins") or options.get("bins") or _bin_count(found, start, end)
    bins = max(1, min(_MOST_BINS, int(count)))
    inside = sql.SQL("value BETWEEN {} AND {}").format(sql.Literal(start), sql.Literal(end))
    place = sql.SQL("0") if start == end else sql.SQL("least({bins}, width_bucket(value, {start}, {end}, {bins})) - 1")
    grouped = sql.SQL(
        "SELECT {place} AS bin, min(value) AS min, max(value) AS max, avg(value) AS avg, count(*) AS freq"
        " FROM {values} AS v WHERE value - value = 0 AND {inside} GROUP BY 1 ORDER BY 1"
    ).format(
        place=place.format(bins=sql.Literal(bins), start=sql.Literal(start), end=sql.Literal(end)),
        values=values,
        inside=inside,
    )
    buckets = await rows(session, grouped)
    total = sum(bucket["freq"] for bucket in buckets)
    return {
        "bin_width": (end - start) / bins,
        "bins_count": bins,
        "bins_start": start,
        "nulls": found["nulls"],
        "infinities": found["infinities"],
        "nans": found["nans"],
        "avg": sum(bucket["avg"] * bucket["freq"] for bucket in buckets) / total if total else 0,
        "bins": buckets,
    }


def _bin_count(found: Mapping[str, Any], start: float, end: float) -> int:
    """Return how many bins fit the rows (after Freedman and Diaconis)."""
    if not found["count"] or not found["iqr"]:
        return 1
    ideal: float = (end - start) / (2 * found["iqr"] * math.cbrt(found["count"]))
    return max(min(_MIN_BINS, int(found["count"])), min(_MAX_BINS, round(ideal)))


async def _of_times(
    session: Session,
    column: str,
    source: sql.Composable,
    overrides: Mapping[str, float],
    unit: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Answer a histogram of times: a bin for each unit, those without rows left out."""
    if unit not in (*_UNITS, "auto"):
        raise MapError(f"Invalid aggregation value. Valid ones: auto, {', '.join(_UNITS)}")
    offset = overrides.get("offset", options.get("offset") or 0)
    if not isinstance(offset, int | float):
        raise MapError("Invalid number format for parameter 'offset'")
    shift = sql.SQL("make_interval(secs => {})").format(sql.Literal(float(offset)))
    times = sql.SQL("(SELECT {column}::timestamptz AS instant FROM {source} AS cdbq)").format(
        column=sql.Identifier(column), source=source
    )
    bounds = [
        sql.SQL("instant {} to_timestamp({})").format(statement(sign), sql.Literal(overrides[word]))
        for word, sign in (("start", ">="), ("end", "<="))
        if overrides.get(word)
    ]
    inside = sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("true")
    if unit == "auto":
        unit = await _fitting_unit(session, times, inside)
    step = "3 months" if unit == "quarter" else f"1 {unit}"
    grouped = sql.SQL(
        "WITH cdb_bins AS (SELECT date_trunc({unit}, instant AT TIME ZONE 'UTC' + {shift}) AS start, count(*) AS freq"
        " FROM {times} AS t WHERE instant IS NOT NULL AND isfinite(instant) AND {inside} GROUP BY 1),"
        " cdb_all AS (SELECT start, row_number() OVER (ORDER BY start) - 1 AS bin, count(*) OVER () AS bins"
        " FROM generate_series((SELECT min(start) FROM cdb_bins), (SELECT max(start) FROM cdb_bins), {step}::interval)"
        " AS start) SELECT bin, extract(epoch FROM (start - {shift}) AT TIME ZONE 'UTC')::float8 AS timestamp,"
        " freq, bins, extract(epoch FROM {step}::interval)::float8 AS width"
        " FROM cdb_bins JOIN cdb_all USING (start) ORDER BY bin"
    ).format(unit=sql.Literal(unit), shift=shift, times=times, inside=inside, step=sql.Literal(step))
    buckets = await rows(session, grouped)
    nulls = sql.SQL("SELECT count(*) AS nulls FROM {} AS t WHERE instant IS NULL").format(times)
    [counted] = await rows(session, nulls)
    return _presented(unit, offset, counted["nulls"], buckets)


def _presented(unit: str, offset: float, nulls: int, buckets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a histogram of times as CARTO shows it."""
    first = buckets[0] if buckets else None
    return {
        "aggregation": unit,
        "offset": offset,
        **({"timestamp_start": first["timestamp"], "bins_start": first["timestamp"]} if first else {}),
        "bin_width": first["width"] if first else 0,
        "bins_count": first["bins"] if first else 0,
        "nulls": nulls,
        "bins": [
            {
                "bin": bucket["bin"],
                **dict.fromkeys(("min", "max", "avg", "timestamp"), bucket["timestamp"]),
                "freq": bucket["freq"],
            }
            for bucket in buckets
        ],
    }


async def _fitting_unit(session: Session, times: sql.Composable, inside: sql.Composable) -> str:
    """Return the unit that gives most bins without giving too many."""
    span = sql.SQL(
        "SELECT extract(epoch FROM max(instant) - min(instant))::float8 AS span"
        " FROM {} AS t WHERE isfinite(instant) AND {}"
    )
    [found] = await rows(session, span.format(times, inside))
    if not found["span"]:
        return "day"
    return next((unit for unit, seconds in _UNITS.items() if found["span"] / seconds <= _MOST_TIMES), "millennium")
