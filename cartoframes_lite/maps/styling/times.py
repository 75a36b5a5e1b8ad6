"""Classes of dates and times: limits at the beginning of calendar units, and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

Unit = Literal["year", "month", "day", "hour", "minute", "second"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_STEPS: tuple[tuple[Unit, tuple[int, ...]], ...] = (
    ("second", (1, 2, 5, 10, 15, 30)),
    ("minute", (1, 2, 5, 10, 15, 30)),
    ("hour", (1, 2, 3, 6, 12)),
    ("day", (1, 2, 7, 14)),
    ("month", (1, 2, 3, 6)),
    ("year", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)),
)
_SECONDS = {"year": 365 * 86_400, "month": 28 * 86_400, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_FEW_CLASSES, _USUAL_CLASSES = 3, 5
_RESOLUTION = 1e-6  # of PostgreSQL's timestamps, in seconds
# Not strftime's, which depend on the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class TimeClasses:
    """Classes of a calendar unit.

    Attributes
    ----------
    limits : tuple of float
        The last moment of each class but the last, in seconds since 1970-01-01 UTC.
    labels : tuple of str
    """

    limits: tuple[float, ...]
    labels: tuple[str, ...]


def time_classes(minimum: float, maximum: float, k: int) -> TimeClasses:
    """Divide a period into at most ``k`` classes of the same calendar unit.

    Parameters
    ----------
    minimum, maximum : float
        In seconds since 1970-01-01 UTC.
    k : int
    """
    first, last = _time(minimum), _time(maximum)
    length = (last - first).total_seconds()
    if minimum == maximum:
        return TimeClasses((), tuple(time_labels([minimum])))
    candidates = [
        (unit, n, starts)
        for unit, sizes in _STEPS
        for n in sizes
        if length / (_SECONDS[unit] * n) <= k + 1  # there may be thousands of seconds
        and len(starts := list(_starts(first, last, unit, n))) <= k
    ]
    unit, n, starts = min(candidates, key=lambda one: _strangeness(one[1], len(one[2])))
    limits = tuple((start - _EPOCH).total_seconds() - _RESOLUTION for start in starts[1:])
    return TimeClasses(limits, tuple(_label(start, unit, n) for start in starts))


def _strangeness(n: int, classes: int) -> tuple[bool, int]:
    """Return a sort key: whole years, months, days ... are preferred, then about five classes."""
    return n != 1 or classes < _FEW_CLASSES, abs(classes - _USUAL_CLASSES)


def time_ranges(limits: Sequence[float]) -> list[str]:
    """Return the labels of the classes between moments, in seconds since 1970-01-01 UTC."""
    labels = time_labels(limits)
    return [_join(low, high) for low, high in pairwise(labels)]


def time_labels(values: Sequence[float]) -> list[str]:
    """Return moments as text, as exactly as their differences need."""
    gap = min((high - low for low, high in pairwise(sorted(set(values)))), default=0.0)
    times = [_time(value) for value in values]
    if gap >= 4 * _SECONDS["year"]:  # the month is of no interest
        return [str(time.year) for time in times]
    if gap >= 2 * _SECONDS["month"]:
        return [_month(time) for time in times]
    has_clock = any(time.hour or time.minute or time.second for time in times)
    if gap >= 2 * _SECONDS["day"] or not has_clock:
        return [_day(time) for time in times]
    unit: Unit = "second" if any(time.second for time in times) and gap < 10 * _SECONDS["minute"] else "minute"
    return [f"{time.day} {_MONTHS[time.month - 1]} {_clock(time, unit)}" for time in times]


def _time(seconds: float) -> datetime:
    """Return a moment, moved into the range of Python's datetimes."""
    try:
        return min(max(_EPOCH + timedelta(seconds=seconds), _FIRST), _LAST)
    except OverflowError:
        return _FIRST if seconds < 0 else _LAST


def _starts(first: datetime, last: datetime, unit: Unit, n: int) -> Iterator[datetime]:
    """Yield the beginnings of the periods of ``n`` units from that of ``first`` to that of ``last``."""
    start = _floor(first, unit, n)
    while start <= last:
        yield start
        start = _plus(start, unit, n)


def _floor(time: datetime, unit: Unit, n: int) -> datetime:
    """Return the beginning of the period of a moment; weeks begin on Monday."""
    if unit == "year":
        return datetime(max(time.year - time.year % n, 1), 1, 1, tzinfo=UTC)
    if unit == "month":
        return datetime(time.year, (time.month - 1) // n * n + 1, 1, tzinfo=UTC)
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return midnight - timedelta(days=min((time.toordinal() - 1) % n, (midnight - _FIRST).days))
    size = timedelta(seconds=_SECONDS[unit] * n)
    return midnight + (time - midnight) // size * size


def _plus(start: datetime, unit: Unit, n: int) -> datetime:
    """Return the beginning of the following period."""
    try:
        if unit == "year":
            return start.replace(year=start.year - start.year % n + n)
        if unit == "month":
            months = start.month - 1 + n
            return start.replace(year=start.year + months // 12, month=months % 12 + 1)
        return start + timedelta(seconds=_SECONDS[unit] * n)
    except (ValueError, OverflowError):  # beyond the year 9999
        return datetime.max.replace(tzinfo=UTC)


def _label(start: datetime, unit: Unit, n: int) -> str:
    """Return the label of the period of ``n`` units."""
    end = _plus(start, unit, n) - timedelta(seconds=1)
    if unit == "year":
        return _join(str(start.year), str(end.year))
    if unit == "month":
        return _join(_MONTHS[start.month - 1] if n > 1 else _month(start), _month(end))
    if unit == "day":
        return _join(f"{start.day} {_MONTHS[start.month - 1]}" if n > 1 else _day(start), _day(end))
    following = end + timedelta(seconds=1)
    return f"{start.day} {_MONTHS[start.month - 1]} {_clock(start, unit)} to {_clock(following, unit)}"


def _join(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _month(time: datetime) -> str:
    return f"{_MONTHS[time.month - 1]} {time.year}"


def _day(time: datetime) -> str:
    return f"{time.day} {_month(time)}"


def _clock(time: datetime, unit: Unit) -> str:
    return f"{time:%H:%M:%S}" if unit == "second" else f"{time:%H:%M}"
