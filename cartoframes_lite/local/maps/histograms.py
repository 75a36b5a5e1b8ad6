"""Histograms of numbers; those of times are in `time_histograms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps import time_histograms
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import as_javascript
from cartoframes_lite.local.maps.numeric_columns import counts, finite, is_float
from cartoframes_lite.local.maps.queries import TIME_OIDS, columns_of, rows
from cartoframes_lite.local.postgres.session import Session

_MIN_BINS, _MAX_BINS = 6, 48
_MOST_BINS = 2**31 - 1


async def answer(
    session: Session,
    options: Mapping[str, Any],
    source: sql.Composable,
    whole: sql.Composable,
    overrides: Mapping[str, float],
    unit: Any,
) -> dict[str, Any]:
    """Answer a histogram.

    Parameters
    ----------
    session : Session
    options : mapping
        Of the dataview: ``column``, ``aggregation``, ``offset``. As with CARTO, ``bins`` counts in the request alone.
    source, whole : Composable
        The rows, in parentheses; and all rows, those that filters and boxes leave out too, for the type of the column.
    overrides : mapping
        ``start``, ``end``, ``bins``, ``offset`` of the request.
    unit : object
        Unit of the bins of the request; None if it has none.

    Raises
    ------
    MapError
    """
    column = options.get("column")
    if not isinstance(column, str):
        raise MapError("Histogram expects `column` in widget options")
    if unit is not None or "aggregation" in options:
        unit = unit or options.get("aggregation")
        return await time_histograms.answer(session, column, source, overrides, unit, options)
    value: sql.Composable = sql.Identifier(column)
    types = {known.name: known.type_oid for known in await columns_of(session, whole)}
    if types.get(column) in TIME_OIDS:
        seconds = sql.SQL("date_part('epoch', {})").format(value)
        return await _of_numbers(session, seconds, source, overrides, is_special=True)
    value = sql.SQL("{}::float8").format(value)
    return await _of_numbers(session, value, source, overrides, is_special=await is_float(session, whole, value))


async def _of_numbers(
    session: Session, value: sql.Composable, source: sql.Composable, overrides: Mapping[str, float], *, is_special: bool
) -> dict[str, Any]:
    """Answer a histogram of numbers.

    The bin of rows without a number is the last one, so that it is there, with a frequency of 0, also if nothing else
    is in it.
    """
    start, end = _bounds(overrides)
    wanted = overrides.get("bins", 0)
    if not float(wanted).is_integer() or wanted > _MOST_BINS:
        raise MapError("Invalid number format for parameter 'bins'")
    bounded = start < end
    parts: dict[str, sql.Composable] = {
        "values": sql.SQL("(SELECT {} AS value FROM {} AS cdbq)").format(value, source),
        "finite": finite(sql.SQL("value")) if is_special else sql.SQL("value"),
        "special": counts(sql.SQL("value")) if is_special else sql.SQL("0 AS nans, 0 AS infinities"),
        "start": sql.SQL("{}::float8").format(sql.Literal(start)) if bounded else sql.SQL("cdb_basics.least"),
        "end": sql.SQL("{}::float8").format(sql.Literal(end)) if bounded else sql.SQL("cdb_basics.most"),
        "bins": sql.Literal(int(wanted)) if wanted > 0 else sql.SQL("cdb_basics.bins"),
        "inside": sql.SQL("value BETWEEN {} AND {}").format(sql.Literal(start), sql.Literal(end))
        if bounded
        else sql.SQL("true"),
    }
    buckets = await rows(session, _buckets(parts))
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


def _bounds(overrides: Mapping[str, float]) -> tuple[float, float]:
    """Return start and end of the request; 0 for one that it leaves out."""
    if "start" in overrides and "end" in overrides:
        return min(overrides["start"], overrides["end"]), max(overrides["start"], overrides["end"])
    return overrides.get("start", 0.0), overrides.get("end", 0.0)


def _buckets(parts: Mapping[str, sql.Composable]) -> sql.Composed:
    """Return the query of the bins.

    Their number follows from the spread of the values: their range over twice the distance of the quartiles, not less
    than 6, or the number of values, and not more than 48. (Freedman and Diaconis divide by the cube root of the number
    of values, too; CARTO's formula says so, with a power of 1/3 that its database computes as 0.)
    """
    return sql.SQL(
        "WITH cdb_values AS (SELECT value, {finite} AS number FROM {values} AS v),"
        " cdb_measures AS (SELECT min(number) AS least, max(number) AS most, count(number) AS count,"
        " percentile_disc(0.75) WITHIN GROUP (ORDER BY number) - percentile_disc(0.25) WITHIN GROUP (ORDER BY number)"
        " AS spread FROM cdb_values),"
        " cdb_basics AS (SELECT least, most, CASE WHEN count = 0 OR spread = 0 THEN 1 ELSE greatest(least({fewest},"
        " count)::int, least({most_bins}, (most - least) / (2 * spread))::int) END AS bins FROM cdb_measures)"
        " SELECT ({end} - {start}) / {bins}::float8 AS width, {bins} AS bins,"
        " CASE WHEN {start} = {end} THEN 0"
        " ELSE greatest(1, least({bins}, width_bucket(number, {start}, {end}, {bins}))) - 1 END AS bin,"
        " min(number) AS min, max(number) AS max, avg(number) AS avg, count(number) AS freq,"
        " sum(CASE WHEN value IS NULL THEN 1 ELSE 0 END) AS nulls, {special}"
        " FROM cdb_values, cdb_basics WHERE {inside}"
        " GROUP BY cdb_basics.least, cdb_basics.most, cdb_basics.bins, 3 ORDER BY 3"
    ).format(**parts, fewest=sql.Literal(_MIN_BINS), most_bins=sql.Literal(float(_MAX_BINS)))
