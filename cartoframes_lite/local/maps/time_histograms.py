"""Time histograms: one bin per unit of time that has rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.queries import fetch_rows, statement
from cartoframes_lite.local.postgres.session import Session

_MAX_AUTO_BINS = 100
_MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1200, "millennium": 12000}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_UNITS = (*_SECONDS, *_MONTHS)
# Days per unit for "auto", longest first.
_DAYS = {"millennium": 365243, "century": 36525, "decade": 3652, "year": 365, "quarter": 91, "month": 30, "week": 7}
_UNITS_WITHOUT_OFFSET = ("hour", "minute")
_ZONE_HOURS = range(-12, 15)  # hours east of UTC


async def evaluate(
    session: Session,
    column: str,
    source: sql.Composable,
    overrides: Mapping[str, float],
    unit: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the result of a time histogram.

    Parameters
    ----------
    session : Session
    column : str
    source : Composable
        Query for the rows, in parentheses.
    overrides : mapping
        ``start``, ``end`` and ``offset`` of the request, in seconds.
    unit : object
        Unit of time, or "auto".
    options : mapping
        Options of the dataview: ``offset``.

    Raises
    ------
    MapError
    """
    if unit not in (*_UNITS, "auto"):
        raise MapError(f"Invalid aggregation value. Valid ones: auto, {', '.join(_UNITS)}")
    offset = overrides.get("offset", options.get("offset") or 0)
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not math.isfinite(offset):
        raise MapError("Invalid number format for parameter 'offset'")
    times = sql.SQL("(SELECT {column}::timestamptz AS instant FROM {source} AS cdbq)").format(
        column=sql.Identifier(column), source=source
    )
    if unit == "auto":
        unit = await _auto_unit(session, times)
    hours = 0 if unit in _UNITS_WITHOUT_OFFSET else math.ceil(offset / 3600)
    buckets = []
    if hours in _ZONE_HOURS:  # CARTO returns no bins if there is no time zone with this offset
        buckets = await fetch_rows(session, _buckets(times, str(unit), hours, overrides))
    return _serialize(str(unit), offset, buckets)


def _buckets(times: sql.Composable, unit: str, hours: int, overrides: Mapping[str, float]) -> sql.Composed:
    """Return the query for the bins; rows without a time are in the last bin, whose number is NULL."""
    limits = {name: sql.Literal(overrides[name]) for name in ("start", "end") if overrides.get(name)}
    signs = {"start": ">=", "end": "<="}
    bounds = [
        sql.SQL("instant {} to_timestamp({})").format(statement(signs[name]), value) for name, value in limits.items()
    ]
    shift = sql.SQL("make_interval(hours => {})").format(sql.Literal(hours))
    truncated = "date_trunc({unit}, {instant} AT TIME ZONE 'UTC' + {shift})"
    parts: dict[str, sql.Composable] = {"unit": sql.Literal(unit), "shift": shift}
    edges = {
        name: sql.SQL(truncated).format(**parts, instant=sql.SQL("to_timestamp({})").format(limits[name]))
        if name in limits
        else sql.SQL("(SELECT {}(start) FROM cdb_bins)").format(statement("min" if name == "start" else "max"))
        for name in signs
    }
    return sql.SQL(
        f"WITH cdb_bins AS (SELECT {truncated} AS start, count(*) AS freq FROM {{times}} AS t WHERE {{inside}}"
        " AND (instant IS NULL OR isfinite(instant)) GROUP BY 1),"
        " cdb_edges AS (SELECT {first} AS first, {last} AS last)"
        " SELECT {place} AS bin, {epoch} AS timestamp, freq, {count} + 1 AS bins, {epoch_first} AS first"
        " FROM cdb_bins, cdb_edges ORDER BY start"
    ).format(
        **parts,
        instant=sql.SQL("instant"),
        times=times,
        inside=sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("true"),
        first=edges["start"],
        last=edges["end"],
        place=_unit_count(unit, sql.SQL("start")),
        count=_unit_count(unit, sql.SQL("last")),
        epoch=sql.SQL("extract(epoch FROM (start - {}) AT TIME ZONE 'UTC')::float8").format(shift),
        epoch_first=sql.SQL("extract(epoch FROM (first - {}) AT TIME ZONE 'UTC')::float8").format(shift),
    )


def _unit_count(unit: str, timestamp_sql: sql.Composable) -> sql.Composed:
    """Return the number of units from the first bin to an instant; both are the start of a unit."""
    if unit in _SECONDS:
        seconds = sql.SQL("extract(epoch FROM {} - first)").format(timestamp_sql)
        return sql.SQL("round({} / {})::bigint").format(seconds, sql.Literal(_SECONDS[unit]))
    months = sql.SQL("(date_part('year', age({m}, first)) * 12 + date_part('month', age({m}, first)))").format(
        m=timestamp_sql
    )
    return sql.SQL("round({} / {})::bigint").format(months, sql.Literal(_MONTHS[unit]))


def _serialize(unit: str, offset: float, buckets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a time histogram in the format of CARTO."""
    common = {"aggregation": unit, "offset": offset}
    if not buckets:
        return {**common, "bin_width": 0, "bins_count": 0, "bins": []}
    first = buckets[0]
    return {
        **common,
        "timestamp_start": first["first"],
        "bin_width": _unit_seconds(unit),
        "bins_count": max(0, first["bins"] or 0),
        "bins_start": first["timestamp"],
        "nulls": first["freq"] if first["bin"] is None else 0,
        "bins": [
            {
                "bin": bucket["bin"],
                **dict.fromkeys(("min", "max", "avg"), bucket["timestamp"]),
                "freq": bucket["freq"],
                "timestamp": bucket["timestamp"],
            }
            for bucket in buckets
        ],
    }


def _unit_seconds(unit: str) -> float:
    """Return the seconds of a unit as PostgreSQL defines them: 30 days per month, 365.25 per year."""
    if unit in _SECONDS:
        return _SECONDS[unit]
    years, months = divmod(_MONTHS[unit], 12)
    return years * 365.25 * 86400 + months * 30 * 86400


async def _auto_unit(session: Session, times: sql.Composable) -> str:
    """Return the unit with the most bins, up to 100."""
    span = sql.SQL(
        "SELECT extract(epoch FROM max(instant) - min(instant))::float8 AS span FROM {} AS t WHERE isfinite(instant)"
    )
    [row] = await fetch_rows(session, span.format(times))
    if row["span"] is None:
        return "day"
    days = math.floor(row["span"] / 86400)
    sizes: dict[str, float] = {unit: round(days / length) for unit, length in _DAYS.items()}
    sizes |= {"day": days, "hour": math.floor(row["span"] / 3600), "minute": math.floor(row["span"] / 60)}
    sizes["second"] = row["span"]
    fitting = {unit: size for unit, size in sizes.items() if size <= _MAX_AUTO_BINS}
    return max(fitting, key=lambda unit: fitting[unit], default="day")
