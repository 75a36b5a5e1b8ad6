"""Histograms of times: a bin for each unit of time that has rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.queries import rows, statement
from cartoframes_lite.local.postgres.session import Session

_MOST = 100  # of bins that "auto" makes
_MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120, "century": 1200, "millennium": 12000}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_UNITS = (*_SECONDS, *_MONTHS)
# Of "auto", as whole units: in days, the longest first.
_DAYS = {"millennium": 365243, "century": 36525, "decade": 3652, "year": 365, "quarter": 91, "month": 30, "week": 7}
_UNSHIFTED = ("hour", "minute")
_ZONES = range(-12, 15)  # hours east of UTC that there are


async def answer(
    session: Session,
    column: str,
    source: sql.Composable,
    overrides: Mapping[str, float],
    unit: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Answer a histogram of times.

    Parameters
    ----------
    session : Session
    column : str
    source : Composable
        The rows, in parentheses.
    overrides : mapping
        ``start``, ``end`` and ``offset`` of the request, in seconds.
    unit : object
        A unit of time, or "auto".
    options : mapping
        Of the dataview: ``offset``.

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
        unit = await _fitting_unit(session, times)
    hours = 0 if unit in _UNSHIFTED else math.ceil(offset / 3600)
    buckets = []
    if hours in _ZONES:  # CARTO looks for a time zone of this offset
        buckets = await rows(session, _buckets(times, str(unit), hours, overrides))
    return _presented(str(unit), offset, buckets)


def _buckets(times: sql.Composable, unit: str, hours: int, overrides: Mapping[str, float]) -> sql.Composed:
    """Return the query of the bins; rows without a time are in the last one, without a number."""
    given = {word: sql.Literal(overrides[word]) for word in ("start", "end") if overrides.get(word)}
    signs = {"start": ">=", "end": "<="}
    bounds = [
        sql.SQL("instant {} to_timestamp({})").format(statement(signs[word]), value) for word, value in given.items()
    ]
    shift = sql.SQL("make_interval(hours => {})").format(sql.Literal(hours))
    truncated = "date_trunc({unit}, {instant} AT TIME ZONE 'UTC' + {shift})"
    parts: dict[str, sql.Composable] = {"unit": sql.Literal(unit), "shift": shift}
    edges = {
        word: sql.SQL(truncated).format(**parts, instant=sql.SQL("to_timestamp({})").format(given[word]))
        if word in given
        else sql.SQL("(SELECT {}(start) FROM cdb_bins)").format(statement("min" if word == "start" else "max"))
        for word in signs
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
        place=_steps(unit, sql.SQL("start")),
        count=_steps(unit, sql.SQL("last")),
        epoch=sql.SQL("extract(epoch FROM (start - {}) AT TIME ZONE 'UTC')::float8").format(shift),
        epoch_first=sql.SQL("extract(epoch FROM (first - {}) AT TIME ZONE 'UTC')::float8").format(shift),
    )


def _steps(unit: str, moment: sql.Composable) -> sql.Composed:
    """Return how many units lie between the first bin and a moment, both beginnings of a unit."""
    if unit in _SECONDS:
        seconds = sql.SQL("extract(epoch FROM {} - first)").format(moment)
        return sql.SQL("round({} / {})::bigint").format(seconds, sql.Literal(_SECONDS[unit]))
    months = sql.SQL("(date_part('year', age({m}, first)) * 12 + date_part('month', age({m}, first)))").format(m=moment)
    return sql.SQL("round({} / {})::bigint").format(months, sql.Literal(_MONTHS[unit]))


def _presented(unit: str, offset: float, buckets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a histogram of times as CARTO shows it."""
    common = {"aggregation": unit, "offset": offset}
    if not buckets:
        return {**common, "bin_width": 0, "bins_count": 0, "bins": []}
    first = buckets[0]
    return {
        **common,
        "timestamp_start": first["first"],
        "bin_width": _width(unit),
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


def _width(unit: str) -> float:
    """Return how many seconds PostgreSQL takes a unit for: months of 30 days, years of 365.25."""
    if unit in _SECONDS:
        return _SECONDS[unit]
    years, months = divmod(_MONTHS[unit], 12)
    return years * 365.25 * 86400 + months * 30 * 86400


async def _fitting_unit(session: Session, times: sql.Composable) -> str:
    """Return the unit that gives most bins without giving too many."""
    span = sql.SQL(
        "SELECT extract(epoch FROM max(instant) - min(instant))::float8 AS span FROM {} AS t WHERE isfinite(instant)"
    )
    [found] = await rows(session, span.format(times))
    if found["span"] is None:
        return "day"
    days = math.floor(found["span"] / 86400)
    sizes: dict[str, float] = {unit: round(days / length) for unit, length in _DAYS.items()}
    sizes |= {"day": days, "hour": math.floor(found["span"] / 3600), "minute": math.floor(found["span"] / 60)}
    sizes["second"] = found["span"]
    fitting = {unit: size for unit, size in sizes.items() if size <= _MOST}
    return max(fitting, key=lambda unit: fitting[unit], default="day")
