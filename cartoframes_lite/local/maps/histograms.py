"""Histograms of numbers; time histograms are in `time_histograms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps import time_histograms
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import as_javascript
from cartoframes_lite.local.maps.numeric_columns import is_float, null_if_special, special_counts
from cartoframes_lite.local.maps.queries import TIME_OIDS, columns_of, fetch_rows
from cartoframes_lite.local.postgres.session import Session

_MIN_BINS, _MAX_BINS = 6, 48
_MAX_INT32 = 2**31 - 1


async def evaluate(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    unfiltered: sql.Composable,
    overrides: Mapping[str, float],
    unit: Any,
) -> dict[str, Any]:
    """Return the result of a histogram.

    Parameters
    ----------
    session : Session
    options : mapping
        Options of the dataview: ``column``, ``aggregation``, ``offset``. ``bins`` is used only from the request, as in
        CARTO.
    source : Composable
        Query for the rows, in parentheses.
    unfiltered : Composable
        The query without filters and bounding box, for the type of the column.
    overrides : mapping
        ``start``, ``end``, ``bins``, ``offset`` of the request.
    unit : object
        Parameter ``aggregation`` of the request: unit of time bins, or None.

    Raises
    ------
    MapError
    """
    column = options.get("column")
    if not isinstance(column, str):
        raise MapError("Histogram expects `column` in widget options")
    if unit is not None or "aggregation" in options:
        unit = unit or options.get("aggregation")
        return await time_histograms.evaluate(session, column, source, overrides, unit, options)
    value: sql.Composable = sql.Identifier(column)
    types = {known.name: known.type_oid for known in await columns_of(session, unfiltered)}
    if types.get(column) in TIME_OIDS:
        seconds = sql.SQL("date_part('epoch', {})").format(value)
        return await _number_histogram(session, seconds, source, overrides, may_be_nan=True)
    value = sql.SQL("{}::float8").format(value)
    return await _number_histogram(
        session, value, source, overrides, may_be_nan=await is_float(session, unfiltered, value)
    )


async def _number_histogram(
    session: Session, value: sql.Composable, source: sql.Composable, overrides: Mapping[str, float], *, may_be_nan: bool
) -> dict[str, Any]:
    """Return the result of a histogram of numbers.

    Rows without a number are in the last bin, which has a frequency of 0 if it contains no others.
    """
    start, end = _parse_bounds(overrides)
    bin_count = overrides.get("bins", 0)
    if not float(bin_count).is_integer() or bin_count > _MAX_INT32:
        raise MapError("Invalid number format for parameter 'bins'")
    bounded = start < end
    parts: dict[str, sql.Composable] = {
        "values": sql.SQL("(SELECT {} AS value FROM {} AS cdbq)").format(value, source),
        "finite": null_if_special(sql.SQL("value")) if may_be_nan else sql.SQL("value"),
        "special": special_counts(sql.SQL("value")) if may_be_nan else sql.SQL("0 AS nans, 0 AS infinities"),
        "start": sql.SQL("{}::float8").format(sql.Literal(start)) if bounded else sql.SQL("cdb_basics.least"),
        "end": sql.SQL("{}::float8").format(sql.Literal(end)) if bounded else sql.SQL("cdb_basics.most"),
        "bins": sql.Literal(int(bin_count)) if bin_count > 0 else sql.SQL("cdb_basics.bins"),
        "inside": sql.SQL("value BETWEEN {} AND {}").format(sql.Literal(start), sql.Literal(end))
        if bounded
        else sql.SQL("true"),
    }
    buckets = await fetch_rows(session, _buckets(parts))
    total = sum(bucket["freq"] for bucket in buckets)
    first = buckets[0] if buckets else None
    names = ("bin", "min", "max", "avg", "freq")
    return {
        **({"bin_width": first["width"], "bins_count": first["bins"]} if first else {}),
        **(
            {"bins_start": as_javascript(start)}
            if "start" in overrides
            else {"bins_start": first["min"]}
            if first
            else {}
        ),
        **{name: sum(bucket[name] for bucket in buckets) for name in ("nulls", "infinities", "nans")},
        "avg": as_javascript(sum((bucket["avg"] or 0) * bucket["freq"] for bucket in buckets) / total) if total else 0,
        "bins": [{name: bucket[name] for name in names} for bucket in buckets],
    }


def _parse_bounds(overrides: Mapping[str, float]) -> tuple[float, float]:
    """Return start and end of the request, with 0 for a missing one."""
    if "start" in overrides and "end" in overrides:
        return min(overrides["start"], overrides["end"]), max(overrides["start"], overrides["end"])
    return overrides.get("start", 0.0), overrides.get("end", 0.0)


def _buckets(parts: Mapping[str, sql.Composable]) -> sql.Composed:
    """Return the query for the bins.

    The number of bins is the range divided by twice the interquartile range, at least 6 (or the number of values, if
    that is less) and at most 48. The Freedman-Diaconis rule also has the cube root of the number of values; CARTO
    computes that factor as 1, because 1/3 is an integer division in its SQL.
    """
    return sql.SQL(
        "WITH cdb_values AS (SELECT value, {finite} AS number FROM {values} AS v),"
        " cdb_measures AS (SELECT min(number) AS least, max(number) AS most, count(number) AS count,"
        " percentile_disc(0.75) WITHIN GROUP (ORDER BY number) - percentile_disc(0.25) WITHIN GROUP (ORDER BY number)"
        " AS spread FROM cdb_values),"
        # Computed once: where few rows are expected, the planner would compute it again for each of them.
        " cdb_basics AS MATERIALIZED (SELECT least, most, CASE WHEN count = 0 OR spread = 0 THEN 1"
        " ELSE greatest(least({fewest}, count)::int, least({most_bins}, (most - least) / (2 * spread))::int) END"
        " AS bins FROM cdb_measures)"
        " SELECT ({end} - {start}) / {bins}::float8 AS width, {bins} AS bins,"
        " CASE WHEN {start} = {end} THEN 0"
        " ELSE greatest(1, least({bins}, width_bucket(number, {start}, {end}, {bins}))) - 1 END AS bin,"
        " min(number) AS min, max(number) AS max, avg(number) AS avg, count(number) AS freq,"
        " sum(CASE WHEN value IS NULL THEN 1 ELSE 0 END) AS nulls, {special}"
        " FROM cdb_values, cdb_basics WHERE {inside}"
        " GROUP BY cdb_basics.least, cdb_basics.most, cdb_basics.bins, 3 ORDER BY 3"
    ).format(**parts, fewest=sql.Literal(_MIN_BINS), most_bins=sql.Literal(float(_MAX_BINS)))
